//! Jobs back from the store for cold ones, when that cannot write them down.

use std::collections::BTreeSet;

use super::job::Body;
use super::{JobId, Queue};

impl Queue {
    /// Makes cold jobs hot. Those that are not there any more, or hot already, are left out.
    pub fn recall(&mut self, ids: impl IntoIterator<Item = JobId>) {
        for id in ids {
            if self.jobs.contains(&id) || self.cold.find(id).is_some() {
                self.warm(id);
            }
        }
    }

    /// Brings the bodies of hot jobs that are in these files into memory, and lets go of them there.
    pub fn recall_bodies(&mut self, files: &BTreeSet<u128>) {
        let is_there = |body: &Body| matches!(body, Body::Cold(at) if files.contains(&at.file));
        let chosen: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| is_there(job.body())).map(|(id, _)| *id).collect();
        for id in chosen {
            let Body::Cold(at) = *self.job(id).body() else { continue };
            let body = self.cold.body(at);
            let job = self.jobs.change(&id).expect("it was just looked at");
            self.job_counts.remove_bytes(job);
            job.replace_body(Body::Here(body));
            self.job_counts.add_bytes(job);
            self.cold.let_go(at);
        }
    }
}
