//! How members are, as it is written into a history.

use beanpole_chaos::clock::Clock;

use super::scene::expect_service;
use crate::support::{ClusterOptions, PATIENCE, alone, cluster_options};

const MEMBER_LIMIT_BYTES: u64 = 256 << 20;

#[test]
fn members_that_have_come_as_far_have_the_same_digest() {
    let _alone = alone();
    let memory_limit = Some(MEMBER_LIMIT_BYTES);
    let options = ClusterOptions { memory_limit, ..cluster_options() };
    let mut cluster =
        crate::support::Cluster::start_with(options).expect("nothing special is asked for");
    expect_service(&mut cluster);
    let clock = Clock::start();
    let mut samples = Vec::new();
    cluster.wait_for("all to have come as far", PATIENCE, |cluster| {
        samples = (0..3).map(|member| cluster.sample(member, clock.now())).collect();
        samples.iter().all(|sample| sample.applied_index == samples[0].applied_index)
    });
    for (place, sample) in samples.iter().enumerate() {
        assert_eq!(sample.member as usize, place);
        assert!(sample.is_running && sample.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(sample.id, Some(place as u64 + 1));
        assert!(sample.leader.is_some() && sample.term > Some(0));
        assert!(sample.applied_index > Some(0));
        assert_eq!(sample.digest.as_ref().map(String::len), Some(16));
        assert_eq!(sample.digest, samples[0].digest);
        let has_group = cluster.memory_group(place).is_ok();
        assert_eq!(
            (sample.oom_kills.is_some(), sample.group_bytes_max.is_some()),
            (has_group, has_group)
        );
    }
    cluster.kill(1);
    let sample = cluster.sample(1, clock.now());
    assert!(!sample.is_running && sample.id.is_none() && sample.digest.is_none());
    let kept = tempfile::tempdir().expect("a temporary directory can be made");
    cluster.save(kept.path()).expect("there is room");
    for file in ["1/log", "2/config.toml", "3/data/wal/hard"] {
        assert!(kept.path().join(file).is_file(), "{file}");
    }
}
