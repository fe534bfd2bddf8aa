//! The clients that people use, on a tour of the server: greenstalk (Python, from PyPI),
//! pheanstalk (PHP, Debian's php-pda-pheanstalk) and beaneater (Ruby, Debian's ruby-beaneater).
//!
//! None of these packages ships a test-suite, so the tours here are our own.

use std::path::Path;
use std::process::Command;

use crate::support::{Server, ServerOptions, Target, Transport, left_out};

/// A client library and how to run its tour.
struct Library {
    name: &'static str,
    interpreter: &'static str,
    /// Arguments with which the interpreter succeeds if the library is installed.
    probe: [&'static str; 2],
    script: &'static str,
}

const GREENSTALK: Library = Library {
    name: "greenstalk",
    interpreter: "python3",
    probe: ["-c", "import greenstalk"],
    script: "greenstalk_tour.py",
};

const PHEANSTALK: Library = Library {
    name: "pheanstalk",
    interpreter: "php",
    probe: ["-r", "require 'Pheanstalk/autoload.php';"],
    script: "pheanstalk_tour.php",
};

const BEANEATER: Library = Library {
    name: "beaneater",
    interpreter: "ruby",
    probe: ["-e", "require 'beaneater'"],
    script: "beaneater_tour.rb",
};

#[test]
fn greenstalk_goes_round_beanpole() {
    go_round(&GREENSTALK, Target::Beanpole);
}

#[test]
fn greenstalk_goes_round_beanstalkd() {
    go_round(&GREENSTALK, Target::Beanstalkd);
}

#[test]
fn pheanstalk_goes_round_beanpole() {
    go_round(&PHEANSTALK, Target::Beanpole);
}

#[test]
fn pheanstalk_goes_round_beanstalkd() {
    go_round(&PHEANSTALK, Target::Beanstalkd);
}

#[test]
fn beaneater_goes_round_beanpole() {
    go_round(&BEANEATER, Target::Beanpole);
}

#[test]
fn beaneater_goes_round_beanstalkd() {
    go_round(&BEANEATER, Target::Beanstalkd);
}

fn go_round(library: &Library, target: Target) {
    let Library { name, interpreter, .. } = library;
    let probe = Command::new(interpreter).args(library.probe).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return left_out(&format!("{interpreter} with {name} is not installed"));
    }
    if target.program().is_none() {
        return left_out(&format!("the check of the tour of {name}: beanstalkd is not installed"));
    }
    let server =
        Server::start(target, ServerOptions { transport: Transport::Tcp, ..Default::default() });
    let port = server.port().expect("the server listens on TCP");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(library.script);
    let tour = Command::new(interpreter).arg(script).arg(port.to_string()).output();
    let tour = tour.expect("the interpreter was there a moment ago");
    let said =
        [&tour.stdout, &tour.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(tour.status.success(), "{name}: {}\n{}", said.concat(), server.log());
}
