//! What members are asked, and what is waited for by asking them.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::admin::{self, MemberView, Status};
use super::{Cluster, LAG_ENTRIES_MAX, POLL_INTERVAL, TOGETHER_WITHIN};
use crate::clock::now;
use crate::testbed::PATIENCE;

impl Cluster {
    /// How a member sees the cluster.
    ///
    /// # Errors
    ///
    /// When it does not say so soon.
    pub fn status(&self, member: usize) -> Result<Status, String> {
        admin::status(&self.members[member].data())
    }

    /// Asks a member for something, in words of the administration socket.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub fn change(&self, member: usize, request: &Value) -> Result<(), String> {
        admin::change(&self.members[member].data(), request)
    }

    /// Begins a cluster of one.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub fn init(&self, member: usize) -> Result<(), String> {
        self.change(member, &json!({"do": "init"}))
    }

    /// Takes a process that waits into the cluster of `via`.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub fn add(&self, via: usize, newcomer: usize) -> Result<(), String> {
        let address = self.members[newcomer].member_address().to_string();
        self.change(via, &json!({"do": "add", "address": address}))
    }

    /// Puts a process that waits in the place of the member with the id `gone`.
    ///
    /// # Errors
    ///
    /// The reason of a refusal.
    pub fn replace(&self, via: usize, gone: u64, newcomer: usize) -> Result<(), String> {
        let address = self.members[newcomer].member_address().to_string();
        self.change(via, &json!({"do": "replace", "member": gone, "address": address}))
    }

    /// The id of a member.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub fn id(&self, member: usize) -> u64 {
        let status = self.status(member);
        status.unwrap_or_else(|why| panic!("member {member}: {why}\n{}", self.logs())).this_member
    }

    /// Whether `member` can be stopped, as it says itself.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn can_stop(&self, member: usize) -> Result<bool, String> {
        let data = self.members[member].data();
        let reply = admin::exchange(&data, r#"{"do":"check"}"#, PATIENCE)?;
        reply["can_stop"].as_bool().ok_or_else(|| reply.to_string())
    }

    /// The place of the leader, as soon as a majority of the processes that run agrees.
    ///
    /// # Panics
    ///
    /// When there is none for long.
    pub fn leader(&mut self) -> usize {
        let mut found = None;
        self.wait_for("a leader", TOGETHER_WITHIN, |cluster| {
            found = cluster.leader_now();
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// A place that does not lead, and is not `other` either.
    pub fn follower_beside(&mut self, other: usize) -> usize {
        let leader = self.leader();
        let mut places = (0..self.members.len()).rev();
        places
            .find(|&place| place != leader && place != other && self.members[place].is_running())
            .expect("a cluster has more than two members that run")
    }

    /// The leader that the member with the greatest term names, if that one agrees.
    pub fn leader_now(&mut self) -> Option<usize> {
        let views: Vec<(usize, Status)> = self.views();
        let newest = views.iter().map(|(_, view)| view.term).max()?;
        let leader = views.iter().find(|(_, view)| {
            view.term == newest && view.leader == Some(view.this_member) && view.this_member > 0
        });
        leader.map(|&(place, _)| place)
    }

    /// Waits until all members are voters, heard by the leader, in step with it and serving.
    ///
    /// # Panics
    ///
    /// When that does not come about.
    pub fn wait_in_step(&mut self) {
        let all = self.members.len();
        self.wait_for("all members in step", TOGETHER_WITHIN, |cluster| cluster.in_step(all));
    }

    /// Waits until so many members are in step and serve.
    pub fn wait_in_step_of(&mut self, count: usize) {
        self.wait_for("members in step", TOGETHER_WITHIN, |cluster| cluster.in_step(count));
    }

    /// Whether so many members are voters, heard by the leader, in step with it and serving.
    pub fn in_step(&mut self, count: usize) -> bool {
        let Some(leader) = self.leader_now() else { return false };
        let Ok(view) = self.status(leader) else { return false };
        let is_in_step = |member: &&MemberView| {
            member.role != "learner"
                && ["here", "heard"].contains(&member.contact.as_str())
                && member.lag_entries.unwrap_or_default() <= LAG_ENTRIES_MAX
        };
        let serving = self.views().into_iter().filter(|(place, view)| {
            let is_listening = self.members[*place].is_listening();
            view.phase == "serving" && view.leader.is_some() && is_listening
        });
        view.members.iter().filter(is_in_step).count() >= count && serving.count() >= count
    }

    /// Whether a member says that it serves, and does.
    pub fn serves(&mut self, member: usize) -> bool {
        self.is_running(member)
            && self.status(member).is_ok_and(|view| view.phase == "serving")
            && self.members[member].is_listening()
    }

    /// Waits until a member says that it serves, and does.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn wait_serving(&mut self, member: usize) {
        let what = format!("member {member} to serve");
        self.wait_for(&what, TOGETHER_WITHIN, |cluster| cluster.serves(member));
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        condition: impl FnMut(&mut Self) -> bool,
    ) {
        self.wait_until(what, limit, condition).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let deadline = now() + limit;
        while !condition(self) {
            if now() >= deadline {
                return Err(format!("not within {limit:?}: {what}"));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Waits until a process that was started has its administration socket.
    pub(super) fn wait_until_it_answers(&mut self, member: usize) -> Result<(), String> {
        let data = self.members[member].data();
        self.wait_until("the administration socket of a new member", TOGETHER_WITHIN, |_| {
            admin::status(&data).is_ok()
        })
    }

    /// How all members that can answer see the cluster.
    fn views(&mut self) -> Vec<(usize, Status)> {
        let places = 0..self.members.len();
        places
            .filter_map(|place| {
                let member = &mut self.members[place];
                let can_answer = member.is_running() && !member.is_frozen;
                let view = can_answer.then(|| admin::status(&member.data()).ok())??;
                Some((place, view))
            })
            .collect()
    }
}
