//! Snapshots whose cold jobs are in run files: what goes over, what is kept, and what stands after a
//! cut, a crash, or damage.

use std::collections::BTreeSet;

use super::super::snapshot::{SendError, SentRuns, SnapshotSource};
use super::restart::shown_by;
use super::sides::*;
use super::*;
use crate::queue::Wait;
use crate::storage::sim::Crash;

/// So little that most jobs are cold.
const HOT_BYTES_MAX: u64 = 128 << 10;

/// What one call has beside a part of a file, bytes.
const CALL_BYTES: usize = 100;

async fn cold_pair(jobs: usize) -> Pair {
    pair_within(jobs, Some(HOT_BYTES_MAX)).await
}

fn open(disk: &SimDisk) -> Side {
    Side::open_within(disk, Some(HOT_BYTES_MAX))
}

/// The run files that the newest checkpoint of a side lists, with their lengths.
pub(super) fn listed(side: &Side, disk: &SimDisk) -> BTreeMap<String, usize> {
    let index = side.source().info().head.applied_index;
    let uids = side.upkeep.listed.of(index);
    let name = |uid: u128| format!("run-{uid:032x}");
    let path = |uid: u128| data().join("runs").join(name(uid));
    uids.iter().map(|uid| (name(uid.0), disk.bytes(&path(uid.0)).unwrap().len())).collect()
}

/// What has come of run files and has no name yet.
fn arriving(disk: &SimDisk) -> Vec<String> {
    runs(disk).into_iter().filter(|name| name.ends_with(".in")).collect()
}

#[tokio::test]
async fn a_backlog_of_cold_jobs_is_handed_out_in_order_by_the_member_that_it_was_sent_to() {
    let Pair { after, .. } = cold_pair(2000).await;
    let from = open(&after);
    let (digest, files) = (from.digest(), listed(&from, &after));
    assert!(files.len() > 5, "{} run files", files.len());
    let disk = SimDisk::new();
    // Both have the same number here, and the state knows the lives of the other one.
    (0..9).for_each(|_| drop(open(&disk)));
    let to = open(&disk);
    let mut wire = to.wire();
    wire.carry(&from.source()).await.unwrap();
    assert_eq!((to.digest(), to.applied()), (digest, from.applied()));
    assert!(wire.sizes.iter().all(|bytes| *bytes <= (256 << 10) + CALL_BYTES));
    let there: BTreeSet<String> = runs(&disk).into_iter().collect();
    assert!(files.keys().all(|name| there.contains(name)), "{there:?}");
    assert_eq!(arriving(&disk), [""; 0]);
    drop((from, after, wire, to));
    let options = options(&disk.kill(), TestClock::ticking(), NO_CHECKPOINTS);
    let options = OpenOptions { hot_bytes_max: Some(HOT_BYTES_MAX), ..options };
    let member = Member::start(options).await.unwrap();
    let reserve = || Action::Reserve { wait: Wait::Seconds(0), half_closed: false };
    let mut last = JobId(0);
    for _ in 0..40 {
        (0..50).for_each(|_| member.ask(reserve()));
        for _ in 0..50 {
            let Outcome::Reserved { job, body } = member.outcome().await else {
                panic!("nothing is left after {last:?}");
            };
            assert!(job > last, "{job:?} after {last:?}");
            assert_eq!(body.here(), [b'j'; 200][..]);
            last = job;
        }
    }
    member.stop().await;
}

#[tokio::test]
async fn a_transfer_that_is_cut_anywhere_among_run_files_goes_on_where_it_was() {
    let Pair { before, after } = cold_pair(1500).await;
    let from = open(&after);
    let source = from.source();
    let files = listed(&from, &after);
    let all_bytes = source.info().file_bytes as usize + files.values().sum::<usize>();
    let mut calls = 0;
    for call in 1.. {
        let mut disk = before.kill();
        let mut to = open(&disk);
        let mut wire = to.wire();
        wire.cut = if call % 2 == 0 { Cut::Before(call) } else { Cut::After(call) };
        let Err(cut) = wire.carry(&source).await else { break };
        assert!(matches!(cut, SendError::Call(_)), "{call}: {cut}");
        calls = wire.calls;
        let sent: usize = wire.sizes.iter().sum();
        if call % 3 == 0 {
            drop((wire, to));
            disk = disk.kill();
            to = open(&disk);
            wire = to.wire();
        }
        wire.cut = Cut::Nowhere;
        wire.sizes.clear();
        wire.carry(&source).await.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert_eq!((to.digest(), to.applied()), (from.digest(), from.applied()), "{call}");
        assert_eq!((arriving(&disk), incoming(&disk)), (Vec::new(), Vec::new()), "{call}");
        let again: usize = wire.sizes.iter().sum();
        // A process that ended has lost the last piece of each file.
        let most = if call % 3 == 0 { 2 * all_bytes } else { all_bytes + (256 << 10) };
        let around = (wire.calls + calls) * CALL_BYTES + 2000;
        assert!(sent + again <= most + around, "{call}: {sent} and {again} of {all_bytes}");
    }
    assert!(calls > files.len() * 2, "{calls} calls for {} files", files.len());
}

