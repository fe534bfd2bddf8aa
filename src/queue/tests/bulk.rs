//! Work that is too long for one entry (DESIGN D9).

use bytes::Bytes;

use super::script::{Player, action};
use crate::queue::*;

const QUOTA: u64 = WORK_QUOTA_JOBS as u64;

/// More than fits into two entries.
const MANY: u64 = 2 * QUOTA + 452;

fn put_many(player: &mut Player, count: u64, delay: u32) {
    for _ in 0..count {
        player.ask(1, action(&format!("put 0 {delay} 9999 a")));
    }
}

/// Jobs 1 to `count`, held by connection 2.
fn reserve_many(player: &mut Player, count: u64) {
    put_many(player, count, 0);
    for _ in 0..count {
        player.ask(2, action("reserve"));
    }
}

/// Jobs 1 to `count`, buried in this order.
fn bury_many(player: &mut Player, count: u64) {
    reserve_many(player, count);
    for job in 1..=count {
        player.ask(2, action(&format!("bury {job} 0")));
    }
}

fn ready(player: &Player) -> u64 {
    player.queue.counters().current_jobs_ready
}

#[test]
fn long_kick_is_answered_when_it_is_done() {
    let mut player = Player::new();
    put_many(&mut player, MANY, 99);
    player.play("3 kick 4294967295 = 3 waits");
    assert_eq!((ready(&player), player.turn(3)), (QUOTA, Turn(1)));
    player.play(
        "3 stop-waiting
         ? pending = true
         3 use x = 3 KICKED 2500, 3 USING x
         ? pending = false",
    );
}

#[test]
fn long_kick_defers_what_is_behind_it() {
    let mut player = Player::new();
    put_many(&mut player, 4 * QUOTA, 99);
    player.play(
        "3 kick 2500 = 3 waits
         3 use x = 3 deferred
         ? stats cmd-use current-waiting = 0 0
         +0 = 3 KICKED 2500
         ? stats current-jobs-ready = 2500",
    );
}

#[test]
fn long_kick_takes_only_what_was_buried_when_it_began() {
    let mut player = Player::new();
    bury_many(&mut player, MANY);
    player.play(
        "3 kick 9999 = 3 waits
         2 reserve-job 1 = 2 RESERVED 1 a
         ? peek-buried 2 = FOUND 2049 a
         2 bury 1 0 = 3 KICKED 2500, 2 BURIED
         ? peek-buried 2 = FOUND 1 a
         ? stats current-jobs-buried = 1",
    );
}

#[test]
fn long_kick_leaves_what_is_buried_meanwhile_even_if_others_are_gone() {
    let mut player = Player::new();
    bury_many(&mut player, 5 * QUOTA);
    player.play(
        "3 kick 9999 = 3 waits
         2 delete 5120 = 2 DELETED
         2 reserve-job 1 = 2 RESERVED 1 a
         2 bury 1 0 = 2 BURIED
         +0 = 3 KICKED 5119
         ? stats current-jobs-buried = 1",
    );
}

#[test]
fn long_kick_of_delayed_jobs_takes_no_more_than_there_were_when_it_began() {
    let mut player = Player::new();
    put_many(&mut player, MANY, 99);
    player.play(
        "3 kick 9999 = 3 waits
         1 put 0 1 60 a = 1 INSERTED 2501
         +0 = 3 KICKED 2500
         ? stats-job 2501 state = ready
         ? stats current-jobs-delayed = 1",
    );
}

#[test]
fn kick_of_a_session_that_has_closed_goes_on_unanswered() {
    let mut player = Player::new();
    put_many(&mut player, MANY, 99);
    player.play(
        "3 kick 9999 = 3 waits
         3 close
         +0
         ? pending = false
         ? stats current-jobs-delayed current-connections = 0 1",
    );
}

