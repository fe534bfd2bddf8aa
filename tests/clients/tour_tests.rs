//! Each library on a tour of a server: every method of its client, binary bodies included.

use super::library::{BEANEATER, GREENSTALK, JACKD, Library, PHEANSTALK};
use crate::support::{
    Server, ServerOptions, Target, Transport, agent_before, cluster_of, left_out,
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
fn greenstalk_goes_round_an_agent() {
    go_round_an_agent(&GREENSTALK);
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
fn pheanstalk_goes_round_an_agent() {
    go_round_an_agent(&PHEANSTALK);
}

#[test]
fn beaneater_goes_round_beanpole() {
    go_round(&BEANEATER, Target::Beanpole);
}

#[test]
fn beaneater_goes_round_beanstalkd() {
    go_round(&BEANEATER, Target::Beanstalkd);
}

#[test]
fn beaneater_goes_round_an_agent() {
    go_round_an_agent(&BEANEATER);
}

#[test]
fn jackd_goes_round_beanpole() {
    go_round(&JACKD, Target::Beanpole);
}

#[test]
fn jackd_goes_round_beanstalkd() {
    go_round(&JACKD, Target::Beanstalkd);
}

#[test]
fn jackd_goes_round_an_agent() {
    go_round_an_agent(&JACKD);
}

fn go_round(library: &Library, target: Target) {
    if !library.is_there_for("a tour") {
        return;
    }
    if target.program().is_none() {
        let name = library.name;
        return left_out(&format!("the check of the tour of {name}: beanstalkd is not installed"));
    }
    let server =
        Server::start(target, ServerOptions { transport: Transport::Tcp, ..Default::default() });
    let port = server.port().expect("the server listens on TCP");
    tour(library, port, 1).unwrap_or_else(|said| panic!("{said}\n{}", server.log()));
}

fn go_round_an_agent(library: &Library) {
    if !library.is_there_for("a tour through an agent") {
        return;
    }
    let cluster = cluster_of(3);
    let agent = agent_before(&cluster);
    let port = agent.address().port();
    tour(library, port, 3).unwrap_or_else(|said| panic!("{said}\n{}", cluster.logs()));
}

/// # Errors
///
/// When something was not as it should be, what the tour said.
fn tour(library: &Library, port: u16, members: usize) -> Result<(), String> {
    let mut tour = library.script("tour");
    let tour = tour.args([port.to_string(), members.to_string()]).output();
    let tour = tour.expect("the interpreter was there a moment ago");
    let said = [&tour.stdout, &tour.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    if tour.status.success() { Ok(()) } else { Err(format!("{}: {}", library.name, said.concat())) }
}
