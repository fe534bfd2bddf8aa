//! The configuration file, the environment, and what is packaged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Ended, Server, ServerOptions, Target, left_out, run_to_end};

/// What the packaged unit starts.
const INSTALLED: &str = "/usr/bin/beanpole";

#[test]
fn the_packaged_configuration_is_accepted_as_it_is() {
    let ended = check_config(&packaged("config.toml"), &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.starts_with("data_dir = \"/var/lib/beanpole\""), "{}", ended.stdout);
    assert!(!ended.stdout.contains("[cluster]"), "{}", ended.stdout);
}

#[test]
fn the_packaged_configuration_shows_every_setting_with_its_default() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let secret = scratch.path().join("secret");
    fs::write(&secret, "0123456789abcdef").expect("the directory is writable");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let text = fs::read_to_string(packaged("config.toml")).expect("it is in the repository");
    let shown: Vec<_> = text.lines().map(without_mark).collect();
    let full = scratch.path().join("full.toml");
    fs::write(&full, shown.join("\n")).expect("the directory is writable");
    let secret = ("BEANPOLE_CLUSTER_SECRET_FILE", secret.display().to_string());
    let ended = check_config(&full, &[(secret.0, &secret.1)]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stdout.contains("is not set"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("# default"), "{}", ended.stdout);

    // What is shown as a default is the default.
    let needed = [
        ("BEANPOLE_CLUSTER_LISTEN", "10.0.0.1:11400"),
        ("BEANPOLE_DATA_DIR", "/var/lib/beanpole"),
        (secret.0, &secret.1),
    ];
    let empty = scratch.path().join("empty.toml");
    fs::write(&empty, "").expect("the directory is writable");
    let defaults = check_config(&empty, &needed).stdout;
    let of_packaged: Vec<_> = ended.stdout.lines().map(without_source).collect();
    let from_default = defaults.lines().filter(|line| line.ends_with("# default"));
    for line in from_default.map(without_source).filter(|line| !line.starts_with("listen")) {
        assert!(of_packaged.contains(&line), "{line} is not in {of_packaged:?}");
    }
}

#[test]
fn the_packaged_units_are_such_that_systemd_understands() {
    for unit in ["beanpole.service", "beanpole-agent.service"] {
        expect_understood(unit);
    }
}

fn expect_understood(name: &str) {
    let text = fs::read_to_string(packaged(name)).expect("it is in the repository");
    assert!(text.contains(INSTALLED));
    let program = Target::Beanpole.program().expect("it was built");
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let unit = scratch.path().join(name);
    let text = text.replace(INSTALLED, &program.display().to_string());
    fs::write(&unit, text).expect("the directory is writable");
    let analyze = Path::new("/usr/bin/systemd-analyze");
    if !analyze.is_file() {
        left_out(&format!("the packaged unit {name}: there is no systemd-analyze"));
        return;
    }
    let ended = run_to_end(Command::new(analyze).arg("verify").arg(&unit)).expect("it ends");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn bad_settings_end_with_5_and_one_word_on_what_is_wrong() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let config = scratch.path().join("config.toml");
    fs::write(&config, "listen = '127.0.0.1'\nprot = 11300\n").expect("the directory is writable");
    let ended = check_config(&config, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""));
    assert!(ended.stderr.contains("line 2"), "{}", ended.stderr);
    let ended = check_config(&packaged("config.toml"), &[("BEANPOLE_PORT", "tcp://10.0.0.1:1")]);
    assert_eq!(ended.code, Some(5));
    assert!(ended.stderr.contains("BEANPOLE_PORT"), "{}", ended.stderr);
}

#[test]
fn a_server_takes_its_settings_from_the_file() {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let config = scratch.path().join("config.toml");
    fs::write(&config, "job_size_max = 100\n").expect("the directory is writable");
    let flags = vec!["--config".to_owned(), config.display().to_string()];
    let mut server = Server::start(Target::Beanpole, ServerOptions { flags, ..Default::default() });
    let stats = server.connect().ask("stats").expect("the server answers");
    assert!(stats.contains("\nmax-job-size: 100\n"), "{stats}");
}

/// Runs `beanpole --config FILE --check-config`.
fn check_config(file: &Path, variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(Target::Beanpole.program().expect("it was built"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("BEANPOLE_")) {
        command.env_remove(name);
    }
    command.arg("--config").arg(file).arg("--check-config").envs(variables.iter().copied());
    run_to_end(&mut command).expect("it ends")
}

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// A line with the mark of a setting that is left at its default removed.
fn without_mark(line: &str) -> &str {
    line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
}

fn without_source(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim_end()
}
