//! Flags and exit statuses.

use super::{for_both, run};
use crate::support::{Server, ServerOptions, Target, Transport};

/// Flags, the exit status, and what stderr must name.
const BAD_FLAGS: [(&[&str], i32, &str); 22] = [
    (&["-x"], 5, "unknown flag: -x"),
    (&["-Vx"], 5, "unknown flag: "),
    (&["foo"], 5, "unknown argument: foo"),
    (&["-V", "foo"], 5, "unknown argument: foo"),
    (&["-"], 5, "unknown argument: -"),
    (&["-b"], 5, "flag requires an argument: -b"),
    (&["-f"], 5, "flag requires an argument: -f"),
    (&["-l"], 5, "flag requires an argument: -l"),
    (&["-p"], 5, "flag requires an argument: -p"),
    (&["-s"], 5, "flag requires an argument: -s"),
    (&["-u"], 5, "flag requires an argument: -u"),
    (&["-z"], 5, "flag requires an argument: -z"),
    (&["-F", "-f"], 5, "flag requires an argument: -f"),
    (&["-z", "abc"], 5, "invalid size: abc"),
    (&["-zabc"], 5, "invalid size: abc"),
    (&["-z", "5k"], 5, "invalid size: 5k"),
    (&["-s", "abc"], 5, "invalid size: abc"),
    (&["-f", "abc"], 5, "invalid size: abc"),
    (&["-l", "256.1.1.1"], 111, "getaddrinfo()"),
    (&["-l", "no.such.invalid"], 111, "getaddrinfo()"),
    (&["-l", "127.0.0.1", "-p", "nosuchservice"], 111, ""),
    (&["-l", "192.0.2.1", "-p", "0"], 111, "bind()"),
];

#[test]
fn bad_flags_end_with_the_exit_statuses_and_words_of_beanstalkd() {
    for_both("bad flags", |target| {
        for (flags, code, words) in BAD_FLAGS {
            let ended = run(target, flags);
            let name = target.name();
            assert_eq!(ended.code, Some(code), "{name} {flags:?}: {}", ended.stderr);
            assert!(ended.stderr.contains(words), "{name} {flags:?}: {}", ended.stderr);
            assert_eq!(ended.stdout, "", "{name} {flags:?}");
        }
    });
}

#[test]
fn a_usage_error_names_the_program_and_shows_the_usage() {
    for_both("usage errors", |target| {
        let ended = run(target, &["-x"]);
        let program = target.program().expect("it has just run");
        let first = ended.stderr.lines().next().unwrap_or_default();
        assert_eq!(first, format!("{}: unknown flag: -x", program.display()));
        assert!(ended.stderr.lines().any(|line| line.trim_start().starts_with("-b")));
    });
}

#[test]
fn help_goes_to_stderr_and_names_every_flag() {
    for_both("-h", |target| {
        let ended = run(target, &["-h"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
        for flag in ["-b", "-f", "-F", "-l", "-p", "-u", "-z", "-s", "-v", "-V", "-h"] {
            assert!(ended.stderr.contains(&format!(" {flag}")), "no {flag} in {}", ended.stderr);
        }
    });
}

#[test]
fn version_goes_to_stdout() {
    for_both("-v", |target| {
        let ended = run(target, &["-v"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let version = ended.stdout.strip_prefix(&format!("{} ", target.name()));
        assert!(version.is_some_and(|version| version.trim_end().contains('.')), "{ended:?}");
    });
}

#[test]
fn an_unknown_user_ends_with_33() {
    for_both("-u", |target| {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = format!("unix:{}", scratch.path().join("socket").display());
        let ended = run(target, &["-l", &socket, "-u", "no-such-user"]);
        assert_eq!(ended.code, Some(33), "{}", ended.stderr);
    });
}

#[test]
fn an_address_in_use_ends_with_111() {
    for_both("an address in use", |target| {
        let options = ServerOptions { transport: Transport::Tcp, ..Default::default() };
        let server = Server::start(target, options);
        let port = server.port().expect("it listens on TCP").to_string();
        let ended = run(target, &["-l", "127.0.0.1", "-p", &port]);
        assert_eq!(ended.code, Some(111), "{}", ended.stderr);
        assert!(ended.stderr.contains("bind()"), "{}", ended.stderr);
    });
}

#[test]
fn values_may_be_joined_flags_bundled_and_the_last_one_wins() {
    for_both("forms of flags", |target| {
        for flags in [&["-z100"][..], &["-z", "5", "-Vz", "100"], &["-cnFVz100"], &["-z0100"]] {
            let mut server = Server::with_flags(target, flags);
            let stats = server.connect().ask("stats").expect("the server answers");
            let size = "\nmax-job-size: 100\n";
            assert!(stats.contains(size), "{} {flags:?}: {stats}", target.name());
        }
    });
}

#[test]
fn removed_flags_are_accepted_with_a_warning() {
    for_both("-c and -n", |target| {
        for flag in ["-c", "-n"] {
            let mut server = Server::with_flags(target, &[flag]);
            server.connect().ask("stats").expect("the server answers");
            assert!(server.log().contains(flag), "{}: {}", target.name(), server.log());
        }
    });
}

#[test]
fn beanpole_has_long_names_beside_the_letters() {
    let flags = ["--job-size-max", "100", "--log-format", "json", "--verbose"];
    let mut server = Server::with_flags(Target::Beanpole, &flags);
    let stats = server.connect().ask("stats").expect("the server answers");
    assert!(stats.contains("\nmax-job-size: 100\n"), "{stats}");
}

#[test]
fn beanpole_refuses_a_greatest_body_above_its_limit_with_both_numbers() {
    let ended = run(Target::Beanpole, &["-z", "1073741824"]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("1073741824") && ended.stderr.contains("67108864"), "{ended:?}");
}
