//! Puts that come again under their keys.

use std::time::Duration;

use super::play;
use super::script::Player;
use crate::queue::*;

#[test]
fn the_second_put_with_a_key_is_the_first_job_also_when_that_is_gone() {
    play(
        "1 put-once k 0 0 60 a = 1 INSERTED 1
         2 put-once k 9 5 60 a = 2 INSERTED 1
         1 put 0 0 60 a = 1 INSERTED 2
         1 delete 1 = 1 DELETED
         1 put-once k 0 0 60 a = 1 INSERTED 1
         1 reserve = 1 RESERVED 2 a
         1 put-once other 0 0 60 a = 1 INSERTED 3
         ? stats total-jobs cmd-put = 3 5",
    );
}

#[test]
fn a_key_is_refused_with_another_body_or_in_another_tube() {
    play(
        "1 put-once k 0 0 60 a = 1 INSERTED 1
         1 put-once k 0 0 60 b = 1 KEY_IN_USE
         1 use t = 1 USING t
         1 put-once k 0 0 60 a = 1 KEY_IN_USE
         1 use default = 1 USING default
         1 put-once k 0 0 60 a = 1 INSERTED 1
         ? stats total-jobs = 1",
    );
}

#[test]
fn the_name_of_the_tube_counts_and_not_which_tube_it_was() {
    play(
        "1 use t = 1 USING t
         1 put-once k 0 0 60 a = 1 INSERTED 1
         1 delete 1 = 1 DELETED
         1 use default = 1 USING default
         ? list-tubes = default
         1 use t = 1 USING t
         1 put-once k 0 0 60 a = 1 INSERTED 1",
    );
}

#[test]
fn a_key_is_forgotten_when_its_window_is_over_and_not_before() {
    let window = KEY_WINDOW.as_millis();
    play(&format!(
        "1 put-once k 0 0 60 a = 1 INSERTED 1
         +{}
         1 put-once k 0 0 60 a = 1 INSERTED 1
         1 put-once l 0 0 60 a = 1 INSERTED 2
         +1
         1 put-once k 0 0 60 b = 1 INSERTED 3
         1 put-once l 0 0 60 a = 1 INSERTED 2",
        window - 1
    ));
}

#[test]
fn the_oldest_key_makes_room_for_the_next_one() {
    let mut player = play("");
    for key in 0..=KEYS_MAX {
        let action = format!("put-once {key} 0 0 60 a");
        player.ask(1, super::script::action(&action));
    }
    assert_eq!(player.queue.keys.len(), KEYS_MAX);
    let jobs = KEYS_MAX + 1;
    player.play(&format!(
        "1 put-once 1 0 0 60 a = 1 INSERTED 2
                          1 put-once 0 0 0 60 a = 1 INSERTED {}",
        jobs + 1
    ));
}

#[test]
fn many_that_are_too_old_are_forgotten_little_by_little() {
    let mut player = play("");
    for key in 0..10 {
        player.ask(1, super::script::action(&format!("put-once {key} 0 0 60 a")));
    }
    player.now = player.now.after(KEY_WINDOW).after(Duration::from_secs(1));
    for (key, left) in [(20, 9), (21, 8), (22, 7)] {
        player.ask(1, super::script::action(&format!("put-once {key} 0 0 60 a")));
        assert_eq!(player.queue.keys.len(), left);
        player.queue.check_invariants();
    }
}

#[test]
fn a_put_with_a_key_that_waits_for_nobody_is_handed_over_once() {
    play(
        "1 reserve = 1 waits
         2 put-once k 0 0 60 a = 2 INSERTED 1, 1 RESERVED 1 a
         3 reserve = 3 waits
         2 put-once k 0 0 60 a = 2 INSERTED 1",
    );
}

/// Goes on from a checkpoint, as a member does that starts anew or was given a snapshot.
fn restore(player: &mut Player) {
    let restored = Queue::restore(player.queue.records(), Box::new(ColdInMemory::default()));
    player.queue = restored.expect("the state is sound");
    player.queue.check_invariants();
}

#[test]
fn a_window_ends_when_it_would_have_though_the_state_was_restored_meanwhile() {
    let window = KEY_WINDOW.as_millis();
    let mut player = play(
        "1 put-once k 0 0 60 a = 1 INSERTED 1
         1 delete 1 = 1 DELETED",
    );
    restore(&mut player);
    player.play(&format!(
        "1 put-once k 0 0 60 b = 1 KEY_IN_USE
         1 put-once k 0 0 60 a = 1 INSERTED 1
         +{}
         1 put-once k 0 0 60 a = 1 INSERTED 1",
        window - 1
    ));
    restore(&mut player);
    player.play(
        "1 put-once k 0 0 60 b = 1 KEY_IN_USE
         +1
         1 put-once k 0 0 60 b = 1 INSERTED 2
         1 put-once k 0 0 60 a = 1 KEY_IN_USE",
    );
}

#[test]
fn the_order_in_which_keys_make_room_is_part_of_the_state() {
    let mut player = play("");
    // The first is the greatest, so that their order is not that of their names.
    player.ask(1, super::script::action("put-once z 0 0 60 a"));
    for key in 1..KEYS_MAX {
        player.ask(1, super::script::action(&format!("put-once {key} 0 0 60 a")));
    }
    restore(&mut player);
    assert_eq!(player.queue.keys.len(), KEYS_MAX);
    player.play(&format!(
        "1 put-once z 0 0 60 a = 1 INSERTED 1
         1 put-once new 0 0 60 a = 1 INSERTED {}
         1 put-once 1 0 0 60 a = 1 INSERTED 2
         1 put-once z 0 0 60 b = 1 INSERTED {}
         1 put-once 1 0 0 60 b = 1 INSERTED {}",
        KEYS_MAX + 1,
        KEYS_MAX + 2,
        KEYS_MAX + 3,
    ));
}
