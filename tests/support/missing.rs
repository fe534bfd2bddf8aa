//! Pieces that a machine may lack, and settings that come from the environment.

use std::env;
use std::io::Write;
use std::str::FromStr;

/// Says on one line of stderr that a test did not run; a failure when `BEANPOLE_CI=1`.
///
/// # Panics
///
/// When `BEANPOLE_CI` is `1`: there everything is installed. What the kernel cannot do is named in
/// `BEANPOLE_MAY_LEAVE_OUT`, by words of the line, several separated by `;`.
pub(crate) fn left_out(what_and_why: &str) {
    let named = env::var("BEANPOLE_MAY_LEAVE_OUT").unwrap_or_default();
    let mut names = named.split(';').filter(|name| !name.is_empty());
    let is_named = names.any(|name| what_and_why.contains(name));
    assert!(
        is_named || env::var("BEANPOLE_CI").as_deref() != Ok("1"),
        "left out, though BEANPOLE_CI=1: {what_and_why}"
    );
    // Written to the stream itself: what `eprintln!` prints is hidden when the test passes.
    writeln!(std::io::stderr(), "left out: {what_and_why}").expect("stderr is open");
}

/// The number in the environment variable `name`, if it is set.
///
/// # Panics
///
/// When it is set to something that is not a number.
pub(crate) fn number_from_environment<N: FromStr>(name: &str) -> Option<N> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number in range")))
}
