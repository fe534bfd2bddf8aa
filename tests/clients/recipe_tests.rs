//! Each library without an agent, by its recipe: it goes on at another member when the one it talks
//! to is killed or frozen, by a list of addresses or through HAProxy. Nothing is lost, and keys keep
//! puts from being doubled. What was held comes again: that is counted and no mistake.

use std::thread;
use std::time::Duration;

use super::account::Findings;
use super::crew::Crew;
use super::library::{BEANEATER, GREENSTALK, JACKD, Library, PHEANSTALK};
use super::proxy::Proxy;
use crate::support::{Cluster, alone, cluster_of, now};

/// How many puts must succeed without a member, and with all again.
const PUTS: u64 = 100;
/// How long a member is lost at least; a frozen one for longer than the recipes wait for an answer.
const KILLED_FOR: Duration = Duration::from_secs(2);
const FROZEN_FOR: Duration = Duration::from_secs(6);

#[test]
fn greenstalk_goes_on_at_another_member() {
    goes_on(&GREENSTALK);
}

#[test]
fn pheanstalk_goes_on_at_another_member() {
    goes_on(&PHEANSTALK);
}

#[test]
fn beaneater_goes_on_at_another_member() {
    goes_on(&BEANEATER);
}

#[test]
fn jackd_goes_on_at_another_member() {
    goes_on(&JACKD);
}

#[test]
fn greenstalk_goes_on_behind_haproxy() {
    goes_on_behind_haproxy(&GREENSTALK);
}

#[test]
fn jackd_goes_on_behind_haproxy() {
    goes_on_behind_haproxy(&JACKD);
}

/// All begin at the first member. When it is killed they are at the second, which is then frozen.
fn goes_on(library: &Library) {
    if !library.is_there_for("members in a list") {
        return;
    }
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let members: Vec<_> = (0..3).map(|member| cluster.address(member).to_string()).collect();
    wander(library, &mut cluster, &members.join(","));
}

/// It gives each member one of the connections, and one of them another. Two libraries, one that
/// waits and one that does not: to a library HAProxy is a list with one address in it.
fn goes_on_behind_haproxy(library: &Library) {
    if !library.is_there_for("members behind HAProxy") {
        return;
    }
    let _alone = alone();
    let mut cluster = cluster_of(3);
    if let Some(proxy) = Proxy::before(&cluster) {
        wander(library, &mut cluster, &proxy.address().to_string());
    }
}

fn wander(library: &Library, cluster: &mut Cluster, addresses: &str) {
    let mut crew = Crew::start(|role| {
        let mut script = library.script("wandering");
        script.args([role, addresses]);
        script
    });
    crew.wait_for_puts(PUTS);
    let began = now();
    cluster.kill(0);
    thread::sleep(KILLED_FOR);
    crew.wait_for_puts(PUTS);
    cluster.restart(0);
    cluster.wait_in_step();
    let restarted = now();
    cluster.freeze(1);
    thread::sleep(FROZEN_FOR);
    crew.wait_for_puts(PUTS);
    cluster.thaw(1);
    cluster.wait_in_step();
    crew.wait_for_puts(PUTS);
    let account = crew.finish(&mut cluster.client(0));
    let killed = account.longest_pause(began, restarted);
    let frozen = account.longest_pause(restarted, now());
    eprintln!("{}: a pause of {killed:?} for a kill, of {frozen:?} for a freeze", library.name);
    let Findings { lost, doubled, held_again, .. } = account.findings();
    let (jobs, again) = (account.put_count(), held_again.len());
    eprintln!("{}: {jobs} jobs, {again} of them held more than once", library.name);
    assert_eq!((lost, doubled), (vec![], vec![]), "{}", cluster.logs());
}
