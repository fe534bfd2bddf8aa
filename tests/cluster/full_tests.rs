//! The disk of one member is full: clients of the others do not notice, its own are told nothing
//! wrong, and it is one of three again by itself when there is room.

use std::time::Duration;

use super::scene::{Keepers, RESUMES_WITHIN, expect, lead, next, under_load};
use crate::support::{
    Client, Cluster, ClusterOptions, Load, LoopDisk, alone, cluster_options, left_out,
};

const DISK_BYTES: u64 = 160 << 20;
/// The member whose disk is full.
const FULL: usize = 2;
static BODY: [u8; 60_000] = [b'x'; 60_000];
/// More than its log has room for.
const PUTS_MAX: usize = 4000;
const AT_ONCE: usize = 8;
/// Entries that its log is behind: it does not get on.
const STUCK_AT_LAG: u64 = 100;
const JOBS: usize = 20;
const STALLED: &str = "the disk is full: the log waits for room";
const GOES_ON: &str = "there is room on the disk: the log goes on";
/// A second on the full disk, the lease of two, and time to notice.
const STEPS_OUT_WITHIN: Duration = Duration::from_secs(8);
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(10);
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);
/// Below a second on a quiet machine; a debug build among other tests gets more.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A cluster of three, one of which is on a disk of its own.
fn on_small_disk(what: &str) -> Option<(LoopDisk, Cluster)> {
    let disk = match LoopDisk::mount(DISK_BYTES) {
        Ok(disk) => disk,
        Err(why) => {
            left_out(&format!("{what}: {why}"));
            return None;
        }
    };
    let apart = Some((FULL, disk.path().join("data")));
    let options = ClusterOptions { apart, ..cluster_options() };
    let cluster = Cluster::start_with(options).expect("no cables are asked for");
    Some((disk, cluster))
}

/// A client whose jobs nobody waits for.
fn apart(cluster: &Cluster, member: usize) -> Client {
    let mut client = cluster.client(member);
    expect(&mut client, "use apart", "USING apart");
    client
}

/// Whether the log of the full member does not get on any more: whoever leads sees it far behind,
/// or is another than it was.
fn is_stuck(cluster: &mut Cluster, led: usize) -> bool {
    let Some(leader) = cluster.leader_now() else { return false };
    let full = u64::try_from(FULL + 1).expect("a small number");
    let view = cluster.status(leader);
    let members = view.map(|view| view.members).unwrap_or_default();
    let lag = members.iter().find(|it| it.id == full).and_then(|it| it.lag_entries);
    leader != led || lag.is_some_and(|lag| lag > STUCK_AT_LAG)
}

/// Puts through another member until the log of the full one does not get on.
fn put_until_stuck(cluster: &mut Cluster, via: usize) {
    let led = cluster.leader();
    let mut client = apart(cluster, via);
    let put = [format!("put 0 0 1000 {}\r\n", BODY.len()).as_bytes(), &BODY, b"\r\n"].concat();
    for _ in 0..PUTS_MAX / AT_ONCE {
        client.send(&put.repeat(AT_ONCE)).expect("the member serves");
        for _ in 0..AT_ONCE {
            let reply = next(&mut client);
            assert!(reply.starts_with("INSERTED "), "{reply}");
        }
        if is_stuck(cluster, led) {
            return;
        }
    }
    panic!("the disk is never full");
}

/// A client of the full member, and what it may be told: most of its commands wait, and what is
/// answered before its connection ends must be right.
struct Patient {
    client: Client,
    wanted: Vec<String>,
}

impl Patient {
    /// Connects while the member serves. As soon as its disk is full, it takes no jobs.
    fn connect(cluster: &mut Cluster) -> Self {
        let mut client = apart(cluster, FULL);
        cluster.wait_for("puts to be refused", STEPS_OUT_WITHIN, |_| {
            client.put("0 0 1000", b"x").expect("a put is answered") == "OUT_OF_MEMORY"
        });
        Self { client, wanted: Vec::new() }
    }

