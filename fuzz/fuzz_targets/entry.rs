//! Arbitrary bytes as a log entry: refused or read, and what was read is written and read again
//! without a change.

#![no_main]

use beanpole::raft::recode_entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The bytes themselves may be another spelling of the same entry.
    let Ok(written) = recode_entry(data) else { return };
    let again = recode_entry(&written).expect("what was written can be read");
    assert_eq!(again, written);
});
