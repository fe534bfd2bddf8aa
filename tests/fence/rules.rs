//! The rules, and how a file is held to them.

use super::source::Source;

/// One side of the fence.
pub(super) struct Rule {
    /// For the reader of a failure.
    pub(super) says: &'static str,
    /// Files, by the front of their path, that the rule is about.
    within: &'static [&'static str],
    /// Files, by the front of their path, that may.
    except: &'static [&'static str],
    /// What paths may not begin with.
    names: &'static [&'static str],
    /// Whether tests may.
    is_for_product_only: bool,
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        says: "queue imports neither storage nor link, raft, server, config, clock",
        within: &["src/queue/"],
        except: &[],
        names: &[
            "crate::storage",
            "crate::link",
            "crate::raft",
            "crate::server",
            "crate::config",
            "crate::clock",
        ],
        is_for_product_only: false,
    },
    Rule {
        says: "storage imports neither queue nor link, raft, server, config, clock",
        within: &["src/storage/"],
        except: &[],
        names: &[
            "crate::queue",
            "crate::link",
            "crate::raft",
            "crate::server",
            "crate::config",
            "crate::clock",
        ],
        is_for_product_only: false,
    },
    Rule {
        says: "link imports nothing of ours but clock and random",
        within: &["src/link/"],
        except: &[],
        names: &[
            "crate::queue",
            "crate::storage",
            "crate::raft",
            "crate::server",
            "crate::config",
            "crate::cli",
            "crate::chain",
            "beanpole_protocol",
        ],
        is_for_product_only: false,
    },
    Rule {
        says: "raft does not import server or config",
        within: &["src/raft/"],
        except: &[],
        names: &["crate::server", "crate::config"],
        is_for_product_only: false,
    },
    Rule {
        says: "nothing below the program imports admin or demo, but who carries its requests out",
        within: &["src/queue/", "src/storage/", "src/raft/", "src/config/", "src/cli/"],
        except: &["src/raft/cluster/membership.rs", "src/raft/cluster/report.rs"],
        names: &["crate::admin", "crate::demo"],
        is_for_product_only: false,
    },
    Rule {
        says: "admin and demo reach a member through its socket alone",
        within: &["src/admin/", "src/demo/"],
        except: &[],
        names: &["crate::raft", "crate::queue", "crate::server"],
        is_for_product_only: false,
    },
    Rule {
        says: "client imports nothing of ours but random: a member is what it says on the wire",
        within: &["src/client/"],
        except: &[],
        names: &[
            "crate::queue",
            "crate::storage",
            "crate::link",
            "crate::raft",
            "crate::server",
            "crate::memory",
            "crate::config",
            "crate::clock",
            "crate::cli",
            "crate::admin",
        ],
        is_for_product_only: false,
    },
    Rule {
        says: "agent reaches members by client alone",
        within: &["src/agent/"],
        except: &[],
        names: &["crate::queue", "crate::storage", "crate::link", "crate::raft", "crate::server"],
        is_for_product_only: false,
    },
    Rule {
        says: "nothing of a member imports client",
        within: &["src/queue/", "src/storage/", "src/link/", "src/raft/", "src/server/"],
        except: &[],
        names: &["crate::client"],
        is_for_product_only: false,
    },
    Rule {
        says: "protocol knows nothing of the server",
        within: &["protocol/"],
        except: &[],
        names: &["beanpole"],
        is_for_product_only: false,
    },
    Rule {
        says: "only src/raft names openraft",
        within: &[""],
        except: &["src/raft/"],
        names: &["openraft"],
        is_for_product_only: false,
    },
    Rule {
        says: "only src/storage/catalog.rs names sled",
        within: &[""],
        except: &["src/storage/catalog.rs"],
        names: &["sled"],
        is_for_product_only: false,
    },
    Rule {
        says: "only src/storage/disk.rs names std::fs",
        within: &["src/", "protocol/"],
        except: &["src/storage/disk.rs"],
        names: &["std::fs", "tokio::fs"],
        is_for_product_only: true,
    },
    Rule {
        says: "only src/clock.rs reads time",
        within: &["src/", "protocol/"],
        except: &["src/clock.rs"],
        names: &[
            "std::time::Instant",
            "std::time::SystemTime",
            "tokio::time::Instant",
            "rustix::time",
        ],
        is_for_product_only: true,
    },
];

impl Rule {
    pub(super) fn is_broken_by(&self, source: &Source) -> bool {
        self.covers(source) && self.first_named(source).is_some()
    }

    /// Whether this file is allowed what the rule forbids to others, and makes use of it.
    pub(super) fn names_what_it_may(&self, source: &Source) -> bool {
        !self.covers(source) && self.first_named(source).is_some()
    }

    fn covers(&self, source: &Source) -> bool {
        let is_below = |front: &&str| source.path.starts_with(front);
        self.within.iter().any(is_below) && !self.except.iter().any(is_below)
    }

    fn first_named<'a>(&self, source: &'a Source) -> Option<&'a str> {
        let paths = if self.is_for_product_only { &source.product_paths } else { &source.paths };
        let is_named = |path: &&String| self.names.iter().any(|name| begins_with(path, name));
        paths.iter().find(is_named).map(String::as_str)
    }
}

/// What is wrong with a file, a line for each rule it breaks.
pub(super) fn breaches(source: &Source) -> Vec<String> {
    let broken = RULES.iter().filter(|rule| rule.is_broken_by(source));
    let line = |rule: &Rule| {
        let named = rule.first_named(source).unwrap_or_default();
        format!("{}: {named}, but {}", source.path, rule.says)
    };
    broken.map(line).collect()
}

/// Whether the first words of `path` are those of `name`.
fn begins_with(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