    /// Asks for jobs that another member has just taken.
    fn ask(&mut self, cluster: &Cluster) {
        let mut other = apart(cluster, 1);
        for _ in 0..JOBS {
            let put = other.put("0 0 1000", b"y").expect("a put is answered");
            let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("put: {put}"));
            let commands = format!("peek {id}\r\nreserve-job {id}\r\ndelete {id}\r\npeek {id}\r\n");
            if self.client.send(commands.as_bytes()).is_err() {
                return;
            }
            let [found, reserved] = ["FOUND", "RESERVED"].map(|word| format!("{word} {id} 1\r\ny"));
            let rest = ["DELETED", "NOT_FOUND"].map(str::to_owned);
            self.wanted.extend([found, reserved].into_iter().chain(rest));
        }
    }

    fn expect_end(mut self) {
        let mut wanted = self.wanted.into_iter();
        while let Some(reply) = self.client.reply(STEPS_OUT_WITHIN) {
            assert_eq!(
                String::from_utf8_lossy(&reply).trim_end(),
                wanted.next().unwrap_or_default()
            );
        }
        assert!(self.client.is_closed_within(Duration::ZERO), "it is still served");
    }
}

/// The member is one of three again and takes jobs.
fn expect_recovery(cluster: &mut Cluster) {
    cluster.wait_in_step();
    cluster.wait_serving(FULL);
    let mut client = apart(cluster, FULL);
    cluster.wait_for("puts to be taken again", RECOVERED_WITHIN, |_| {
        let put = client.put("0 0 1000", b"z").expect("a put is answered");
        put.starts_with("INSERTED ")
    });
}

#[test]
fn a_follower_with_a_full_disk_is_not_noticed_and_comes_back() {
    let _alone = alone();
    let Some((disk, mut cluster)) = on_small_disk("a follower with a full disk") else { return };
    lead(&mut cluster, 0);
    let keepers = Keepers::at(&cluster, &[0, 1]);
    let load = Load::on(cluster.addresses_without(FULL));
    under_load(&mut cluster, &load, |cluster, traffic| {
        disk.fill().expect("the disk is ours");
        let mut patient = Patient::connect(cluster);
        put_until_stuck(cluster, 1);
        patient.ask(cluster);
        let flows = traffic.wait_for_writes(500, RESUMES_WITHIN);
        flows.unwrap_or_else(|why| panic!("it is full: {why}"));
        patient.expect_end();
        cluster.wait_for("its port to be closed", STEPS_OUT_WITHIN, |it| it.refuses(FULL));
        disk.drain().expect("the disk is ours");
        expect_recovery(cluster);
        for line in [STALLED, GOES_ON] {
            assert!(cluster.log(FULL).contains(line), "{line}");
        }
    });
    keepers.check(&cluster, FULL);
}

#[test]
fn a_follower_that_restarts_on_a_full_disk_comes_back_when_there_is_room() {
    let _alone = alone();
    let what = "a follower that restarts on a full disk";
    let Some((disk, mut cluster)) = on_small_disk(what) else { return };
    lead(&mut cluster, 0);
    let keepers = Keepers::at(&cluster, &[0, 1]);
    let load = Load::on(cluster.addresses_without(FULL));
    under_load(&mut cluster, &load, |cluster, traffic| {
        disk.fill().expect("the disk is ours");
        put_until_stuck(cluster, 1);
        cluster.kill(FULL);
        cluster.spawn(FULL);
        let flows = traffic.wait_for_writes(500, RESUMES_WITHIN);
        flows.unwrap_or_else(|why| panic!("it is full: {why}"));
        assert!(cluster.is_running(FULL), "{}", cluster.logs());
        disk.drain().expect("the disk is ours");
        expect_recovery(cluster);
    });
    keepers.check(&cluster, FULL);
}

#[test]
fn a_leader_with_a_full_disk_hands_over() {
    let _alone = alone();
    let Some((disk, mut cluster)) = on_small_disk("a leader with a full disk") else { return };
    lead(&mut cluster, FULL);
    let keepers = Keepers::at(&cluster, &[0, 1]);
    let load = Load::on(cluster.addresses_without(FULL));
    let mut moments = Vec::new();
    let history = under_load(&mut cluster, &load, |cluster, traffic| {
        disk.fill().expect("the disk is ours");
        moments.push(traffic.clock());
        put_until_stuck(cluster, 1);
        cluster.wait_for("another leader", HANDED_OVER_WITHIN, |it| {
            it.leader_now().is_some_and(|leader| leader != FULL)
        });
        let flows = traffic.wait_for_writes(500, RESUMES_WITHIN);
        flows.unwrap_or_else(|why| panic!("it is full: {why}"));
        moments.push(traffic.clock());
        disk.drain().expect("the disk is ours");
        expect_recovery(cluster);
    });
    let gap = history.longest_gap(moments[0], moments[1]);
    assert!(gap < PAUSE_MAX, "{gap:?}");
    keepers.check(&cluster, FULL);
}
