//! The list of planted bugs: each with its name, what it breaks, and the invariants (Q1..Q16, see
//! docs/TESTING.md) that are expected to notice.

/// Makes the enum and its table of one list.
macro_rules! bugs {
    ($($bug:ident, $name:literal, $caught_by:literal, $breaks:literal;)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $breaks] $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: [Self; [$(Self::$bug),*].len()] = [$(Self::$bug),*];

            /// The name by which it is chosen.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)* }
            }

            /// What it breaks, one line.
            pub const fn breaks(self) -> &'static str {
                match self { $(Self::$bug => $breaks,)* }
            }

            /// The invariants that are expected to notice, the surest first.
            pub const fn caught_by(self) -> &'static str {
                match self { $(Self::$bug => $caught_by,)* }
            }
        }
    };
}

bugs! {
    // The log.
    AckBeforeSync, "ack-before-sync", "Q1",
        "the log acknowledges what it has written, and syncs a second later";
    AckBeforeWrite, "ack-before-write", "Q1",
        "the log acknowledges what it has in memory, and writes 50 ms later";
    DiskErrorIgnored, "disk-error-ignored", "Q1",
        "a write or sync of the log that fails counts as done";
    FullDiskIgnored, "full-disk-ignored", "Q1, Q14",
        "what finds no room in the log is dropped and acknowledged";
    DamageTruncated, "damage-truncated", "Q1, Q13",
        "a start cuts the log off at the first damaged record, synced or not";
    DeleteNotLogged, "delete-not-logged", "Q2, Q13",
        "deletes are not in the log on the disk";

    // Checkpoints and run files.
    PurgeTooEarly, "purge-too-early", "Q1, Q14",
        "the log is purged two seconds before the checkpoint is made that covers it";
    CheckpointLacksHeld, "checkpoint-lacks-held", "Q1, Q13",
        "checkpoints are made without the reserved jobs";
    CheckpointCrcIgnored, "checkpoint-crc-ignored", "Q15, Q13",
        "checksums of checkpoints are not held against what is read";
    TakenForgotten, "taken-forgotten", "Q2, Q14",
        "checkpoints forget which jobs of run files are gone";
    RunCrcIgnored, "run-crc-ignored", "Q15",
        "checksums of bodies in run files are not held against what is read";
    ColdBodyCut, "cold-body-cut", "Q15",
        "bodies that come back from run files lack their last byte";

    // Jobs.
    TtrHalved, "ttr-halved", "Q3",
        "a reservation ends after half of its time to run";
    TouchIgnored, "touch-ignored", "Q3",
        "touch is answered and does nothing";
    ExpiryForgotten, "expiry-forgotten", "Q1, Q14",
        "a reservation whose time is over goes on for a day";
    DelayHalved, "delay-halved", "Q7",
        "a delay ends after half of its time";
    PriorityReversed, "priority-reversed", "Q6",
        "reserve hands out the last ready job of a tube in place of the first";
    TwoHolders, "two-holders", "Q3",
        "a put hands its job to two who wait";
    BuryReleases, "bury-releases", "Q4, Q11",
        "a buried job is ready at once";
    KeysForgotten, "keys-forgotten", "Q5, Q8",
        "a put with a key that comes again makes another job";
    LeaseForgotten, "lease-forgotten", "Q16",
        "a session that can move ends as soon as no connection carries it";
    IdsReused, "ids-reused", "Q8",
        "when a member begins a life, ids go back by 64 and are those of jobs that are gone";
    RefusedButDone, "refused-but-done", "Q15, Q9",
        "every 64th put is answered OUT_OF_MEMORY, and done";
    StatsDrift, "stats-drift", "Q9",
        "a job that was reserved counts as reserved for ever in its tube";

    // Time.
    WallClock, "wall-clock", "Q7, Q3",
        "the time of delays and reservations is that of the wall clock";
    ClockAhead, "clock-ahead", "Q7, Q3",
        "the clock of a new leader begins ten seconds ahead";

    // Members.
    HoldsForgotten, "holds-forgotten", "Q3, Q4",
        "a change of leader ends all reservations";
    ResendApplied, "resend-applied", "Q4, Q9",
        "puts that a member sends again after a change of leader are done again";
    StaleReads, "stale-reads", "Q12",
        "reads are answered without a word from the leader";
    LeaseIgnored, "lease-ignored", "Q12",
        "a leader that is cut off takes itself for the leader, and answers reads";
    Diverges, "diverges", "Q13",
        "what a bury does depends on the number of the process";
    NoElections, "no-elections", "Q14",
        "nobody asks for an election";
    CloseForgotten, "close-forgotten", "Q14, Q9",
        "the end of a connection is not put into the log: what it held comes back by time to run";
    SilentServed, "silent-served", "Q14",
        "who waits at a member that is frozen gets jobs all the same";

    // Memory.
    MemoryUnbounded, "memory-unbounded", "Q10",
        "the budget for memory counts 64-fold";
}