#[tokio::test]
async fn only_the_files_go_over_that_are_not_there() {
    let Pair { before, after } = cold_pair(1500).await;
    let disk = SimDisk::new();
    let to = open(&disk);
    let from = open(&after);
    let old = listed(&from, &after);
    to.wire().carry(&from.source()).await.unwrap();
    drop((from, before));
    let later = disk_with(&after, 500, Some(HOT_BYTES_MAX)).await;
    let from = open(&later);
    let new = listed(&from, &later);
    let missing = new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(_, bytes)| bytes);
    let missing: usize = missing.sum();
    let both = new.keys().filter(|name| old.contains_key(*name)).count();
    assert!(missing > 0 && both > 0, "{missing} bytes are missing, {both} are there");
    let mut wire = to.wire();
    wire.carry(&from.source()).await.unwrap();
    assert_eq!((to.digest(), to.applied()), (from.digest(), from.applied()));
    let sent: usize = wire.sizes.iter().sum();
    let most = missing + from.source().info().file_bytes as usize + wire.calls * CALL_BYTES + 1000;
    assert!(sent <= most, "{sent} bytes were sent, {missing} were missing");
}

#[tokio::test]
async fn a_power_failure_at_any_moment_leaves_the_old_jobs_or_the_new_ones_and_a_way_to_them() {
    let Pair { before, after } = cold_pair(900).await;
    let from = open(&after);
    let source = from.source();
    let old = job_ids(&shown_by(&before).await);
    let new = job_ids(&shown_by(&after).await);
    let (mut olds, mut changes, mut seed, mut is_over) = (0, 0, 0, false);
    while !is_over {
        let disk = before.kill();
        let to = open(&disk);
        disk.copy_after(changes);
        to.wire().carry(&source).await.unwrap();
        let cut = disk.take_copy();
        is_over = cut.is_none();
        drop(to);
        for _ in 0..2 {
            seed += 1;
            let crashed = cut.as_ref().unwrap_or(&disk).crash(Crash::Random { seed });
            let shown = job_ids(&shown_by(&crashed).await);
            let at = format!("{changes} changes, seed {seed}");
            assert!(shown == old || shown == new, "{at}: {} jobs", shown.len());
            assert!(!is_over || shown == new, "{at}: installed, and gone");
            olds += usize::from(shown == old);
            // What was there of it is of use, or no harm.
            let again = open(&crashed);
            again.wire().carry(&source).await.unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(again.digest(), from.digest(), "{at}");
        }
        changes += if changes % 5 == 4 { 3 } else { 1 };
    }
    // The new ones were seen at the end, if not before.
    assert!(olds > 20, "{olds} old");
}

#[tokio::test]
async fn a_receiver_that_may_have_less_hot_than_the_sender_makes_the_rest_cold_as_it_comes() {
    const LITTLE: u64 = 64 << 10;
    let Pair { before, after } = pair(3000).await;
    let from = Side::open(&after);
    let hot_bytes = |side: &Side| side.replica.with_state(|state| state.queue.hot_bytes());
    assert!(hot_bytes(&from) > 16 * LITTLE, "{} hot", hot_bytes(&from));
    let to = Side::open_within(&before, Some(LITTLE));
    to.wire().carry(&from.source()).await.unwrap();
    assert_eq!((to.digest(), to.applied()), (from.digest(), from.applied()));
    assert!(hot_bytes(&to) <= LITTLE, "{} hot", hot_bytes(&to));
    assert!(to.upkeep.cold.with(|set| set.sealed_runs()) <= 3);
    drop(to);
    // A start is the same.
    for disk in [before, after.kill()] {
        let side = Side::open_within(&disk, Some(LITTLE));
        assert_eq!(side.digest(), from.digest());
        assert!(hot_bytes(&side) <= LITTLE, "{} hot", hot_bytes(&side));
    }
}

