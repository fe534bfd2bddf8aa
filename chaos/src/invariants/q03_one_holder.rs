//! Q3: a job has one holder until its time to run is over or its holder has gone, also when members
//! die in between.
//!
//! A hold lasts from its delivery at least to the earliest of: the time to run after the delivery or
//! the last answered `touch` was sent; the moment at which the holder sent release, bury or delete;
//! and the last moment at which its connection was surely there. Two deliveries of one job are wrong
//! if neither can lie behind the end of the other's hold. That goes for one connection too.
//!
//! Not claimed: that a hold ends at all, and anything past the last answer on a connection that
//! ended: its end may have come right after.

use super::Finding;
use super::index::Index;
use crate::clock::Moment;
use crate::history::History;

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    let mut again = 0_u64;
    for (id, job) in &index.jobs {
        // The hold that surely lasts longest of those before, so that each pair is looked at once.
        let mut longest: Option<(usize, Moment)> = None;
        for &place in &job.deliveries {
            finding.cases += 1;
            let ends = index.earliest_end(job, place);
            let returned = index.record(place).returned;
            if let Some((first, first_ends)) = longest {
                again += 1;
                let first_returned = index.record(first).returned;
                if returned < first_ends && first_returned < ends {
                    let what = format!(
                        "job {id} was handed out by {returned} and is held until {first_ends}"
                    );
                    finding.break_with(what, vec![first, place]);
                }
            }
            if longest.is_none_or(|(_, first_ends)| first_ends < ends) {
                longest = Some((place, ends));
            }
        }
    }
    finding.measure("handed out again", again);
    finding
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::check;
    use crate::history::{Command, FaultState, Reply};

    /// Job 1 with 10 s to run is held by client 2 from 20 ms on; its connection answers at 9 s.
    fn held() -> Story {
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1);
        story.told(2, 9_000, Command::Stats, Reply::Stats { values: Default::default() });
        story
    }

    #[test]
    fn two_holders_are_noticed() {
        let mut story = held();
        story.reserve(3, 8_000, 1);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (2, 1));
    }

    #[test]
    fn the_same_connection_does_not_get_what_it_holds() {
        let mut story = held();
        story.reserve(2, 8_000, 1);
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn a_touch_that_was_answered_makes_the_hold_longer() {
        let mut story = held();
        story.told(2, 9_500, Command::Touch { id: 1 }, Reply::Touched);
        story.told(2, 15_000, Command::Touch { id: 9 }, Reply::NotFound);
        story.reserve(3, 12_000, 1);
        assert_eq!(check(&story.history()).broken, 1);
        let mut story = held();
        story.told(2, 9_500, Command::Touch { id: 1 }, Reply::NotFound);
        story.told(2, 15_000, Command::Touch { id: 9 }, Reply::NotFound);
        story.reserve(3, 12_000, 1);
        assert_eq!(check(&story.history()).broken, 0);
    }

    #[test]
    fn a_hold_may_end_by_time_by_release_and_with_its_connection() {
        let mut story = held();
        story.reserve(3, 10_020, 1);
        assert_eq!(check(&story.history()).broken, 0);
        let mut story = held();
        story.unanswered(2, 9_100, Command::Release { id: 1, priority: 1, delay: 0 });
        story.reserve(3, 9_101, 1);
        assert_eq!(check(&story.history()).broken, 0);
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1).close(2, 5_000).reserve(3, 4_000, 1);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (2, 0), "a client may notice the end late");
    }

    #[test]
    fn the_death_of_a_member_ends_no_hold_of_who_speaks_to_an_agent() {
        let mut story = Story::new();
        story.head().has_agent = true;
        story.fault("kill", &[0], (4_000, 9_000), FaultState::Installed);
        story.at_member(3).put(1, 10, 1).reserve(2, 20, 1);
        story.at_member(3).reserve(3, 8_000, 1);
        assert_eq!(check(&story.history()).broken, 0, "it may have left");
        story.told(2, 9_000, Command::Stats, Reply::Stats { values: Default::default() });
        assert_eq!(check(&story.history()).broken, 1, "it was there");
    }

    #[test]
    fn a_reply_that_comes_late_does_not_turn_the_order_round() {
        // Client 2 asked first and was answered last: it may have had the job, and lost it by time.
        let mut story = Story::new();
        story.put(1, 10, 1);
        story.reserve_in(2, (20, 16_000), 1).reserve_in(3, (10_500, 10_600), 1);
        story.told(2, 17_000, Command::Stats, Reply::Stats { values: Default::default() });
        story.told(3, 18_000, Command::Stats, Reply::Stats { values: Default::default() });
        assert_eq!(check(&story.history()).broken, 0);
    }
}
