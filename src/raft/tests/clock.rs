//! Time while a member was away: by boot time within a boot, by wall time after a reboot, and
//! never early within a boot, whatever the wall clock does.

use super::*;

const BOOT: u128 = 0xB007;
const DELAY: u32 = 100;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A job with a delay of [`DELAY`] is put; 40 s later something else happens; then the power goes.
async fn disk_with_delayed_job(clock: &Arc<TestClock>) -> (SimDisk, JobId) {
    let disk = SimDisk::new();
    let member = Member::start_on(&disk, clock.clone(), NO_CHECKPOINTS).await;
    let job = inserted(&member.act(put(DELAY, b"later".to_vec())).await);
    clock.pass(seconds(40));
    inserted(&member.act(put(0, b"now".to_vec())).await);
    assert_eq!(member.job(job).await.time_left, 60);
    member.stop().await;
    (disk, job)
}

/// What is left of the delay after a restart with `clock`, and 10 s after that.
async fn time_left_on(disk: &SimDisk, clock: Arc<TestClock>, job: JobId) -> u64 {
    let member = Member::start_on(&disk.kill(), clock.clone(), NO_CHECKPOINTS).await;
    let before = member.job(job).await;
    clock.pass(seconds(10));
    let after = member.job(job).await;
    member.stop().await;
    assert_eq!(before.time_left.saturating_sub(10), after.time_left, "time goes on from there");
    before.time_left
}

#[tokio::test]
async fn within_a_boot_delays_go_on_by_boot_time_whatever_the_wall_clock_does() {
    let clock = TestClock::standing(seconds(500), seconds(1_000_000), BOOT);
    let (disk, job) = disk_with_delayed_job(&clock).await;
    for wall in [Duration::ZERO, seconds(1_000_040), seconds(1_000_070), YEAR * 60] {
        let away_30 = TestClock::standing(seconds(570), wall, BOOT);
        assert_eq!(time_left_on(&disk, away_30, job).await, 30, "wall {wall:?}");
    }
}

#[tokio::test]
async fn after_a_reboot_delays_go_on_by_wall_time() {
    let clock = TestClock::standing(seconds(500), seconds(1_000_000), BOOT);
    let (disk, job) = disk_with_delayed_job(&clock).await;
    for boot in [0, 5, 570, 100_000] {
        let away_30 = TestClock::standing(seconds(boot), seconds(1_000_070), BOOT + 1);
        assert_eq!(time_left_on(&disk, away_30, job).await, 30, "boot {boot}");
    }
    let wall_back = TestClock::standing(seconds(5), seconds(10), BOOT + 1);
    assert_eq!(time_left_on(&disk, wall_back, job).await, 60);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_while_a_member_runs_ends_no_delay() {
    let clock = TestClock::standing(seconds(500), seconds(1_000_000), BOOT);
    let disk = SimDisk::new();
    let member = Member::start_on(&disk, clock.clone(), NO_CHECKPOINTS).await;
    let job = inserted(&member.act(put(DELAY, b"later".to_vec())).await);
    for wall in [YEAR * 60, Duration::ZERO, seconds(1_000_000)] {
        clock.set_wall(wall);
        clock.pass(seconds(10));
        inserted(&member.act(put(0, b"now".to_vec())).await);
    }
    assert_eq!(member.job(job).await.time_left, 70);
    member.stop().await;
    let same_boot = TestClock::standing(seconds(530), YEAR * 50, BOOT);
    assert_eq!(time_left_on(&disk, same_boot, job).await, 70);
    let rebooted = TestClock::standing(seconds(1), seconds(1_000_010 + 20), BOOT + 1);
    assert_eq!(time_left_on(&disk, rebooted, job).await, 50, "by the wall clock as it was last");
}

#[tokio::test]
async fn a_delay_that_ran_out_while_a_member_was_away_has_ended() {
    let clock = TestClock::standing(seconds(500), seconds(1_000_000), BOOT);
    let (disk, job) = disk_with_delayed_job(&clock).await;
    let away_61 = TestClock::standing(seconds(601), Duration::ZERO, BOOT);
    let member = Member::start_on(&disk, away_61, NO_CHECKPOINTS).await;
    assert_eq!(member.job(job).await.state.as_str(), "ready");
    member.stop().await;
}
