//! Bugs planted on purpose, so that the checkers can show that each is caught.
//!
//! Only a build with the cargo feature `planted` can have one: there, the variable
//! [`VARIABLE`] names the one bug that the process has, from its start to its end. Without the
//! feature [`is`] is a constant `false`, and what stands behind it is not compiled in. Every bug is
//! one `if planted::is(Bug::X)`, or a few, at the place of the rule that it breaks; the list is in
//! `bugs`. Must not: change anything else, or be used for anything but broken rules.

mod bugs;
#[cfg(feature = "planted")]
mod chosen;

use std::ffi::OsStr;
use std::fmt;

pub use bugs::Bug;
#[cfg(feature = "planted")]
pub use chosen::is;

/// The variable of the environment that names a bug.
pub const VARIABLE: &str = "BEANPOLE_PLANTED";

/// Whether this build can have planted bugs.
pub const IS_POSSIBLE: bool = cfg!(feature = "planted");

/// Whether the process has this bug.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

/// There is no such bug. Says which there are.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE}={name}: no such planted bug. There are:\n{}", List)]
pub struct UnknownBug {
    /// What was asked for.
    pub name: String,
}

/// Chooses the bug that the process has, once, before anything else: `name` is the value of
/// [`VARIABLE`], if it is set and not empty. Without the feature it chooses none.
///
/// # Errors
///
/// [`UnknownBug`] when this build can have bugs, and has none of this name.
pub fn choose(name: Option<&OsStr>) -> Result<Option<Bug>, UnknownBug> {
    let Some(name) = name.filter(|name| IS_POSSIBLE && !name.is_empty()) else { return Ok(None) };
    let named = Bug::ALL.into_iter().find(|bug| name.to_str() == Some(bug.name()));
    let Some(bug) = named else {
        return Err(UnknownBug { name: name.to_string_lossy().into_owned() });
    };
    #[cfg(feature = "planted")]
    chosen::set(bug);
    Ok(Some(bug))
}

/// What is said of such a build wherever its version is shown, `None` of any other.
pub fn notice(bug: Option<Bug>) -> Option<String> {
    IS_POSSIBLE.then(|| match bug {
        Some(bug) => format!("BROKEN ON PURPOSE: {}: {}", bug.name(), bug.breaks()),
        None => format!("built to be broken on purpose; {VARIABLE} names no bug"),
    })
}

/// All bugs, a line each.
struct List;

impl fmt::Display for List {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bug in Bug::ALL {
            writeln!(formatter, "  {:<26}{} [{}]", bug.name(), bug.breaks(), bug.caught_by())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_short_and_in_kebab_case() {
        let names: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        for name in names {
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(name.chars().all(is_plain) && name.len() <= 25, "{name}");
        }
    }

    #[test]
    fn every_bug_says_what_it_breaks_and_which_invariants_notice() {
        let invariants: Vec<String> = (1..=16).map(|number| format!("Q{number}")).collect();
        for bug in Bug::ALL {
            assert!(bug.breaks().len() > 20 && !bug.breaks().contains('|'), "{}", bug.name());
            let mut caught_by = bug.caught_by().split(", ");
            assert!(caught_by.all(|it| invariants.iter().any(|known| known == it)), "{bug:?}");
        }
    }

    #[test]
    fn every_bug_is_in_the_handbook() {
        let handbook = include_str!("../../docs/TESTING.md");
        for bug in Bug::ALL {
            let row = format!("| `{}` | {} | {} |", bug.name(), bug.breaks(), bug.caught_by());
            assert!(handbook.contains(&row), "docs/TESTING.md lacks this row:\n{row}");
        }
    }

    #[test]
    fn nothing_is_chosen_where_nothing_is_named() {
        assert_eq!(choose(None).expect("no name"), None);
        assert_eq!(choose(Some(OsStr::new(""))).expect("no name"), None);
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_list_if_it_matters() {
        match choose(Some(OsStr::new("nonsense"))) {
            Ok(bug) => assert!(!IS_POSSIBLE && bug.is_none()),
            Err(error) => {
                let text = error.to_string();
                assert!(IS_POSSIBLE && text.contains("nonsense"), "{text}");
                assert!(Bug::ALL.iter().all(|bug| text.contains(bug.name())), "{text}");
            }
        }
    }
}