#[tokio::test]
async fn without_room_for_the_run_files_nothing_is_kept_of_them() {
    let Pair { after, .. } = cold_pair(2000).await;
    let from = open(&after);
    let bytes: usize = listed(&from, &after).values().sum();
    assert!(bytes > 50_000, "{bytes}");
    let disk = SimDisk::new();
    let to = open(&disk);
    let before: BTreeSet<String> = runs(&disk).into_iter().collect();
    let checkpoint = from.source().info().file_bytes;
    disk.set_capacity(Some(disk.used_bytes() + checkpoint + (16 << 20) + 20_000));
    let refused = to.wire().carry(&from.source()).await.unwrap_err().to_string();
    assert!(refused.contains("there is room for"), "{refused}");
    assert_eq!(runs(&disk).into_iter().collect::<BTreeSet<_>>(), before);
    // Others fill the disk while they come.
    disk.set_capacity(None);
    let mut wire = to.wire();
    let full = disk.clone();
    wire.tamper = Box::new(move |call, _| {
        if call == 6 {
            full.set_capacity(Some(full.used_bytes()));
        }
    });
    let refused = wire.carry(&from.source()).await.unwrap_err();
    assert!(matches!(refused, SendError::Refused { .. }), "{refused}");
    disk.set_capacity(None);
    to.wire().carry(&from.source()).await.unwrap();
    assert_eq!(to.digest(), from.digest());
}

#[tokio::test]
async fn a_run_file_that_is_damaged_is_refused_and_comes_again() {
    let Pair { after, .. } = cold_pair(1000).await;
    let from = open(&after);
    let source = from.source();
    let disk = SimDisk::new();
    let to = open(&disk);
    let applied = to.applied();
    let flip = |disk: &SimDisk, name: &str, from_end: usize| {
        let path = data().join("runs").join(name);
        let is_there = disk.edit(&path, |bytes| {
            let place = bytes.len() - from_end;
            bytes[place] ^= 1;
        });
        assert!(is_there, "{name}");
    };
    // At the sender: all chunks are right, and the file is not.
    let victim = listed(&from, &after).into_keys().next_back().unwrap();
    flip(&after, &victim, 9000);
    let refused = to.wire().carry(&source).await.unwrap_err().to_string();
    assert!(refused.contains("is damaged"), "{refused}");
    assert_eq!(to.applied(), applied);
    assert!(!arriving(&disk).contains(&format!("{victim}.in")), "what is damaged is not kept");
    flip(&after, &victim, 9000);
    // On its way.
    let mut wire = to.wire();
    wire.tamper = Box::new(|call, request| {
        let middle = request.len() / 2;
        request[middle] ^= u8::from(call == 4);
    });
    let refused = wire.carry(&source).await.unwrap_err().to_string();
    assert!(refused.contains("was changed on its way"), "{refused}");
    // On the receiver's disk, after it was verified.
    let calls = {
        let other = open(&SimDisk::new());
        let mut wire = other.wire();
        wire.carry(&source).await.unwrap();
        wire.calls
    };
    let mut wire = to.wire();
    wire.cut = Cut::Before(calls);
    wire.carry(&source).await.unwrap_err();
    let come = arriving(&disk);
    assert!(come.len() > 3, "{come:?}");
    flip(&disk, &come[1], 9);
    wire.cut = Cut::Nowhere;
    let refused = wire.carry(&source).await.unwrap_err().to_string();
    assert!(refused.contains("is damaged"), "{refused}");
    assert_eq!(to.applied(), applied);
    wire.carry(&source).await.unwrap();
    assert_eq!(to.digest(), from.digest());
}

