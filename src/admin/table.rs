//! Answers as people read them.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    ClusterStatus, LimitStatus, LimitsMemory, LimitsStatus, MemberStatus, MemoryStatus,
    PHASE_WAITING, Reply, ShareStatus,
};

/// What stands where nothing is known.
const UNKNOWN: &str = "-";

const HEADINGS: [&str; 8] =
    ["ID", "ROLE", "CONTACT", "ADDRESS", "CLIENTS", "MATCHED", "LAG", "VERSION"];

/// An answer, without the end of its last line.
pub(super) fn text(reply: &Reply) -> String {
    match reply {
        Reply::Done { text } => text.clone(),
        Reply::Status(status) => status_text(status),
        Reply::Check { can_stop: true, reason } => format!("can be stopped: {reason}"),
        Reply::Check { can_stop: false, reason } => format!("cannot be stopped: {reason}"),
        Reply::Limits(limits) => limits_text(limits),
        Reply::Memory(memory) => memory_text(memory),
        Reply::Refused { reason } => format!("refused: {reason}"),
    }
}

fn status_text(status: &ClusterStatus) -> String {
    if status.phase == PHASE_WAITING {
        return "waiting: `beanpole cluster init` here begins a new cluster; `beanpole cluster add \
                ADDRESS`, with this member's address, at a member of another takes this one in"
            .to_owned();
    }
    let ClusterStatus { cluster, this_member, term, phase, .. } = status;
    let leader = match status.leader {
        Some(leader) => format!("leader {leader},"),
        None => format!("nobody leads as far as member {this_member} knows;"),
    };
    let jobs = shown(status.jobs);
    let mut text = format!(
        "cluster {cluster}, member {this_member}: {phase}\n{leader} term {term}, jobs {jobs}\n"
    );
    let rows = status.members.iter().map(|member| cells(member, *this_member));
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows).collect();
    text.push_str(&aligned(&rows));
    text
}

fn limits_text(limits: &LimitsStatus) -> String {
    let LimitsStatus { tubes, watches, held, sessions, memory } = limits;
    let row = |(name, LimitStatus { limit, used }): (&str, &LimitStatus)| {
        [name.to_owned(), limit.to_string(), used.to_string()]
    };
    let limits = [("tubes", tubes), ("watches", watches), ("held", held), ("sessions", sessions)];
    let rows: Vec<_> = std::iter::once(["OF", "LIMIT", "USED"].map(str::to_owned))
        .chain(limits.into_iter().map(row))
        .collect();
    aligned(&rows) + &misfit_text(memory)
}

/// A warning when the limits allow more than the member has memory for.
fn misfit_text(LimitsMemory { bytes_max, room, enough }: &LimitsMemory) -> String {
    if bytes_max <= room {
        return String::new();
    }
    let percent = room / (bytes_max / 100).max(1);
    let (bytes_max, room) = (mebibytes(*bytes_max), mebibytes(*room));
    let enough = enough.div_ceil(1 << 20);
    format!(
        "\nWARNING: they allow {bytes_max} MiB, and the memory budget of the member that answers has room \
         for {room} MiB:\n--memory {enough}M would be enough, or {percent} percent of each limit"
    )
}

