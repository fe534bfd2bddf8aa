//! Q2: a deleted job does not come back.
//!
//! From the reply `DELETED` on, no command that is sent may show the job or do anything with it: not
//! RESERVED, not FOUND, no figures, and not DELETED a second time.
//!
//! Not claimed: anything about deletes that were not answered, and about commands that were already
//! waiting when the delete was answered (Q11 looks at those).

use super::Finding;
use super::fate;
use super::index::Index;
use crate::history::{Command, History};

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    for (id, job) in &index.jobs {
        let records = || job.records.iter().map(|&place| (place, index.record(place)));
        let deleted = records().filter(|(_, record)| {
            matches!(record.command, Command::Delete { .. }) && fate::has_effect(record)
        });
        let Some((delete, deleted)) = deleted.min_by_key(|(_, record)| record.returned) else {
            continue;
        };
        finding.cases += 1;
        let back = records()
            .find(|(_, record)| fate::shows_job(record) && record.invoked > deleted.returned);
        if let Some((place, _)) = back {
            let what = format!("job {id} was deleted by {} and is there again", deleted.returned);
            finding.break_with(what, vec![delete, place]);
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, found};
    use super::check;
    use crate::history::{Command, Reply};

    #[test]
    fn a_deleted_job_that_is_seen_again_is_noticed() {
        let again = [
            (Command::Peek { id: 1 }, found(1)),
            (Command::PeekReady { tube: "t".into() }, found(1)),
            (Command::Delete { id: 1 }, Reply::Deleted),
            (Command::StatsJob { id: 1 }, Reply::Stats { values: Default::default() }),
            (Command::KickJob { id: 1 }, Reply::Kicked { count: None }),
        ];
        for (command, reply) in again {
            let mut story = Story::new();
            story.put(1, 10, 1).reserve(2, 20, 1).delete(2, 30, 1);
            story.told(3, 40, command.clone(), reply);
            let finding = check(&story.history());
            assert_eq!((finding.cases, finding.broken), (1, 1), "{command:?}");
            assert_eq!(finding.violations[0].records, [2, 3]);
        }
    }

    #[test]
    fn a_delete_without_an_answer_and_a_command_beside_it_prove_nothing() {
        let mut story = Story::new();
        story.put(1, 10, 1).unanswered(2, 20, Command::Delete { id: 1 }).reserve(3, 60, 1);
        story.put(1, 70, 2).delete(4, 80, 2);
        story.op(5, (80, 90), Command::Peek { id: 2 }, found(2));
        story.told(5, 95, Command::Peek { id: 2 }, Reply::NotFound);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 0));
    }
}
