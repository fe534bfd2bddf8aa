//! What the demo promises a newcomer.

use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::running::{Demo, Member, runs};
use crate::support::{PATIENCE, now};

#[test]
fn three_members_are_one_queue_and_end_with_the_demo() {
    let mut demo = Demo::start();
    demo.wait_for_leader(None);
    let [first, second, third] = three(&demo);
    let mut producer = Demo::connect(&first);
    assert_eq!(producer.put("0 0 60", b"x").expect("it answers"), "INSERTED 1");
    let mut worker = Demo::connect(&second);
    assert!(worker.ask("reserve").expect("it answers").starts_with("RESERVED 1 1"));
    let mut other = Demo::connect(&third);
    assert_eq!(other.ask("delete 1").expect("it answers"), "NOT_FOUND");
    assert_eq!(worker.ask("delete 1").expect("it answers"), "DELETED");

    assert_eq!(demo.end().code(), Some(0), "{}", demo.output());
    assert!(!demo.list_path().exists());
    assert!([first, second, third].iter().all(|member| !runs(member.pid)));
}

#[test]
fn the_number_of_jobs_and_a_killed_leader_are_told() {
    let mut demo = Demo::start();
    let leader = demo.wait_for_leader(None);
    let members = three(&demo);
    let [rest, _] = members.iter().filter(|m| m.id != leader).collect::<Vec<_>>()[..] else {
        panic!("{members:?}")
    };
    let mut client = Demo::connect(rest);
    assert_eq!(client.put("0 0 60", b"x").expect("it answers"), "INSERTED 1");
    demo.wait_for_words("jobs: 1");

    let killed = members.iter().find(|member| member.id == leader).expect("it is one of them");
    let pid = Pid::from_raw(killed.pid).expect("it is not 0");
    kill_process(pid, Signal::KILL).expect("it runs");
    demo.wait_for_words(&format!("member {leader} has ended (signal: 9 (SIGKILL))"));
    let new = demo.wait_for_leader(Some(leader));
    assert_ne!(new, leader);
    assert_eq!(client.put("0 0 60", b"x").expect("it answers"), "INSERTED 2");
    assert!(!runs(killed.pid), "nobody starts it again");
}

#[test]
fn a_second_demo_in_the_same_directory_goes_on() {
    let mut demo = Demo::start();
    demo.wait_for_leader(None);
    let before = three(&demo);
    let mut client = Demo::connect(&before[0]);
    assert_eq!(client.put("0 0 60", b"kept").expect("it answers"), "INSERTED 1");
    let mut demo = demo.again();
    demo.wait_for_leader(None);
    let after = three(&demo);
    assert_eq!(after.each_ref().map(|m| (m.id, m.port)), before.each_ref().map(|m| (m.id, m.port)));
    let mut client = Demo::connect(&after[2]);
    assert!(client.ask("peek 1").expect("it answers").starts_with("FOUND 1 4"));
}

#[test]
fn members_end_with_a_demo_that_is_killed() {
    let mut demo = Demo::start();
    let members = three(&demo);
    demo.signal(Signal::KILL);
    demo.wait_for_end();
    let deadline = now() + PATIENCE;
    while members.iter().any(|member| runs(member.pid)) {
        assert!(now() < deadline, "members outlive the demo: {members:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn cluster_commands_work_at_every_member() {
    let mut demo = Demo::start();
    let leader = demo.wait_for_leader(None);
    let members = three(&demo);
    for member in &members {
        let (code, text) = Demo::cluster(&member.config, "status --json");
        assert_eq!(code, Some(0), "{text}");
        let status: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(status["this_member"], member.id);
        assert_eq!(status["leader"], leader);
        assert_eq!(status["members"].as_array().map(Vec::len), Some(3), "{text}");
        // One of three can be stopped, as soon as the others have been heard.
        let deadline = now() + PATIENCE;
        loop {
            let (code, text) = Demo::cluster(&member.config, "check");
            if code == Some(0) {
                break;
            }
            assert!(code == Some(1) && now() < deadline, "{code:?}: {text}");
            thread::sleep(Duration::from_millis(20));
        }
    }
    let to = members.iter().find(|member| member.id != leader).expect("there are three").id;
    let (code, text) = Demo::cluster(&members[0].config, &format!("transfer {to}"));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(demo.wait_for_leader(Some(leader)), to);
    let (code, text) = Demo::cluster(&members[0].config, "remove 99");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("refused: "), "{text}");
}

fn three(demo: &Demo) -> [Member; 3] {
    demo.members.clone().try_into().expect("there are three")
}
