//! What always holds, checked over the whole state.
//!
//! The facts must be such that a restore accepts them, and everything derived must be what a
//! restore derives from them. So there is one list of rules, the one in `restore`.

use std::fmt::Debug;

use super::Queue;
use super::cold::ColdInMemory;
use super::job::Job;

impl Queue {
    /// Checks the whole state. For tests and checks: it copies everything.
    ///
    /// # Panics
    ///
    /// When the state is broken, with what contradicts what.
    pub fn check_invariants(&self) {
        let mut derived = match Self::restore(self.records(), Box::new(ColdInMemory::default())) {
            Ok(derived) => derived,
            Err(error) => panic!("the state contradicts itself: {error}"),
        };
        // There all bodies are in memory.
        derived.cool_jobs(self.cold.all().into_iter().map(|(id, _)| id).collect());
        let sum = |bytes: fn(&Job) -> u64| self.jobs.iter().map(|(_, job)| bytes(job)).sum();
        derived.job_counts.hot_bytes = sum(Job::hot_bytes);
        derived.job_counts.loose_bytes = sum(Job::loose_bytes);
        derived.job_counts.spare_bytes = sum(Job::spare_bytes);
        for ((id, kept), (_, derived)) in self.members.iter().zip(derived.members.iter()) {
            assert_same(id, kept, derived);
        }
        for ((id, kept), (_, derived)) in self.sessions.iter().zip(derived.sessions.iter()) {
            assert_same(id, kept, derived);
        }
        for ((id, kept), (_, derived)) in self.tubes.iter().zip(derived.tubes.iter()) {
            assert_same(id, kept, derived);
        }
        assert_same(&"list of tubes", &self.tube_order, &derived.tube_order);
        assert_same(&"names of tubes", &self.tube_ids, &derived.tube_ids);
        assert_same(&"deadlines", &self.deadlines, &derived.deadlines);
        assert_same(&"counts of jobs", &self.job_counts, &derived.job_counts);
        assert_same(&"tubes with hot jobs", &self.hot_tubes, &derived.hot_tubes);
        assert_same(&"used of the limits", &self.limits_used(), &derived.limits_used());
        assert_same(&"counts of tables", &self.tables, &derived.tables);
        assert_same(&"order of keys", &self.key_order, &derived.key_order);
        assert_same(&"contended tubes", &self.contended, &derived.contended);
        assert_same(&"serving", &self.serving, &derived.serving);
    }
}

fn assert_same<T: PartialEq + Debug>(what: &impl Debug, kept: &T, derived: &T) {
    assert!(kept == derived, "{what:?}: is {kept:?}, but its facts say {derived:?}");
}
