//! Snapshots from one directory to another: whole, cut off, resumed, damaged, and through crashes.

use std::collections::BTreeSet;

use bytes::Bytes;
use openraft::storage::{LogState, RaftLogReader, RaftLogStorage, RaftStateMachine};

use super::super::encoding;
use super::super::snapshot::{
    Call, CallError, Receiver, Receiving, Response, SendError, SentRuns, SnapshotSource, send,
};
use super::super::types::Vote;
use super::sides::*;
use super::*;
use crate::storage::checkpoint::{CheckpointHead, Checkpoints};
use crate::storage::sim::Crash;
use crate::storage::wal::EntryId;

#[tokio::test]
async fn a_member_that_was_sent_a_snapshot_has_the_same_state_at_once_and_after_a_restart() {
    let Pair { before, after } = pair(20_000).await;
    let (from, mut to) = (Side::open(&after), Side::open(&before));
    let source = from.source();
    let file_bytes = source.info().file_bytes;
    assert!(file_bytes > 4 << 20, "{file_bytes} bytes are too few for this test");
    let mut wire = to.wire();
    assert_eq!(wire.carry(&source).await.unwrap(), ANSWER);
    assert_eq!((to.digest(), to.applied()), (from.digest(), from.applied()));
    let sent: usize = wire.sizes.iter().sum();
    assert!(sent as u64 <= file_bytes + wire.calls as u64 * 64 + 1000, "{sent} of {file_bytes}");
    assert!(wire.sizes.iter().all(|bytes| *bytes <= (256 << 10) + 64));
    let (installed, source_there) =
        to.replica.with_state(|state| (state.snapshot_installed, state.source.clone()));
    assert_eq!(installed, 1);
    assert_eq!(source_there.unwrap().info(), source.info());
    let snapshot = to.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(snapshot.meta.last_log_id, from.applied());
    to.upkeep.take_over_received(&to.replica).await;
    assert_eq!(to.upkeep.parts.last().unwrap().id, source.info().head.applied_index);
    let next = to.log.get_log_state().await.unwrap();
    let wanted = LogState { last_purged_log_id: from.applied(), last_log_id: from.applied() };
    assert_eq!(next, wanted);
    assert_eq!(incoming(&before), [""; 0]);
    drop((wire, to));
    let again = Side::open(&before);
    assert_eq!((again.digest(), again.applied()), (from.digest(), from.applied()));
}

#[tokio::test]
async fn a_transfer_that_is_cut_anywhere_goes_on_where_it_was() {
    let Pair { before, after } = pair(4000).await;
    let from = Side::open(&after);
    let source = from.source();
    let file_bytes = source.info().file_bytes as usize;
    let chunks = file_bytes.div_ceil(256 << 10);
    assert!(chunks >= 4, "{chunks} chunks");
    for call in 1..=chunks + 2 {
        for (cut, restarts) in
            [(Cut::Before(call), false), (Cut::After(call), false), (Cut::After(call), true)]
        {
            let disk = before.kill();
            let mut to = Side::open(&disk);
            let mut wire = to.wire();
            wire.cut = cut;
            let refused = wire.carry(&source).await.unwrap_err();
            assert!(matches!(refused, SendError::Call(_)), "{cut:?}: {refused}");
            let was_installed = to.applied() == from.applied();
            assert_eq!(was_installed, cut == Cut::After(chunks + 2), "{cut:?}");
            let sent: usize = wire.sizes.iter().sum();
            if restarts {
                drop((wire, to));
                to = Side::open(&disk.kill());
                wire = to.wire();
            }
            wire.cut = Cut::Nowhere;
            wire.sizes.clear();
            wire.carry(&source).await.unwrap_or_else(|error| panic!("{cut:?}: {error}"));
            assert_eq!((to.digest(), to.applied()), (from.digest(), from.applied()), "{cut:?}");
            let again: usize = wire.sizes.iter().sum();
            // A process that ended has lost what was not a whole piece yet.
            let twice = if restarts { (1 << 20) + (256 << 10) } else { 256 << 10 };
            let most = file_bytes + twice + 2000;
            assert!(sent + again <= most, "{cut:?} {restarts}: {sent} and {again} of {file_bytes}");
        }
    }
}

