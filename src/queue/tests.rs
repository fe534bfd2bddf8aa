//! Facts about the queue, as transcripts, and random runs.
//!
//! A transcript is played on one member at a time, at first on member 1. Its lines are
//!
//! - `3 put 10 0 60 body = 3 INSERTED 1, 4 RESERVED 1 body`: connection 3 asks, and what comes of
//!   it, all outcomes in order;
//! - `+2500 = 4 TIMED_OUT`: so many milliseconds go by;
//! - `! open = ...`: the member begins a new life, `! open 2000` leaves the earlier ones a grace in
//!   milliseconds;
//! - `! end`, `! silent`, `! heard` and `! remove`: what the log says of the member;
//! - `! limit held 2`: a limit of what is not a job (`tubes`, `watches`, `held`, `sessions`);
//! - `! member 2`: what follows is asked by another member;
//! - `3#7/5 delete 1 = ...`: connection 3 asks as number 7 of its leased session, whose client knows the
//!   outcomes up to 5;
//! - `? stats-job 1 state pri = ready 10`: a read of the named statistics.
//!
//! After each line the invariants are checked. Words that beanstalkd does not have are explained at
//! [`script::action`].

mod bulk;
mod chain;
mod checkpoints;
mod cold;
mod commands;
mod keys;
mod leased;
mod ledger;
mod limits;
mod members;
mod random;
mod script;
mod sessions;
mod silence;
mod tables;
mod timers;
mod tubes;

use script::Player;

/// Plays a transcript on a new queue.
fn play(transcript: &str) -> Player {
    let mut player = Player::new();
    player.play(transcript);
    player
}
