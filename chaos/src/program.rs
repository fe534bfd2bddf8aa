//! The program under test: built from this checkout unless another one is named.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The features and the profile of a build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Build {
    /// With bugs that are chosen by an environment variable.
    pub is_planted: bool,
}

/// Builds the server and says where it is. With `named`, it is that file and nothing is built.
///
/// # Errors
/// When it cannot be built, or the file is not there.
pub fn program(named: Option<&Path>, build: Build) -> Result<PathBuf> {
    if let Some(named) = named {
        ensure!(named.is_file(), "{} is no file", named.display());
        return Ok(named.canonicalize()?);
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a crate in a folder")?;
    if !checkout.join("Cargo.toml").is_file() {
        bail!("{} is gone: name the server with --server", checkout.display());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(checkout).args(["build", "--locked", "--bin", "beanpole"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    if build.is_planted {
        // Apart, so that nobody takes it for the server.
        let target = checkout.join("target").join("planted");
        command.args(["--features", "planted", "--target-dir"]).arg(target);
    }
    let output = command.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "the server cannot be built");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().rev().find_map(executable_in);
    executable.context("cargo does not say where the server is")
}

/// The path in cargo's message about a program that is ready.
fn executable_in(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_about_the_program_is_found_among_others() {
        let found =
            executable_in(r#"{"reason":"compiler-artifact","executable":"/there/beanpole"}"#);
        assert_eq!(found, Some(PathBuf::from("/there/beanpole")));
        assert_eq!(executable_in(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable_in("no JSON"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_refused() {
        let named = Path::new("/nowhere/beanpole");
        assert!(program(Some(named), Build::default()).is_err());
    }
}
