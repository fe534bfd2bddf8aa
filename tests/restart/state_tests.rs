//! Everything a client can see of jobs and tubes is there again.

use crate::support::{Client, Server, ServerOptions, Target};

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

/// The fields of `stats-job` that do not change by themselves.
fn facts(client: &mut Client, job: u64) -> Vec<String> {
    let text = client.ask(&format!("stats-job {job}")).expect("the server answers");
    let names = ["tube", "state", "pri", "delay", "ttr", "reserves", "releases", "buries", "kicks"];
    names.map(|name| field(&text, name)).to_vec()
}

#[test]
fn jobs_counters_delays_pauses_and_order_survive_a_kill() {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let options = ServerOptions { data: Some(data.path().to_owned()), ..Default::default() };
    let mut server = Server::start(Target::Beanpole, options);
    let mut client = server.connect();
    for job in 1..=7 {
        assert_eq!(
            client.put("10 0 60", b"body").expect("the server answers"),
            format!("INSERTED {job}")
        );
    }
    // Buried in another order than put; released with another priority; held; kicked; deleted.
    for (job, change, reply) in [
        (3, "bury 3 5", "BURIED"),
        (1, "bury 1 6", "BURIED"),
        (2, "release 2 77 0", "RELEASED"),
        (4, "release 4 10 1000", "RELEASED"),
        (5, "delete 5", "DELETED"),
        (6, "touch 6", "TOUCHED"),
    ] {
        assert_eq!(
            client.ask(&format!("reserve-job {job}")).expect("the server answers"),
            format!("RESERVED {job} 4\r\nbody")
        );
        assert_eq!(client.ask(change).expect("the server answers"), reply);
    }
    assert_eq!(client.put("10 2000 60", b"later").expect("the server answers"), "INSERTED 8");
    assert_eq!(client.ask("use other").expect("the server answers"), "USING other");
    assert_eq!(client.put("10 0 60", b"paused").expect("the server answers"), "INSERTED 9");
    assert_eq!(client.ask("pause-tube other 3000").expect("the server answers"), "PAUSED");
    let known = [1, 2, 3, 4, 7, 8, 9];
    let before = known.map(|job| facts(&mut client, job));
    server.restart();
    let mut client = server.connect();
    assert_eq!(known.map(|job| facts(&mut client, job)), before);
    assert_eq!(client.ask("stats-job 5").expect("the server answers"), "NOT_FOUND");
    // What was held is ready again.
    let held = client.ask("stats-job 6").expect("the server answers");
    assert_eq!((field(&held, "state"), field(&held, "reserves")), ("ready".into(), "1".into()));
    for (job, at_most) in [(4, 1000), (8, 2000)] {
        let text = client.ask(&format!("stats-job {job}")).expect("the server answers");
        let left: u64 = field(&text, "time-left").parse().expect("the server answers");
        assert!(left <= at_most && left + 60 > at_most, "job {job}: {left} s left of {at_most}");
    }
    let tube = client.ask("stats-tube other").expect("the server answers");
    assert_eq!(field(&tube, "pause"), "3000");
    let left: u64 = field(&tube, "pause-time-left").parse().expect("the server answers");
    assert!(left > 2940, "{left} s left of the pause");
    // Buried jobs are kicked in the order in which they were buried.
    assert_eq!(client.ask("peek-buried").expect("the server answers"), "FOUND 3 4\r\nbody");
    assert_eq!(client.ask("kick 1").expect("the server answers"), "KICKED 1");
    assert_eq!(client.ask("peek-buried").expect("the server answers"), "FOUND 1 4\r\nbody");
    assert_eq!(client.put("10 0 60", b"new").expect("the server answers"), "INSERTED 10");
}
