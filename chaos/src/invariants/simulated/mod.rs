//! All checks against a server that is known: simulated clients, some of whose commands are lost or
//! come late, and one queue that is right, or wrong in one way.
//!
//! The right one must break nothing, with any seed; each wrong one must be caught by the check that
//! is there for it.

mod clients;
mod server;

use super::judge;
use clients::Run;
use server::Fault;

/// How many seeds are tried: `BEANPOLE_SEEDS`, or a few.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let count = std::env::var("BEANPOLE_SEEDS").ok().and_then(|text| text.parse().ok());
    0..count.unwrap_or(default)
}

#[test]
fn a_server_that_is_right_breaks_nothing() {
    for seed in seeds(3) {
        let history = Run::new(seed, Fault::None).history();
        for (invariant, finding) in judge(&history) {
            let first = finding.violations.first().map(|violation| {
                let records = violation.records.iter().map(|&place| &history.records[place]);
                (violation.what.clone(), records.collect::<Vec<_>>())
            });
            assert_eq!(first, None, "seed {seed}, {}", invariant.name);
            let cases_min = match invariant.name {
                // These need members or an agent, and of Q14 most does.
                "Q10" | "Q13" | "Q16" => 0,
                "Q14" => 1,
                _ => 20,
            };
            assert!(finding.cases >= cases_min, "seed {seed}, {}", invariant.name);
        }
    }
}

#[test]
fn a_server_that_is_wrong_is_caught_by_the_check_that_is_there_for_it() {
    let wrong = [
        (Fault::LosesPuts, "Q1"),
        (Fault::ForgetsDeletes, "Q2"),
        (Fault::HalvesTimeToRun, "Q3"),
        (Fault::ForgetsTimeToRun, "Q14"),
        (Fault::ForgetsHolds, "Q3"),
        (Fault::FreesBuried, "Q4"),
        (Fault::YoungestFirst, "Q6"),
        (Fault::IgnoresPriority, "Q6"),
        (Fault::HalvesDelays, "Q7"),
        (Fault::GivesIdsTwice, "Q8"),
        (Fault::PutsTwice, "Q8"),
        (Fault::CountsDrift, "Q9"),
        (Fault::ForgetsKeys, "Q5"),
        (Fault::TakesAnyBody, "Q5"),
        (Fault::IgnoresTouch, "Q11"),
        (Fault::BuriesNothing, "Q11"),
        (Fault::AnswersFromMemory, "Q12"),
        (Fault::ChangesBodies, "Q15"),
    ];
    for (fault, name) in wrong {
        let is_caught = |seed| {
            let findings = judge(&Run::new(seed, fault).history());
            findings.iter().any(|(known, found)| known.name == name && found.broken > 0)
        };
        assert!(seeds(3).any(is_caught), "{fault:?} is not caught by {name}");
    }
}
