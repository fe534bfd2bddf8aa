//! The bench's own checks must fail where a server is wrong, or its figures mean nothing.

mod batch;
mod ledger;
#[path = "../common/wire.rs"]
mod wire;

use batch::{Batch, BatchError, Step};
use ledger::{Ledger, LedgerError};
use wire::{Reply, next_reply};

const BODY: &[u8] = b"body";

fn reserved(id: u64) -> Reply<'static> {
    Reply::Reserved { id, body: BODY }
}

/// Answers one command after the other, each in a batch of its own; the first refusal.
fn play(steps: &[(Step, Reply<'_>)], ledger: &mut Ledger) -> Result<(), BatchError> {
    let mut batch = Batch::new(1);
    steps.iter().try_for_each(|&(step, reply)| {
        batch.begin(step, 1);
        batch.answer(reply, BODY, ledger)
    })
}

fn played(steps: &[(Step, Reply<'_>)]) -> Result<(), BatchError> {
    play(steps, &mut Ledger::default())
}

#[test]
fn a_reply_is_found_only_when_it_is_whole() {
    let whole = [
        (&b"INSERTED 17\r\n"[..], Reply::Inserted(17)),
        (b"RESERVED 17 4\r\nbody\r\n", reserved(17)),
        (b"RESERVED 17 2\r\n\r\n\r\n", Reply::Reserved { id: 17, body: b"\r\n" }),
        (b"DELETED\r\n", Reply::Deleted),
        (b"OK 3\r\n---\r\n", Reply::Ok(b"---")),
        (b"NOT_FOUND\r\n", Reply::Line(b"NOT_FOUND")),
    ];
    for (bytes, reply) in whole {
        assert_eq!(next_reply(bytes), Some((reply, bytes.len())));
        let followed = [bytes, b"DELETED\r\n"].concat();
        assert_eq!(next_reply(&followed), Some((reply, bytes.len())));
        for cut in 0..bytes.len() {
            assert_eq!(next_reply(&bytes[..cut]), None, "{reply:?} cut at {cut}");
        }
    }
}

#[test]
fn a_malformed_reply_is_no_good_reply() {
    let malformed: [&[u8]; 5] = [
        b"INSERTED \r\n",
        b"INSERTED 1x\r\n",
        b"INSERTED 99999999999999999999\r\n",
        b"RESERVED 1\r\n",
        b"RESERVED 1 4\r\nbodyXX",
    ];
    for bytes in malformed {
        let (reply, _) = next_reply(bytes).expect("a line is there");
        assert!(matches!(reply, Reply::Line(_)), "{reply:?}");
    }
}

#[test]
fn a_sound_server_passes() {
    let mut ledger = Ledger::default();
    let steps = [
        (Step::Put, Reply::Inserted(1)),
        (Step::Put, Reply::Inserted(2)),
        (Step::Reserve, reserved(2)),
        (Step::Delete, Reply::Deleted),
    ];
    assert_eq!(play(&steps, &mut ledger), Ok(()));
    assert_eq!(ledger.check_settled(), Ok(()));
    assert_eq!((ledger.put_jobs(), ledger.left()), (2, 1));
}

#[test]
fn a_job_handed_out_twice_is_caught() {
    let steps = [
        (Step::Put, Reply::Inserted(1)),
        (Step::Reserve, reserved(1)),
        (Step::Delete, Reply::Deleted),
        (Step::Reserve, reserved(1)),
    ];
    let twice = LedgerError::Twice { id: 1, step: "handed out" };
    assert_eq!(played(&steps), Err(BatchError::Ledger(twice)));
}

#[test]
fn an_id_given_twice_is_caught() {
    let steps = [(Step::Put, Reply::Inserted(1)), (Step::Put, Reply::Inserted(1))];
    let twice = LedgerError::Twice { id: 1, step: "put" };
    assert_eq!(played(&steps), Err(BatchError::Ledger(twice)));
}

#[test]
fn a_wild_id_is_caught() {
    let wild = LedgerError::WildId(u64::MAX);
    assert_eq!(played(&[(Step::Put, Reply::Inserted(u64::MAX))]), Err(BatchError::Ledger(wild)));
}

#[test]
fn a_changed_body_is_caught() {
    for body in [&b"bod"[..], b"bodies", b"bodY"] {
        let steps = [(Step::Reserve, Reply::Reserved { id: 1, body })];
        assert_eq!(played(&steps), Err(BatchError::WrongBody { id: 1, length: body.len() }));
    }
}

#[test]
fn a_refusal_is_caught_at_every_step() {
    let refusals =
        [(Step::Put, "OUT_OF_MEMORY"), (Step::Reserve, "TIMED_OUT"), (Step::Delete, "NOT_FOUND")];
    for (step, line) in refusals {
        let refused = BatchError::WrongReply { step, reply: String::from(line) };
        assert_eq!(played(&[(step, Reply::Line(line.as_bytes()))]), Err(refused));
    }
}

#[test]
fn a_reply_nobody_asked_for_is_caught() {
    let mut batch = Batch::new(1);
    let mut ledger = Ledger::default();
    batch.begin(Step::Put, 1);
    assert_eq!(batch.answer(Reply::Inserted(1), BODY, &mut ledger), Ok(()));
    assert_eq!(
        batch.answer(Reply::Inserted(2), BODY, &mut ledger),
        Err(BatchError::Unasked),
        "{:?} with {} of {} answered",
        batch.step(),
        batch.answered(),
        batch.commands(),
    );
    assert!(batch.reserved_ids().is_empty());
}

#[test]
fn a_job_that_was_never_put_is_caught() {
    let mut ledger = Ledger::default();
    let steps = [(Step::Reserve, reserved(1)), (Step::Delete, Reply::Deleted)];
    assert_eq!(play(&steps, &mut ledger), Ok(()));
    assert!(matches!(ledger.check_settled(), Err(LedgerError::Unbalanced { .. })));
}

#[test]
fn a_job_that_is_not_deleted_is_caught() {
    let mut ledger = Ledger::default();
    let steps = [(Step::Put, Reply::Inserted(1)), (Step::Reserve, reserved(1))];
    assert_eq!(play(&steps, &mut ledger), Ok(()));
    assert!(matches!(ledger.check_settled(), Err(LedgerError::Unbalanced { .. })));
}
