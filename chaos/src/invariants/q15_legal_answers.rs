//! Q15: every answer is one that the protocol has for this command, and belongs to it.
//!
//! The kind of the reply; the id that was asked for; a count of `kick` that is not above its bound;
//! a body that is whole, that somebody put, with that length, before it was seen, and in a put that
//! was not refused; a job from one of the tubes asked; DEADLINE_SOON only for who was handed out a
//! job. What a client could not read is `Illegal`.
//!
//! Not claimed: the values of figures (Q9, Q12), and the order of lists. INTERNAL_ERROR is legal,
//! and counted.

use std::collections::HashSet;

use super::Finding;
use super::fate;
use super::index::{self, Connection, Index};
use crate::history::{Body, Command, History, Outcome, Record, Reply};

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    let mut internal = 0_u64;
    let mut holders: HashSet<Connection> = HashSet::new();
    for (place, record) in history.records.iter().enumerate() {
        let Outcome::Replied(reply) = &record.outcome else { continue };
        finding.cases += 1;
        internal += u64::from(*reply == Reply::InternalError);
        if matches!(reply, Reply::Reserved { .. } | Reply::InternalError) {
            holders.insert(index::connection(record));
        }
        if *reply == Reply::DeadlineSoon && !holders.contains(&index::connection(record)) {
            let what = "DEADLINE_SOON, and no job was handed out to this connection".to_owned();
            finding.break_with(what, vec![place]);
        }
        if let Err((what, other)) = judge(&index, record, reply) {
            let shown = other.into_iter().chain([place]).collect();
            finding.break_with(what, shown);
        }
    }
    finding.measure("INTERNAL_ERROR", internal);
    finding
}

/// What is wrong, and the place of another record that shows it.
type Wrong = (String, Option<usize>);

fn judge(index: &Index<'_>, record: &Record, reply: &Reply) -> Result<(), Wrong> {
    if let Reply::Illegal { text } = reply {
        return Err((format!("no reply to this command: {text:?}"), None));
    }
    if !is_legal(&record.command, reply) {
        return Err((format!("{reply:?} is no reply to this command"), None));
    }
    let (Reply::Reserved { id, body } | Reply::Found { id, body }) = reply else { return Ok(()) };
    if asked_for(&record.command).is_some_and(|asked| asked != *id) {
        return Err((format!("job {id} is not the one that was asked for"), None));
    }
    judge_body(index, record, *id, *body)
}

fn judge_body(index: &Index<'_>, record: &Record, id: u64, body: Body) -> Result<(), Wrong> {
    if body.key == 0 || !body.is_intact {
        return Err((format!("the body of job {id} is not what was put"), None));
    }
    let Some(&place) = index.puts.get(&body.key) else {
        return Err((format!("nobody put the body of job {id}"), None));
    };
    let from = index.record(place);
    let put = index::put_of(from).filter(|put| put.body.bytes == body.bytes);
    let Some(put) = put else {
        return Err((format!("the body of job {id} has another length than was put"), Some(place)));
    };
    if !fate::may_have_effect(from) {
        return Err((format!("the put of job {id} was refused, and it is there"), Some(place)));
    }
    if record.returned < from.invoked {
        return Err((format!("job {id} was seen before it was put"), Some(place)));
    }
    if !is_asked(&record.command, put.tube) {
        let what = format!("job {id} is from tube {}, which was not asked for", put.tube);
        return Err((what, Some(place)));
    }
    Ok(())
}

/// Whether a command takes or shows jobs of this tube.
fn is_asked(command: &Command, of: &str) -> bool {
    match command {
        Command::Reserve { tubes, .. } => tubes.iter().any(|tube| tube == of),
        Command::PeekReady { tube }
        | Command::PeekDelayed { tube }
        | Command::PeekBuried { tube } => tube == of,
        _ => true,
    }
}

fn asked_for(command: &Command) -> Option<u64> {
    match command {
        Command::ReserveJob { id } | Command::Peek { id } => Some(*id),
        _ => None,
    }
}

