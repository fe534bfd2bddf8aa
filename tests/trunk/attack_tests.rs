//! Who means harm on the port of clients: what a member has in memory and in its state stays bounded,
//! nobody gets what is another's, and a client beside it is served.

use std::time::Duration;

use super::Trunk;
use super::figures::{figure, wait_for};
use super::frames::token;
use crate::support::{Client, Random, Server, ServerOptions, Target, Transport, alone};

/// The greatest number that a command may have.
const NUMBER_MAX: u64 = 1 << 62;

/// By how much a member may have grown, KiB: a budget of 96 MiB leaves connections some MiB.
const GROWTH_MAX_KIB: u64 = 40 << 10;

/// A member, and a client of it that means no harm.
struct Scene {
    server: Server,
    beside: Client,
    resident_before: u64,
    _data: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let options = ServerOptions {
            flags: vec!["--memory".to_owned(), "96M".to_owned()],
            data: Some(data.path().into()),
            transport: Transport::Tcp,
        };
        let mut server = Server::start(Target::Beanpole, options);
        let mut beside = server.connect();
        assert_eq!(beside.ask("use beside").expect("a reply"), "USING beside");
        assert_eq!(beside.ask("watch beside").expect("a reply"), "WATCHING 2");
        let resident_before = resident_kib(&server);
        Self { server, beside, resident_before, _data: data }
    }

    fn trunk(&mut self) -> Trunk {
        Trunk::to(&mut self.server)
    }

    /// Others are served, and the member has not grown.
    fn check(&mut self) {
        assert!(self.beside.put("0 0 60", b"x").expect("a reply").starts_with("INSERTED "));
        let reserved = self.beside.ask("reserve-with-timeout 0").expect("a reply");
        let id = reserved.split(' ').nth(1).unwrap_or_else(|| panic!("{reserved}"));
        assert_eq!(self.beside.ask(&format!("delete {id}")).expect("a reply"), "DELETED");
        let resident = resident_kib(&self.server);
        let before = self.resident_before;
        eprintln!("resident: {before} KiB before, {resident} KiB now");
        assert!(resident < before + GROWTH_MAX_KIB, "{before} KiB became {resident} KiB");
    }

    fn figure(&mut self, name: &str) -> u64 {
        figure(&mut self.beside, "stats", name)
    }
}

fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the member runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5) has it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn tokens_that_are_guessed_open_nothing_and_leave_nothing() {
    let mut scene = Scene::new();
    let mut owner = scene.trunk();
    owner.open(1, 1);
    owner.expect((1, 1), "use mine", "USING mine");
    let mut random = Random::new(17);
    let mut thief = scene.trunk();
    for _ in 0..20 {
        let guesses: String = (1..=500)
            .map(|channel| {
                let [high, low] = [(); 2].map(|()| random.within(0..u64::MAX));
                format!("resume {channel} {high:016x}{low:016x} 60000 0\r\n")
            })
            .collect();
        thief.send(&guesses);
        for channel in 1..=500 {
            assert_eq!(thief.frame(), format!("lapsed {channel}"));
        }
    }
    // The owner, and who asks.
    assert_eq!(scene.figure("current-connections"), 2);
    owner.expect((1, 2), "list-tube-used", "USING mine");
    scene.check();
}

#[test]
fn sessions_that_are_opened_and_abandoned_again_and_again_end_with_their_leases() {
    let _alone = alone();
    let mut scene = Scene::new();
    for round in 0..30 {
        let mut trunk = scene.trunk();
        for channel in 1..=200 {
            let token = token(round * 1000 + channel);
            trunk.send(&format!("open {channel} {token} 1000\r\n"));
            trunk.ask(channel, 1, &format!("use {token}"));
        }
        // Some are left in the middle of it.
        for _ in 0..(round * 13) % 400 {
            trunk.frame();
        }
    }
    // `default`, and the one of the client beside.
    wait_for(&mut scene.beside, "current-tubes", 2);
    assert_eq!(scene.figure("current-connections"), 1);
    scene.check();
    let mut trunk = scene.trunk();
    trunk.open(1, 1);
}

#[test]
fn who_opens_and_closes_without_a_pause_or_says_the_end_again_and_again_fills_nothing() {
    const PAIRS: u32 = 50_000;
    const PORTIONS: u32 = 5;
    let _alone = alone();
    let mut scene = Scene::new();
    let mut trunk = scene.trunk();
    trunk.open(1, 1);
    trunk.ask(1, 1, "reserve");
    trunk.send(&"stop 1\r\n".repeat(100_000));
    assert_eq!(trunk.frame(), "re 1 1 TIMED_OUT|");
    let mut closed = 0;
    for portion in 0..PORTIONS {
        let pairs: String = (1..=PAIRS / PORTIONS)
            .map(|channel| {
                let channel = portion * PAIRS + channel + 1;
                format!("open {channel} {} 60000\r\nclose {channel}\r\n", token(channel))
            })
            .collect();
        trunk.send(&pairs);
        scene.check();
        // What is answered is not read for a while: two portions are under way.
        while closed + PAIRS / PORTIONS < (portion + 1) * (PAIRS / PORTIONS) {
            closed += u32::from(trunk.frame().starts_with("closed "));
        }
    }
    while closed < PAIRS {
        closed += u32::from(trunk.frame().starts_with("closed "));
    }
    assert_eq!(scene.figure("current-connections"), 2);
    trunk.expect((1, 2), "list-tube-used", "USING default");
    scene.check();
}

