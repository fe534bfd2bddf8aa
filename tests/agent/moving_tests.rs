//! Members are killed and frozen, one after the other: libraries notice a pause and no error.

use std::thread;
use std::time::Duration;

use crate::support::{
    Cluster, Load, Traffic, agent_before, alone, cluster_of, now, number_from_environment,
};

/// The longest that a command of any client may take.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);
/// How long clients work between two losses.
const BETWEEN: Duration = Duration::from_secs(2);

/// Does something to each member in turn, while clients of an agent work.
fn lose_each(lose: impl Fn(&mut Cluster, usize), regain: impl Fn(&mut Cluster, usize)) {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let agent = agent_before(&cluster);
    let traffic = Traffic::start(&Load::on(vec![agent.address()]));
    traffic.wait_for_writes(200, Duration::from_secs(30)).expect("it works");
    let mut longest = Duration::ZERO;
    let passes = number_from_environment("BEANPOLE_PASSES").unwrap_or(1);
    let mut spans = Vec::new();
    for member in (0..3).cycle().take(3 * usize::try_from(passes).expect("a few")) {
        let from = traffic.clock();
        lose(&mut cluster, member);
        thread::sleep(BETWEEN);
        regain(&mut cluster, member);
        cluster.wait_in_step();
        spans.push((member, from, traffic.clock()));
        traffic.wait_for_writes(200, Duration::from_secs(30)).expect("it goes on");
    }
    let history = traffic.finish(&mut agent.client()).expect("it gets empty");
    let verdict = history.judge(Duration::from_secs(1000));
    assert!(verdict.is_clean(), "{verdict:?}\n{}", cluster.logs());
    for (member, from, to) in spans {
        let gap = history.longest_gap(from, to);
        let slowest = history.slowest_write(from, to);
        eprintln!("member {member} lost: a pause of {gap:?} for all, of {slowest:?} for one");
        longest = longest.max(gap).max(slowest);
    }
    assert!(longest < PAUSE_MAX, "a pause of {longest:?}");
}

#[test]
fn members_that_are_killed_one_after_the_other_are_a_pause_each() {
    lose_each(Cluster::kill, Cluster::restart);
}

#[test]
fn members_that_are_frozen_one_after_the_other_are_a_pause_each() {
    lose_each(Cluster::freeze, Cluster::thaw);
}

#[test]
fn members_that_are_restarted_one_after_the_other_are_a_pause_each() {
    lose_each(
        |cluster, member| {
            cluster.terminate(member);
        },
        Cluster::restart,
    );
}

#[test]
fn a_job_that_is_held_and_a_wait_survive_the_member_that_carries_them() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let agent = agent_before(&cluster);
    let mut worker = agent.client();
    assert_eq!(worker.ask("use jobs").expect("a reply"), "USING jobs");
    assert_eq!(worker.put("0 0 600", b"held").expect("a reply"), "INSERTED 1");
    assert_eq!(worker.ask("watch jobs").expect("a reply"), "WATCHING 2");
    assert_eq!(worker.ask("ignore default").expect("a reply"), "WATCHING 1");
    assert_eq!(worker.ask("reserve").expect("a reply"), "RESERVED 1 4\r\nheld");
    worker.send(b"reserve\r\n").expect("it reads");
    for member in 0..3 {
        cluster.kill(member);
        thread::sleep(Duration::from_millis(500));
        cluster.restart(member);
        cluster.wait_in_step();
    }
    let mut producer = agent.client();
    assert_eq!(producer.ask("use jobs").expect("a reply"), "USING jobs");
    let began = now();
    assert_eq!(producer.put("0 0 600", b"next").expect("a reply"), "INSERTED 2");
    assert_eq!(worker.reply_line().expect("a reply"), "RESERVED 2 4\r\nnext");
    assert!(now() - began < Duration::from_secs(5));
    for command in ["touch 1", "bury 2 0", "release 1 0 0", "list-tube-used"] {
        let expected = match command {
            "touch 1" => "TOUCHED",
            "bury 2 0" => "BURIED",
            "release 1 0 0" => "RELEASED",
            _ => "USING jobs",
        };
        assert_eq!(worker.ask(command).expect("a reply"), expected, "to {command}");
    }
}
