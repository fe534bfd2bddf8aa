//! Wall clocks that can be set: libfaketime between a member and the system, told by a file.

use std::fs;
use std::path::{Path, PathBuf};

/// Where distributions put the library; the one for programs with threads.
const LIBRARY_PLACES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];
const LIBRARY: &str = "libfaketimeMT.so.1";

/// Whether members of this machine can have such clocks.
///
/// # Errors
///
/// What it lacks.
pub fn can_have_clocks() -> Result<(), String> {
    library().map(drop).ok_or_else(|| "libfaketime is not installed".to_owned())
}

/// What a process finds in its environment, so that the file tells it the time. Only the wall clock
/// is touched: beanpole promises nothing about a monotonic clock that jumps, nobody has one. The
/// file is looked at once a second.
pub(super) fn environment(file: &Path) -> Vec<(String, String)> {
    let Some(library) = library() else { return Vec::new() };
    let [library, file] = [library.as_path(), file].map(|path| path.display().to_string());
    [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_RESET", "1"),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("NO_FAKE_STAT", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// Sets the clock of the process that the file tells the time: so many seconds off.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn set(file: &Path, seconds: i64) -> Result<(), String> {
    // By a rename: nobody reads half of it.
    let new = file.with_extension("new");
    let written = fs::write(&new, format!("{seconds:+}\n")).and_then(|()| fs::rename(&new, file));
    written.map_err(|error| format!("{}: {error}", file.display()))
}

fn library() -> Option<PathBuf> {
    LIBRARY_PLACES.iter().map(|place| Path::new(place).join(LIBRARY)).find(|file| file.is_file())
}
