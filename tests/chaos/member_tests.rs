//! Members that lead, come and go.

use beanpole_chaos::faults::{Kind, Target};

use super::scene::{only, suffer, suffer_plainly};
use crate::support::{ClusterOptions, alone, cluster_options};

#[test]
fn leadership_is_handed_to_another() {
    let _alone = alone();
    suffer_plainly(Kind::Transfer, Target::Leader, |cluster, installed| {
        assert!(installed.members.is_empty());
        let leader = cluster.leader();
        assert!(installed.note.ends_with(&format!("to {leader}")), "{}", installed.note);
    });
}

#[test]
fn a_member_that_lost_all_is_replaced_where_it_was() {
    let _alone = alone();
    suffer_plainly(Kind::Replace, Target::Leader, |cluster, installed| {
        assert!(!cluster.is_running(only(installed)));
    });
}

#[test]
fn one_member_grows_to_three_over_cables() {
    let _alone = alone();
    for has_cables in [false, true] {
        let options = ClusterOptions { members: 1, has_cables, ..cluster_options() };
        suffer(Kind::Grow, Target::One(0), options, |cluster, _| {
            assert_eq!(cluster.member_count(), 3);
        });
    }
}