#[tokio::test]
async fn what_was_written_before_a_power_failure_is_not_sent_again() {
    let Pair { before, after } = pair(12_000).await;
    let from = Side::open(&after);
    let source = from.source();
    let chunks = (source.info().file_bytes as usize).div_ceil(256 << 10);
    let to = Side::open(&before);
    let mut wire = to.wire();
    wire.cut = Cut::Before(chunks + 1);
    wire.carry(&source).await.unwrap_err();
    for seed in 0..8 {
        let crashed = before.crash(Crash::Random { seed });
        let again = Side::open(&crashed);
        let mut wire = again.wire();
        wire.carry(&source).await.unwrap();
        assert_eq!(again.digest(), from.digest(), "seed {seed}");
        let sent: usize = wire.sizes.iter().sum();
        let unwritten = 3 << 20;
        assert!(sent <= unwritten, "seed {seed}: {sent} bytes again");
    }
}

#[tokio::test]
async fn what_was_changed_on_its_way_or_on_the_disk_is_refused_and_nothing_changes() {
    let Pair { before, after } = pair(3000).await;
    let from = Side::open(&after);
    let source = from.source();
    let to = Side::open(&before);
    let (digest, applied, files) = (to.digest(), to.applied(), checkpoints(&before));
    let unchanged = || {
        assert_eq!((to.digest(), to.applied()), (digest, applied));
        assert_eq!(checkpoints(&before), files);
    };
    // A chunk.
    let mut wire = to.wire();
    wire.tamper = Box::new(|call, request| {
        if call == 3 {
            let middle = request.len() / 2;
            request[middle] ^= 1;
        }
    });
    let refused = wire.carry(&source).await.unwrap_err().to_string();
    assert!(refused.contains("was changed on its way"), "{refused}");
    unchanged();
    // The file at the sender, whose chunks are then right, and the file is not.
    let path = checkpoints(&after).pop().unwrap();
    after.edit(&path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let mut wire = to.wire();
    let refused = wire.carry(&source).await.unwrap_err().to_string();
    assert!(refused.contains("block"), "{refused}");
    assert_eq!(incoming(&before), [""; 0], "what is damaged is not kept");
    unchanged();
    // Whole again, it is taken.
    after.edit(&path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    wire.carry(&source).await.unwrap();
    assert_eq!(to.digest(), from.digest());
}

/// A message of two bytes of version and kind, and what else there is.
async fn refusal(side: &Side, request: Vec<u8>) -> String {
    let Response::Answer(answer) = side.receiver().handle(request.into()).await else {
        panic!("something is installed");
    };
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn another_cluster_and_nonsense_are_refused_with_a_reason() {
    let Pair { before, after } = pair(300).await;
    let from = Side::open(&after);
    let to = Side::open(&before);
    let applied = to.applied();
    let mut receiving = to.receiving.clone();
    receiving.cluster = 7;
    let mut wire = to.wire();
    wire.receiver = Receiver::new(receiving, Arc::clone(&to.replica));
    let refused = wire.carry(&from.source()).await.unwrap_err();
    assert!(
        matches!(&refused, SendError::Refused { why } if why.contains("of cluster")),
        "{refused}"
    );
    assert!(refusal(&to, Vec::new()).await.contains("an empty message"));
    assert!(refusal(&to, vec![9, 0]).await.contains("a message of version 9"));
    assert!(refusal(&to, vec![1, 0, 5]).await.contains("malformed"));
    let mut random = Random(5);
    for length in 0..400 {
        let mut request: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        request.insert(0, 1);
        assert!(refusal(&to, request).await.len() > 2);
    }
    // A description that is none.
    let info = from.source().info().clone();
    let head = CheckpointHead { meta: Bytes::from_static(b"?"), ..info.head };
    let bad = written(&from.receiving.checkpoints, head).await;
    let Receiving { checkpoints, transfers, cold, .. } = &from.receiving;
    let runs = SentRuns::new(cold, BTreeSet::new());
    let source = SnapshotSource::open(checkpoints, bad, transfers, runs);
    let refused = to.wire().carry(&source.unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("description is not valid"), "{refused}");
    assert_eq!(incoming(&before), [""; 0]);
    assert_eq!(to.applied(), applied);
}

/// Makes a checkpoint of no records.
async fn written(
    checkpoints: &Checkpoints,
    head: CheckpointHead,
) -> crate::storage::checkpoint::CheckpointInfo {
    let (done, made) = tokio::sync::oneshot::channel();
    let writer = checkpoints.begin(head, Arc::new(|| {}));
    writer.finish(Box::new(move |result| drop(done.send(result))));
    made.await.unwrap().unwrap()
}

#[tokio::test]
async fn the_vote_of_a_sender_that_cannot_have_it_is_refused() {
    let Pair { before, after } = pair(300).await;
    let (from, to) = (Side::open(&after), Side::open(&before));
    let applied = to.applied();
    for vote in [Vote::new_committed(0, 1), Vote::new(90, 2)] {
        let bytes = encoding::encode_vote(&vote).into();
        let mut wire = to.wire();
        let sent = send(&from.source(), bytes, &mut wire, std::future::pending::<()>()).await;
        assert!(matches!(sent, Err(SendError::Refused { .. })), "{vote}");
    }
    assert_eq!(to.applied(), applied);
}

#[tokio::test]
async fn newer_checkpoints_of_the_sender_do_not_disturb_a_transfer_and_its_log_is_kept() {
    let Pair { before, after } = pair(3000).await;
    let (from, to) = (Side::open(&after), Side::open(&before));
    let source = from.source();
    let index = source.info().head.applied_index;
    for newer in 1..=3 {
        let head = CheckpointHead { applied_index: index + newer, ..source.info().head.clone() };
        written(&from.receiving.checkpoints, head).await;
    }
    assert!(after.bytes(&from.receiving.checkpoints.path(index)).is_none(), "it was replaced");
    let transfers = Arc::clone(&from.receiving.transfers);
    assert_eq!(transfers.oldest_needed_index(), None);
    assert_eq!(from.upkeep.purge_limit(index + 9), index + 9);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (told, watched) = (Arc::clone(&seen), Arc::clone(&transfers));
    let mut wire = to.wire();
    wire.tamper = Box::new(move |_, _| told.lock().push(watched.oldest_needed_index()));
    wire.carry(&source).await.unwrap();
    assert_eq!(to.digest(), from.digest());
    assert!(seen.lock().iter().all(|needed| *needed == Some(index + 1)), "{:?}", seen.lock());
    // For a while longer: openraft has yet to begin with the log behind it.
    assert_eq!(from.upkeep.purge_limit(index + 9), index);
}

#[tokio::test]
async fn a_transfer_that_fails_keeps_no_log_and_one_that_is_cancelled_ends() {
    let Pair { before, after } = pair(300).await;
    let (from, to) = (Side::open(&after), Side::open(&before));
    let mut wire = to.wire();
    wire.cut = Cut::Before(2);
    wire.carry(&from.source()).await.unwrap_err();
    assert_eq!(from.receiving.transfers.oldest_needed_index(), None);
    struct Silent;
    impl Call for Silent {
        async fn call(&mut self, _: Vec<u8>, _: Duration) -> Result<Bytes, CallError> {
            std::future::pending().await
        }
    }
    let cancelled = send(&from.source(), Bytes::new(), &mut Silent, async {}).await;
    assert!(matches!(cancelled, Err(SendError::Cancelled)));
    assert_eq!(from.receiving.transfers.oldest_needed_index(), None);
}

#[tokio::test]
async fn a_snapshot_of_what_is_applied_is_taken_without_its_bytes_and_none_older_is_installed() {
    let Pair { before, after } = pair(3000).await;
    let (from, to) = (Side::open(&after), Side::open(&before));
    let source = from.source();
    to.wire().carry(&source).await.unwrap();
    let mut wire = to.wire();
    assert_eq!(wire.carry(&source).await.unwrap(), &b"nothing new"[..]);
    assert_eq!(wire.calls, 2);
    let snapshot = to.machine.clone().get_current_snapshot().await.unwrap().unwrap();
    let error = to.machine.clone().install_snapshot(&snapshot.meta, snapshot.snapshot).await;
    assert!(error.unwrap_err().to_string().contains("was not received"));
    assert_eq!(to.digest(), from.digest());
}

#[tokio::test]
async fn a_power_failure_at_any_moment_leaves_the_old_state_or_the_new_one() {
    let Pair { before, after } = pair(700).await;
    let from = Side::open(&after);
    let source = from.source();
    let old = job_ids(&restart::shown_by(&before).await);
    let new = job_ids(&restart::shown_by(&after).await);
    assert!(new.len() > old.len() + 600 && old.len() == 20, "{} {}", old.len(), new.len());
    let (mut olds, mut news, mut changes, mut later) = (0, 0, 0, 0);
    // Until all of the transfer is over, and for a while of what the log does then.
    while later < 6 {
        let disk = before.kill();
        let to = Side::open(&disk);
        disk.copy_after(changes);
        changes += 1;
        to.wire().carry(&source).await.unwrap();
        let cut = disk.take_copy();
        later += usize::from(cut.is_none());
        drop(to);
        for seed in 0..3 {
            let crashed = cut.as_ref().unwrap_or(&disk).crash(Crash::Random { seed });
            let shown = job_ids(&restart::shown_by(&crashed).await);
            let at = format!("{changes} changes, seed {seed}");
            assert!(shown == old || shown == new, "{at}: {} jobs", shown.len());
            assert!(cut.is_some() || shown == new, "{at}: installed, and gone");
            olds += usize::from(shown == old);
            news += usize::from(shown == new);
        }
    }
    assert!(olds > 5 && news > 5, "{olds} old, {news} new");
}

#[tokio::test]
async fn a_log_that_ends_in_what_was_never_committed_follows_the_checkpoint() {
    let Pair { before, after } = pair(300).await;
    let index = Side::open(&after).applied().unwrap().index;
    // The log of a leader of a later term that nobody followed: longer than the checkpoint, or not.
    for length in [index + 40, index + 1, index, index - 3] {
        let disk = before.kill();
        let side = Side::open(&disk);
        let LogState { last_log_id, .. } = side.log.clone().get_log_state().await.unwrap();
        let first = last_log_id.unwrap().index + 1;
        assert!(first < length, "there is something to write");
        let entries = (first..length).map(|index| log_store::entry(9, index, 10)).collect();
        log_store::append(&mut side.log.clone(), entries).await.unwrap();
        drop(side);
        // A crash just after the checkpoint was renamed.
        let newest = checkpoints(&after).pop().unwrap();
        let file = disk.create(&newest).unwrap();
        file.write_all_at(&after.bytes(&newest).unwrap(), 0).unwrap();
        file.sync_all().unwrap();
        disk.sync_dir(&data().join("checkpoints")).unwrap();
        for _ in 0..2 {
            let again = Side::open(&disk);
            let applied = again.applied().unwrap();
            assert_eq!(applied.index, index);
            let state = again.log.clone().get_log_state().await.unwrap();
            assert_eq!(state.last_purged_log_id, Some(applied), "{length}");
            assert_eq!(state.last_log_id, Some(applied), "{length}");
            assert_eq!(again.log.synced_index(), index);
        }
        let again = Side::open(&disk);
        let next = log_store::entries(10, index + 1..index + 4, 10);
        log_store::append(&mut again.log.clone(), next.clone()).await.unwrap();
        drop(again);
        let again = Side::open(&disk.crash(Crash::LoseAll));
        let found = again.log.clone().try_get_log_entries(..).await.unwrap();
        log_store::expect_same(&found, &next);
    }
}

#[tokio::test]
async fn a_log_that_agrees_with_the_checkpoint_is_kept() {
    let Pair { after, .. } = pair(300).await;
    let side = Side::open(&after);
    let LogState { last_purged_log_id, last_log_id } =
        side.log.clone().get_log_state().await.unwrap();
    assert!(last_purged_log_id < side.applied() && last_log_id >= side.applied());
}

#[tokio::test]
async fn a_log_purged_beyond_its_end_goes_on_after_it_also_in_another_life() {
    let disk = SimDisk::new();
    let bench = log_store::Bench::on(&disk);
    bench.append(log_store::entries(1, 0..10, 10)).await;
    let mut store = bench.store.clone();
    let beyond = encoding::log_id(EntryId { term: 4, member: 2, index: 200 });
    store.purge(beyond).await.unwrap();
    assert_eq!(store.synced_index(), 200, "a checkpoint has it");
    bench.append(log_store::entries(4, 201..205, 10)).await;
    drop((store, bench));
    let again = log_store::Bench::on(&disk.crash(Crash::LoseAll));
    log_store::expect_same(&again.all().await, &log_store::entries(4, 201..205, 10));
    let state = again.store.clone().get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(beyond));
}

#[tokio::test]
async fn a_full_disk_refuses_the_snapshot_and_keeps_nothing_of_it() {
    let Pair { before, after } = pair(6000).await;
    let from = Side::open(&after);
    let to = Side::open(&before);
    before.set_capacity(Some(before.used_bytes() + (16 << 20)));
    let refused = to.wire().carry(&from.source()).await.unwrap_err().to_string();
    assert!(refused.contains("there is room for"), "{refused}");
    assert_eq!(incoming(&before), [""; 0]);
    before.set_capacity(None);
    // Others fill the disk while it comes.
    let mut wire = to.wire();
    let disk = before.clone();
    wire.tamper = Box::new(move |call, _| {
        if call == 2 {
            disk.set_capacity(Some(disk.used_bytes()));
        }
    });
    let refused = wire.carry(&from.source()).await.unwrap_err();
    assert!(matches!(refused, SendError::Refused { .. }), "{refused}");
    assert_eq!(incoming(&before), [""; 0]);
    before.set_capacity(None);
    to.wire().carry(&from.source()).await.unwrap();
    assert_eq!(to.digest(), from.digest());
}