#[test]
fn kicks_go_on_in_the_order_in_which_they_began() {
    let mut player = Player::new();
    put_many(&mut player, 2 * MANY, 99);
    player.play(
        "3 kick 2500 = 3 waits
         4 kick 2500 = 4 waits
         +0 = 3 KICKED 2500
         +0
         +0 = 4 KICKED 2500",
    );
}

#[test]
fn thousands_of_jobs_that_are_due_at_once_become_ready_in_slices() {
    let mut player = Player::new();
    put_many(&mut player, MANY, 5);
    player.play(
        "+5000
         ? stats current-jobs-ready = 1024
         ? pending = true
         1 put 0 0 60 a = 1 INSERTED 2501
         ? stats current-jobs-ready = 2049
         +0
         ? stats current-jobs-ready = 2501
         ? pending = false",
    );
}

#[test]
fn job_that_is_due_but_not_reached_stays_held() {
    let mut player = Player::new();
    reserve_many(&mut player, MANY);
    player.play(
        "+9999000
         ? stats current-jobs-ready = 1024
         2 touch 2500 = 2 TOUCHED
         +0
         ? stats-job 2500 state = reserved
         ? stats current-jobs-ready job-timeouts = 2499 2499",
    );
}

#[test]
fn timers_and_kicks_share_an_entry() {
    let mut player = Player::new();
    put_many(&mut player, 2 * MANY, 99);
    player.play("1 use x = 1 USING x");
    put_many(&mut player, MANY, 5);
    player.play(
        "2 kick 5000 = 2 waits
         +5000
         ? stats-tube default current-jobs-ready = 1536
         ? stats-tube x current-jobs-ready = 512",
    );
}

#[test]
fn pauses_that_end_and_kicks_share_an_entry() {
    let mut player = Player::new();
    player.play("1 pause-tube default 5 = 1 PAUSED");
    for connection in 10..10 + MANY {
        player.ask(connection, action("reserve"));
    }
    put_many(&mut player, MANY, 0);
    player.play("1 use x = 1 USING x");
    put_many(&mut player, MANY, 99);
    player.play("1 kick 9999 = 1 waits");
    player.now.0 += 5_000_000_000;
    assert_eq!(player.apply(vec![]).matches("RESERVED").count(), 512);
    player.play("? stats-tube x current-jobs-ready = 1536");
}

#[test]
fn end_of_a_session_that_holds_thousands_goes_on_in_further_entries() {
    let mut player = Player::new();
    reserve_many(&mut player, MANY);
    player.play(
        "2 close
         ? stats current-jobs-ready current-connections = 1024 1
         2 reserve
         ? pending = true
         +0
         ? stats current-jobs-ready current-jobs-reserved = 2500 0
         ? pending = false",
    );
}

#[test]
fn end_of_a_life_with_thousands_of_sessions_goes_on_in_further_entries() {
    let mut player = Player::new();
    reserve_many(&mut player, 10);
    for connection in 10..10 + MANY {
        player.ask(connection, action("reserve-with-timeout 7"));
    }
    player.play(
        "! open
         ? stats current-connections current-waiting = 0 0
         ? stats-tube default current-waiting = 0
         ? pending = true",
    );
    let mut entries = 0;
    while player.queue.work_pending() {
        player.play("+0");
        entries += 1;
    }
    // A session and the tube it watches count as two moves.
    assert_eq!(entries, 4);
    player.play("? stats current-jobs-ready current-jobs-reserved = 10 0");
}

#[test]
fn waits_of_an_ended_life_get_no_job_while_it_is_being_ended() {
    let mut player = Player::new();
    for connection in 10..10 + MANY {
        player.ask(connection, action("reserve"));
    }
    player.play(
        "! open
         ? pending = true
         1 reserve = 1 waits
         2 put 0 0 60 a = 2 INSERTED 1, 1 RESERVED 1 a
         2 put 0 0 60 a = 2 INSERTED 2
         ? stats current-jobs-ready = 1",
    );
}