#[test]
fn who_asks_for_much_and_reads_nothing_is_not_read_from_and_fills_nothing() {
    let _alone = alone();
    let mut scene = Scene::new();
    let body = vec![b'x'; 60_000];
    assert_eq!(scene.beside.put("9 0 600", &body).expect("a reply"), "INSERTED 1");
    let mut trunk = scene.trunk();
    let opens: String =
        (1..=300).map(|channel| format!("open {channel} {} 2000\r\n", token(channel))).collect();
    trunk.send(&opens);
    for _ in 1..=300 {
        assert!(trunk.frame().starts_with("opened "));
    }
    trunk.client.limit_sending(Duration::from_secs(1)).expect("it can be limited");
    let mut is_refused = false;
    let pings = "ping 1\r\n".repeat(100);
    'all: for number in 1..=400 {
        for channel in 1..=300 {
            let line = format!("do {channel} {number} 0 8\r\npeek 1\r\n{pings}");
            if trunk.client.send(line.as_bytes()).is_err() {
                is_refused = true;
                break 'all;
            }
        }
    }
    assert!(is_refused, "all was read of a client that reads nothing");
    scene.check();
    drop(trunk);
    wait_for(&mut scene.beside, "current-connections", 1);
    scene.check();
}

#[test]
fn frames_in_any_order_are_answered_or_end_the_trunk() {
    let mut scene = Scene::new();
    let open = |number| format!("open 1 {} 10000\r\n", token(number));
    let resume =
        |channel, number, seen| format!("resume {channel} {} 10000 {seen}\r\n", token(number));
    let ask = |number: u64, answered: u64, command: &str| {
        format!("do 1 {number} {answered} {}\r\n{command}\r\n", command.len() + 2)
    };
    let nothing = "ping 7\r\n";
    let cases: &[&[(String, &[&str])]] = &[
        // On a channel that is not there.
        &[(ask(1, 0, "use a") + nothing, &["pong 7"])],
        &[("stop 1\r\n".to_owned() + nothing, &["pong 7"])],
        &[("close 1\r\n".to_owned() + nothing, &["closed 1", "pong 7"])],
        // The end of the input, and of the session, before the session is there.
        &[(open(1) + "stop 1\r\n" + &ask(1, 0, "reserve"), &["opened 1", "re 1 1 TIMED_OUT|"])],
        &[(open(2) + &ask(1, 0, "use a") + "close 1\r\n", &["closed 1"])],
        &[(open(3) + "close 1\r\n" + &open(3), &[])],
        // Numbers that jump, that are answered before they are there, that come again.
        &[(
            open(4) + &ask(1, 0, "touch 9") + &ask(NUMBER_MAX, u64::MAX, "touch 9"),
            &["opened 1", "re 1 1 NOT_FOUND|", "re 1 4611686018427387904 NOT_FOUND|"],
        )],
        &[(open(9), &["opened 1"]), (ask(NUMBER_MAX + 1, 0, "touch 9"), &[])],
        &[
            (open(5) + &ask(9, 8, "touch 9"), &["opened 1", "re 1 9 NOT_FOUND|"]),
            (ask(8, 7, "touch 9"), &[]),
        ],
        &[(open(6), &["opened 1"]), (ask(0, 0, "touch 9"), &[])],
        // One session on two channels, told that all is answered, and more than all.
        &[
            (open(7) + &ask(1, 0, "touch 9"), &["opened 1", "re 1 1 NOT_FOUND|"]),
            (resume(2, 7, 1), &["resumed 2 1 0 0", "moved 1"]),
            (resume(1, 7, u64::MAX), &["resumed 1 1 0 0", "moved 2"]),
            (resume(2, 7, 0), &["resumed 2 1 0 0", "moved 1"]),
        ],
        // A command that was answered long ago, before the session is known to be there and behind
        // that.
        &[
            (resume(1, 7, 1) + &ask(1, 0, "touch 9"), &["resumed 1 1 0 0"]),
            (ask(2, 1, "touch 9"), &["re 1 2 NOT_FOUND|"]),
            (ask(1, 0, "touch 9"), &[]),
        ],
        &[(resume(1, 8, 0) + &ask(1, 0, "touch 9"), &["lapsed 1"]), (nothing.into(), &["pong 7"])],
        &[(resume(1, 8, 0) + &resume(1, 8, 0), &[])],
    ];
    for case in cases {
        let mut trunk = scene.trunk();
        for (frames, expected) in *case {
            trunk.send(frames);
            expected.iter().for_each(|frame| assert_eq!(trunk.frame(), *frame, "to {frames}"));
            // No answer at all: there is no such order.
            assert!(!expected.is_empty() || trunk.is_closed(), "{frames} is put up with");
        }
    }
    scene.check();
}