#[tokio::test]
async fn what_the_sender_does_not_need_any_more_stays_until_it_was_sent() {
    let Pair { before, after } = cold_pair(1000).await;
    let from = open(&after);
    let (source, digest) = (from.source(), from.digest());
    let to = open(&before);
    let mut wire = to.wire();
    let (cold, disk) = (from.upkeep.cold.clone(), after.clone());
    let files: BTreeSet<String> = listed(&from, &after).into_keys().collect();
    // All jobs are taken, and no checkpoint lists their files any more.
    wire.tamper = Box::new(move |_, _| {
        cold.with(|set| {
            let groups = set.groups().unwrap();
            let all = groups.keys().flat_map(|group| set.after(*group, None, usize::MAX));
            for found in all.flatten().collect::<Vec<_>>() {
                let body = set.take(&found).unwrap();
                set.let_go(&body);
            }
            set.release(&[]);
        });
        assert!(files.is_subset(&runs(&disk).into_iter().collect()));
    });
    wire.carry(&source).await.unwrap();
    assert_eq!(to.digest(), digest);
    from.replica.with_state(|state| state.source = None);
    drop(source);
    while from.upkeep.cold.with(|set| set.release(&[])) > 0 {}
    assert_eq!(runs(&after), [""; 0]);
}

#[tokio::test]
async fn a_newer_checkpoint_follows_one_whose_transfer_took_long() {
    let Pair { after: first, .. } = cold_pair(600).await;
    let second = disk_with(&first, 600, Some(HOT_BYTES_MAX)).await;
    for is_slow in [false, true] {
        let from = open(&second);
        let Side { receiving, upkeep, .. } = &from;
        let newest = from.source().info().head.applied_index;
        let older = receiving.checkpoints.list().unwrap()[1];
        let info = receiving.checkpoints.read(receiving.cluster, older).unwrap().info().clone();
        let runs = SentRuns::new(&upkeep.cold, upkeep.listed.of(older));
        let transfers = &receiving.transfers;
        let source = SnapshotSource::open(&receiving.checkpoints, info, transfers, runs).unwrap();
        let to = open(&SimDisk::new());
        let mut wire = to.wire();
        let watched = Arc::clone(transfers);
        let mut kept = Vec::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        wire.tamper = Box::new(move |call, _| {
            if is_slow && call == 2 {
                std::thread::sleep(Duration::from_millis(1200));
            }
            kept.push(watched.oldest_needed_index());
            told.lock().clone_from(&kept);
        });
        wire.carry(&source).await.unwrap();
        let installed = if is_slow { newest } else { older };
        assert_eq!(to.applied().unwrap().index, installed, "slow: {is_slow}");
        assert_eq!(to.source().info().head.applied_index, installed);
        let seen = seen.lock();
        assert_eq!(seen.first(), Some(&Some(older + 1)));
        assert_eq!(seen.last(), Some(&Some(installed + 1)));
        // For a while nothing had to be kept.
        assert_eq!(seen.contains(&None), is_slow, "{seen:?}");
        assert_eq!(is_slow, to.digest() == from.digest());
    }
}

#[tokio::test]
async fn after_an_installation_the_files_of_the_old_state_go_with_its_checkpoints() {
    let disk = disk_with(&SimDisk::new(), 800, Some(HOT_BYTES_MAX / 4)).await;
    let Pair { after, .. } = cold_pair(3000).await;
    let from = open(&after);
    let mut to = open(&disk);
    let (old, new) = (listed(&to, &disk), listed(&from, &after));
    assert!(!old.is_empty() && old.keys().all(|name| !new.contains_key(name)));
    to.wire().carry(&from.source()).await.unwrap();
    to.upkeep.take_over_received(&to.replica).await;
    while to.upkeep.listed.release(&to.upkeep.cold) > 0 {}
    let there: BTreeSet<String> = runs(&disk).into_iter().collect();
    assert!(old.keys().chain(new.keys()).all(|name| there.contains(name)));
    // The new state cools into the set that upkeep sees.
    let uids = || to.upkeep.cold.with(|set| set.freeze().held().uids().clone());
    let before = uids();
    to.replica.with_state(|state| state.queue.cool(10_000, 0));
    assert!(!uids().is_subset(&before));
    assert_eq!(to.digest(), from.digest());
    until("all runs are written", || to.upkeep.cold.with(|set| set.press_writer()).unwrap() == 0)
        .await;
    // When the checkpoint of the old state goes, its files do.
    checkpoints(&disk).iter().rev().skip(1).for_each(|path| disk.remove(path).unwrap());
    to.upkeep.listed.forget_removed(&to.upkeep.checkpoints, &to.upkeep.cold).unwrap();
    while to.upkeep.listed.release(&to.upkeep.cold) > 0 {}
    let there: BTreeSet<String> = runs(&disk).into_iter().collect();
    assert!(old.keys().all(|name| !there.contains(name)), "{there:?}");
    assert!(new.keys().all(|name| there.contains(name)), "{there:?}");
    assert_eq!(to.digest(), from.digest());
}