/// The replies that each command can have.
fn is_legal(command: &Command, reply: &Reply) -> bool {
    if matches!(reply, Reply::OutOfMemory | Reply::InternalError) {
        return !matches!(command, Command::Connect | Command::Close | Command::Broken);
    }
    match command {
        Command::Connect | Command::Close | Command::Broken => *reply == Reply::Done,
        Command::Use { .. } => *reply == Reply::Using,
        Command::Watch { .. } => *reply == Reply::Watching,
        Command::Ignore { .. } => matches!(reply, Reply::Watching | Reply::NotIgnored),
        Command::Key { .. } => *reply == Reply::Keyed,
        Command::Put { under, .. } => {
            matches!(
                reply,
                Reply::Inserted { .. }
                    | Reply::Buried { id: Some(_) }
                    | Reply::Draining
                    | Reply::JobTooBig
            ) || under.is_some() && *reply == Reply::KeyInUse
        }
        Command::Reserve { timeout, .. } => match reply {
            Reply::TimedOut => timeout.is_some(),
            Reply::Reserved { .. } | Reply::DeadlineSoon => true,
            _ => false,
        },
        Command::ReserveJob { .. } => matches!(reply, Reply::Reserved { .. } | Reply::NotFound),
        Command::Delete { .. } => matches!(reply, Reply::Deleted | Reply::NotFound),
        Command::Release { .. } => {
            matches!(reply, Reply::Released | Reply::Buried { id: None } | Reply::NotFound)
        }
        Command::Bury { .. } => matches!(reply, Reply::Buried { id: None } | Reply::NotFound),
        Command::Touch { .. } => matches!(reply, Reply::Touched | Reply::NotFound),
        Command::Kick { bound, .. } => {
            matches!(reply, Reply::Kicked { count: Some(count) } if count <= bound)
        }
        Command::KickJob { .. } => matches!(reply, Reply::Kicked { count: None } | Reply::NotFound),
        Command::Peek { .. }
        | Command::PeekReady { .. }
        | Command::PeekDelayed { .. }
        | Command::PeekBuried { .. } => matches!(reply, Reply::Found { .. } | Reply::NotFound),
        Command::PauseTube { .. } => matches!(reply, Reply::Paused | Reply::NotFound),
        Command::StatsJob { .. } | Command::StatsTube { .. } => {
            matches!(reply, Reply::Stats { .. } | Reply::NotFound)
        }
        Command::Stats => matches!(reply, Reply::Stats { .. }),
        Command::ListTubes => matches!(reply, Reply::Names { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, body, found, put, reserve, reserved, reserved_as};
    use super::check;
    use crate::history::{Body, Command, Reply};

    fn broken(story: &mut Story) -> u64 {
        check(&story.history()).broken
    }

    #[test]
    fn what_is_no_reply_to_the_command_is_noticed() {
        let wrong = [
            (Command::Delete { id: 1 }, Reply::Released),
            (Command::Stats, Reply::NotFound),
            (Command::Kick { tube: "t".into(), bound: 2 }, Reply::Kicked { count: Some(3) }),
            (Command::Reserve { tubes: vec!["t".into()], timeout: None }, Reply::TimedOut),
            (Command::Touch { id: 1 }, Reply::Illegal { text: "TOUCH".into() }),
            (Command::Peek { id: 2 }, found(1)),
        ];
        for (command, reply) in wrong {
            let mut story = Story::new();
            story.put(1, 10, 1).told(2, 20, command.clone(), reply);
            assert_eq!(broken(&mut story), 1, "{command:?}");
        }
    }

    #[test]
    fn a_body_that_was_not_put_so_is_noticed() {
        let changed = [
            Body { is_intact: false, ..body(1) },
            Body { bytes: 5, ..body(1) },
            Body { key: 77, ..body(1) },
            Body { key: 0, ..body(1) },
        ];
        for body in changed {
            let mut story = Story::new();
            story.put(1, 10, 1).told(2, 20, reserve(), Reply::Reserved { id: 1, body });
            assert_eq!(broken(&mut story), 1, "{body:?}");
        }
    }

    #[test]
    fn a_job_that_was_refused_or_comes_from_elsewhere_is_noticed() {
        let mut story = Story::new();
        story.told(1, 10, put(1), Reply::OutOfMemory).told(2, 20, reserve(), reserved(1));
        assert_eq!(broken(&mut story), 1);
        let mut story = Story::new();
        story.put_as(1, 10, 1, |put| put.tube = "other").told(2, 20, reserve(), reserved(1));
        assert_eq!(broken(&mut story), 1);
        let mut story = Story::new();
        story.told(2, 5, reserve(), reserved(1)).put(1, 10, 1);
        assert_eq!(broken(&mut story), 1);
    }

    #[test]
    fn a_deadline_of_who_got_no_job_is_noticed() {
        let mut story = Story::new();
        story.put(1, 10, 1).told(3, 20, reserve(), Reply::DeadlineSoon);
        assert_eq!(broken(&mut story), 1);
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(3, 15, 1).told(3, 20, reserve(), Reply::DeadlineSoon);
        assert_eq!(broken(&mut story), 0);
        story.told(2, 30, reserve(), Reply::DeadlineSoon);
        assert_eq!(broken(&mut story), 1, "another holds it");
    }

    #[test]
    fn a_job_of_an_unanswered_put_is_fine() {
        let mut story = Story::new();
        story.put_unanswered(1, 10, 1).told(2, 20, reserve(), reserved_as(4, 1));
        story.told(2, 30, Command::Touch { id: 4 }, Reply::InternalError);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (2, 0));
    }
}