#[test]
fn timers_of_an_ended_life_are_answered_to_nobody() {
    let mut player = Player::new();
    for connection in 10..10 + MANY {
        player.ask(connection, action("reserve-with-timeout 1"));
    }
    player.now.0 += 2_000_000_000;
    assert_eq!(player.open().matches("TIMED_OUT").count(), 1024);
    while player.queue.work_pending() {
        player.play("+0");
    }
    player.play("? deadline = none");
}

#[test]
fn nobody_overtakes_the_waiters_of_a_pause_that_ends() {
    let mut player = Player::new();
    player.play("1 pause-tube default 60 = 1 PAUSED");
    for connection in 10..10 + MANY {
        player.ask(connection, action("reserve"));
    }
    put_many(&mut player, MANY + 1, 0);
    let first = player.ask(1, action("pause-tube default 0"));
    assert_eq!(first.matches("RESERVED").count() as u64, QUOTA);
    let late = player.ask(5, action("reserve"));
    assert!(late.ends_with("5 waits"), "{late}");
    assert_eq!(late.matches("RESERVED").count() as u64, QUOTA);
    player.now.0 += 1;
    let last = player.apply(vec![]);
    assert_eq!(last.matches("RESERVED").count(), 453);
    assert!(last.ends_with("5 RESERVED 2501 a"), "{last}");
    player.play("? pending = false");
}

/// How many bodies each entry hands out when a kick finds twenty who wait for jobs of a mebibyte.
fn handed_out_by_entry(is_cold: bool) -> Vec<usize> {
    const JOBS: u64 = 20;
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let mut player = Player::new();
    let put = |body| Action::Put { priority: 0, delay: 99, ttr: 9999, body, key: None };
    (0..JOBS).for_each(|_| drop(player.ask(1, put(body.clone()))));
    (10..10 + JOBS).for_each(|connection| drop(player.ask(connection, action("reserve"))));
    while is_cold && player.queue.coolable_bytes() > 0 {
        player.queue.cool(u64::MAX, 0);
    }
    let count = |outcomes: String| outcomes.matches("RESERVED").count();
    let mut counts = vec![count(player.ask(1, action("kick 99")))];
    while player.queue.work_pending() {
        counts.push(count(player.apply(vec![])));
    }
    assert_eq!(counts.iter().sum::<usize>() as u64, JOBS);
    counts
}

#[test]
fn long_bodies_are_handed_out_a_few_in_an_entry_whether_hot_or_cold() {
    let hot = handed_out_by_entry(false);
    let most = (HANDED_OUT_BYTES_MAX >> 20) as usize + 1;
    assert!(hot.iter().all(|count| (1..=most).contains(count)), "{hot:?}");
    assert_eq!(handed_out_by_entry(true), hot);
}

#[test]
fn bodies_that_are_longer_than_an_entry_may_hand_out_leave_work_for_a_kick() {
    const JOBS: u64 = 8;
    let body = Bytes::from(vec![b'x'; 2 * HANDED_OUT_BYTES_MAX as usize]);
    let mut player = Player::new();
    player.play("1 pause-tube default 60 = 1 PAUSED");
    for connection in 10..10 + JOBS {
        player.ask(connection, action("reserve"));
        let body = body.clone();
        player.ask(1, Action::Put { priority: 0, delay: 0, ttr: 9999, body, key: None });
    }
    player.play("1 use x = 1 USING x");
    put_many(&mut player, MANY, 99);
    player.play("1 kick 9999 = 1 waits");
    player.now.0 += 60_000_000_000;
    let mut kicked = ready(&player) - JOBS;
    let (mut handed_out, mut entries) = (0, 0);
    while handed_out < JOBS {
        let count = player.apply(vec![]).matches("RESERVED").count() as u64;
        assert!((1..=2).contains(&count), "{count} in an entry");
        handed_out += count;
        entries += 1;
        let now_kicked = ready(&player) - (JOBS - handed_out);
        assert!(now_kicked > kicked || now_kicked == MANY, "{now_kicked} were kicked");
        kicked = now_kicked;
    }
    assert!(entries >= JOBS / 2, "in {entries} entries");
}
