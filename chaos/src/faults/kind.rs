//! All kinds of faults, by name.

use super::Target;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "`what` says of each what it is")]
pub enum Kind {
    Kill,
    Restart,
    Terminate,
    Freeze,
    CutOneWay,
    CutTwoWays,
    Isolate,
    CutPattern,
    Delay,
    Loss,
    Reset,
    PowerLoss,
    FailedSync,
    HungDisk,
    SlowDisk,
    FullDisk,
    FlipLog,
    FlipRun,
    FlipCheckpoint,
    OomKill,
    ClockJump,
    Transfer,
    Replace,
    Grow,
}

/// Whom a fault of one member is done to.
const ONE: &[Target] = &[Target::Leader, Target::Follower];
const ONE_OR_ALL: &[Target] = &[Target::Leader, Target::Follower, Target::All];
const ANY: &[Target] = &[Target::Leader, Target::Follower, Target::Two, Target::All];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Kill,
        Self::Restart,
        Self::Terminate,
        Self::Freeze,
        Self::CutOneWay,
        Self::CutTwoWays,
        Self::Isolate,
        Self::CutPattern,
        Self::Delay,
        Self::Loss,
        Self::Reset,
        Self::PowerLoss,
        Self::FailedSync,
        Self::HungDisk,
        Self::SlowDisk,
        Self::FullDisk,
        Self::FlipLog,
        Self::FlipRun,
        Self::FlipCheckpoint,
        Self::OomKill,
        Self::ClockJump,
        Self::Transfer,
        Self::Replace,
        Self::Grow,
    ];

    /// How it is called, where it is chosen and told of.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Terminate => "terminate",
            Self::Freeze => "freeze",
            Self::CutOneWay => "cut-one-way",
            Self::CutTwoWays => "cut-two-ways",
            Self::Isolate => "isolate",
            Self::CutPattern => "cut-pattern",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Reset => "reset",
            Self::PowerLoss => "power-loss",
            Self::FailedSync => "failed-sync",
            Self::HungDisk => "hung-disk",
            Self::SlowDisk => "slow-disk",
            Self::FullDisk => "full-disk",
            Self::FlipLog => "flip-log",
            Self::FlipRun => "flip-run",
            Self::FlipCheckpoint => "flip-checkpoint",
            Self::OomKill => "oom-kill",
            Self::ClockJump => "clock-jump",
            Self::Transfer => "transfer",
            Self::Replace => "replace",
            Self::Grow => "grow",
        }
    }

    /// What it is, in one line.
    pub fn what(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL, and later a start",
            Self::Restart => "SIGKILL, and a start at once",
            Self::Terminate => "SIGTERM and a start, one member after the other",
            Self::Freeze => "SIGSTOP, and later SIGCONT",
            Self::CutOneWay => {
                "nothing that others send reaches a member, or nothing that it sends"
            }
            Self::CutTwoWays => "two members do not hear each other",
            Self::Isolate => "a member and the others do not hear each other",
            Self::CutPattern => "any of the six ways between three members are cut",
            Self::Delay => "what members send to each other comes late and out of order",
            Self::Loss => "a part of what members send to each other is lost",
            Self::Reset => "all TCP connections of a member are reset, three times",
            Self::PowerLoss => "the file system goes down with all that was not synced, SIGKILL",
            Self::FailedSync => "syncs of the log fail with EIO, which ends the member",
            Self::HungDisk => "syncs of the log do not end",
            Self::SlowDisk => "syncs of the log take longer",
            Self::FullDisk => "the disk has no room left",
            Self::FlipLog => "one bit of a segment of the log changes",
            Self::FlipRun => "one bit of a file of cold jobs changes",
            Self::FlipCheckpoint => "one bit of a checkpoint changes",
            Self::OomKill => "the kernel kills a member for the limit of its memory group",
            Self::ClockJump => "the wall clock jumps by up to an hour, either way",
            Self::Transfer => "another member is asked to lead",
            Self::Replace => "a member loses all it has and is replaced under a new id",
            Self::Grow => "two members are added to one",
        }
    }

    /// Whom it may be done to.
    pub fn targets(self) -> &'static [Target] {
        match self {
            Self::Kill | Self::Restart | Self::Freeze | Self::PowerLoss => ANY,
            Self::Delay | Self::Loss | Self::Reset | Self::FullDisk | Self::ClockJump => ONE_OR_ALL,
            Self::Terminate => &[Target::All],
            Self::CutPattern => &[Target::SomeWays],
            Self::Transfer => &[Target::Leader],
            Self::Grow => &[Target::One(0)],
            // One member may lose what it has: two that do are the end of what was acknowledged.
            Self::FlipLog | Self::FlipRun | Self::FlipCheckpoint | Self::Replace => ONE,
            Self::CutOneWay | Self::CutTwoWays | Self::Isolate => ONE,
            Self::FailedSync | Self::HungDisk | Self::SlowDisk | Self::OomKill => ONE,
        }
    }

    /// Both, in the order in which they can be on together; `None` when they cannot.
    pub fn beside(self, other: Self) -> Option<[Self; 2]> {
        let both = |is_such: fn(Self) -> bool| is_such(self) && is_such(other);
        // Two members that lose what they have are the end of what was acknowledged; and all ways
        // of a cluster that are slow or lossy are alike.
        if self == other || both(Self::loses_what_was_kept) || both(Self::is_of_slow_ways) {
            return None;
        }
        let is_in_order = self.needs_working_members() || !other.needs_working_members();
        Some(if is_in_order { [self, other] } else { [other, self] })
    }

    /// Whether a member may lose what it has acknowledged.
    fn loses_what_was_kept(self) -> bool {
        matches!(self, Self::FlipLog | Self::FlipRun | Self::FlipCheckpoint | Self::Replace)
    }

    fn is_of_slow_ways(self) -> bool {
        matches!(self, Self::Delay | Self::Loss)
    }

    /// Whether members take part in it, so that it must come before what keeps them from that.
    fn needs_working_members(self) -> bool {
        let takes_part =
            matches!(self, Self::Terminate | Self::Transfer | Self::Grow | Self::FailedSync);
        takes_part || self.loses_what_was_kept()
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_has_somebody_to_be_done_to() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
            assert!(!kind.targets().is_empty() && !kind.what().is_empty());
            let is_kebab = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(kind.name().chars().all(is_kebab), "{kind}");
        }
        let all: BTreeSet<Kind> = Kind::ALL.into_iter().collect();
        assert_eq!(all.len(), Kind::ALL.len());
        assert_eq!(Kind::named("no such fault"), None);
    }

    #[test]
    fn two_that_lose_what_was_kept_are_never_on_together_and_what_needs_members_comes_first() {
        assert_eq!(Kind::FlipLog.beside(Kind::Replace), None);
        assert_eq!(Kind::Loss.beside(Kind::Delay), None);
        assert_eq!(Kind::Kill.beside(Kind::Kill), None);
        let in_order = Some([Kind::Transfer, Kind::Kill]);
        assert_eq!(Kind::Transfer.beside(Kind::Kill), in_order);
        assert_eq!(Kind::Kill.beside(Kind::Transfer), in_order);
        for kind in Kind::ALL {
            assert!(Kind::ALL.into_iter().any(|other| kind.beside(other).is_some()), "{kind}");
        }
    }
}
