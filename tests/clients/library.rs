//! The client libraries that people use: which there are, and how scripts that use them are run.

use std::path::Path;
use std::process::Command;

use crate::support::left_out;

/// A client library.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) name: &'static str,
    interpreter: &'static str,
    /// Arguments with which the interpreter succeeds if the library is installed.
    probe: [&'static str; 2],
    /// What the names of scripts end in.
    extension: &'static str,
}

/// Python, from PyPI.
pub(super) const GREENSTALK: Library = Library {
    name: "greenstalk",
    interpreter: "python3",
    probe: ["-c", "import greenstalk"],
    extension: "py",
};

/// PHP, Debian's php-pda-pheanstalk.
pub(super) const PHEANSTALK: Library = Library {
    name: "pheanstalk",
    interpreter: "php",
    probe: ["-r", "require 'Pheanstalk/autoload.php';"],
    extension: "php",
};

/// Ruby, Debian's ruby-beaneater.
pub(super) const BEANEATER: Library = Library {
    name: "beaneater",
    interpreter: "ruby",
    probe: ["-e", "require 'beaneater'"],
    extension: "rb",
};

/// JavaScript, from npm: found by `NODE_PATH`.
pub(super) const JACKD: Library = Library {
    name: "jackd",
    interpreter: "node",
    probe: ["-e", "require('jackd')"],
    extension: "js",
};

impl Library {
    /// Whether it is installed; if it is not, `what` is said to be left out.
    pub(super) fn is_there_for(&self, what: &str) -> bool {
        let Self { name, interpreter, probe, .. } = self;
        let output = Command::new(interpreter).args(probe).output();
        let is_there = output.is_ok_and(|output| output.status.success());
        if !is_there {
            left_out(&format!("{what}: {interpreter} with {name} is not installed"));
        }
        is_there
    }

    /// Its interpreter with its script for `purpose`, which is in the directory of these tests.
    pub(super) fn script(&self, purpose: &str) -> Command {
        let Self { name, interpreter, extension, .. } = self;
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = Command::new(interpreter);
        command.arg(directory.join(format!("{name}_{purpose}.{extension}")));
        // Python would leave compiled files beside the recipes.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}