/// Mebibytes: in each share, of all shares, and of the process with what nobody counts.
fn memory_text(memory: &MemoryStatus) -> String {
    let MemoryStatus { budget, resident, shares } = memory;
    let row = |name: &str, limit, used| [name.to_owned(), mebibytes(limit), mebibytes(used)];
    let sum = |of: fn(&ShareStatus) -> u64| shares.iter().map(of).sum();
    let rows: Vec<_> = std::iter::once(["OF", "LIMIT (MiB)", "USED (MiB)"].map(str::to_owned))
        .chain(shares.iter().map(|share| row(&share.name, share.limit, share.used)))
        .chain([
            row("all that is counted", sum(|share| share.limit), sum(|share| share.used)),
            row("the process", *budget, *resident),
        ])
        .collect();
    aligned(&rows)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn cells(member: &MemberStatus, this_member: u64) -> [String; 8] {
    let mark = if member.id == this_member { "*" } else { "" };
    [
        format!("{}{mark}", member.id),
        word(&member.role),
        word(&member.contact),
        filled(Some(&member.address)),
        filled(member.client_address.as_ref()),
        shown(member.matched),
        shown(member.lag_entries),
        shown(member.version.as_ref()),
    ]
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// A cell is never blank: scripts count columns.
fn filled(text: Option<&String>) -> String {
    shown(text.filter(|text| !text.is_empty()))
}

/// The word that JSON has for it too.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or(UNKNOWN).to_owned()
}

/// Columns as wide as their widest cell, two spaces apart.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::{Contact, Role};
    use super::*;

    #[test]
    fn a_status_is_a_table_with_a_mark_at_who_answers() {
        let member = |id, role, contact| MemberStatus {
            id,
            address: format!("10.0.0.{id}:11400"),
            client_address: (id == 1).then(|| "one.example:11300".to_owned()),
            role,
            contact,
            matched: Some(id * 1000),
            lag_entries: None,
            version: Some("0.1.0".to_owned()),
        };
        let status = ClusterStatus {
            cluster: "0f".repeat(16),
            this_member: 2,
            leader: Some(1),
            term: 7,
            phase: "serving".to_owned(),
            jobs: Some(12),
            applied: None,
            members: vec![
                member(1, Role::Leader, Contact::Heard),
                member(2, Role::Learner, Contact::Here),
            ],
        };
        let expected = "\
cluster 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f, member 2: serving
leader 1, term 7, jobs 12
ID  ROLE     CONTACT  ADDRESS         CLIENTS            MATCHED  LAG  VERSION
1   leader   heard    10.0.0.1:11400  one.example:11300  1000     -    0.1.0
2*  learner  here     10.0.0.2:11400  -                  2000     -    0.1.0";
        assert_eq!(text(&Reply::Status(status)), expected);
    }

    #[test]
    fn a_cluster_that_nobody_leads_says_so() {
        let status = ClusterStatus {
            cluster: "0f".repeat(16),
            this_member: 2,
            leader: None,
            term: 7,
            phase: "no-majority".to_owned(),
            jobs: Some(12),
            applied: None,
            members: Vec::new(),
        };
        let text = text(&Reply::Status(status));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "nobody leads as far as member 2 knows; term 7, jobs 12", "{text}");
    }

    #[test]
    fn a_member_without_addresses_has_all_its_columns() {
        let member = MemberStatus {
            id: 1,
            address: String::new(),
            client_address: Some(String::new()),
            role: Role::Leader,
            contact: Contact::Here,
            matched: None,
            lag_entries: None,
            version: None,
        };
        let expected = ["1*", "leader", "here", "-", "-", "-", "-", "-"];
        assert_eq!(cells(&member, 1), expected);
    }

    #[test]
    fn memory_is_shown_by_share_with_the_sum_and_the_process() {
        let share = |name: &str, limit, used| ShareStatus { name: name.to_owned(), limit, used };
        let memory = MemoryStatus {
            budget: 192 << 20,
            resident: 100 << 20,
            shares: vec![share("hot jobs", 50 << 20, 25 << 20), share("log", 10 << 20, 1 << 19)],
        };
        let expected = "OF                   LIMIT (MiB)  USED (MiB)\n\
                        hot jobs             50.0         25.0\n\
                        log                  10.0         0.5\n\
                        all that is counted  60.0         25.5\n\
                        the process          192.0        100.0";
        assert_eq!(text(&Reply::Memory(memory)), expected);
    }

    #[test]
    fn limits_are_shown_beside_what_is_used() {
        let status = |limit, used| LimitStatus { limit, used };
        let limits = LimitsStatus {
            tubes: status(100_000, 3),
            watches: status(0, 0),
            held: status(5, 7),
            sessions: status(100_000, 12),
            memory: LimitsMemory { bytes_max: 50 << 20, room: 50 << 20, enough: 90 << 20 },
        };
        let expected = "\
OF        LIMIT   USED
tubes     100000  3
watches   0       0
held      5       7
sessions  100000  12";
        assert_eq!(text(&Reply::Limits(limits)), expected);
        let memory = LimitsMemory { bytes_max: 100 << 20, room: 50 << 20, enough: (189 << 20) + 1 };
        let misfit = text(&Reply::Limits(LimitsStatus { memory, ..limits }));
        assert!(misfit.starts_with(expected), "{misfit}");
        let warning = "\nWARNING: they allow 100.0 MiB, and the memory budget of the member that answers \
                       has room for 50.0 MiB:\n--memory 190M would be enough, or 50 percent of each limit";
        assert!(misfit.ends_with(warning), "{misfit}");
    }

    #[test]
    fn a_process_that_waits_says_what_it_waits_for() {
        let status = ClusterStatus { phase: "waiting".to_owned(), ..Default::default() };
        let text = text(&Reply::Status(status));
        assert!(text.contains("cluster init") && text.contains("cluster add"), "{text}");
    }
}
