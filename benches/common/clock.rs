//! The benches' only reader of time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, to the nanosecond.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures time; the server's clock is not here"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Processor time that this process has used, user and system, all threads.
pub(crate) fn own_cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).expect("processor time is never negative");
    let nanoseconds = u32::try_from(used.tv_nsec).expect("nanoseconds are below one billion");
    Duration::new(seconds, nanoseconds)
}

/// Date and time of day, UTC, as `2031-05-27 09:30`.
#[expect(clippy::disallowed_methods, reason = "a report carries its date")]
pub(crate) fn today() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let minutes = since_epoch.as_secs() / 60;
    let (year, month, day) = civil(minutes / (24 * 60));
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// Year, month and day of a count of days since 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let february = days_of_year(year) - 337;
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

fn days_of_year(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}
