//! The tables of the page.

use crate::history::{Fault, FaultState, History};
use crate::invariants::{Exercise, Finding, Invariant, Violation};

use super::describe;
use super::page::Html;
use super::series::Series;

/// Records of one violation that are shown; a file of them has all.
const RECORDS_MAX: usize = 400;

/// What was broken, and whether it was.
pub(super) fn faults(html: &mut Html, faults: &[Fault]) {
    if faults.is_empty() {
        html.raw("<p class=\"none\">No fault was asked for.</p>");
        return;
    }
    html.raw("<div class=\"wide\"><table><thead><tr>");
    for (class, head) in [
        ("number", "from, s"),
        ("number", "to, s"),
        ("", "fault"),
        ("", "target"),
        ("", "state"),
        ("", "note"),
    ] {
        html.raw(&format!("<th class=\"{class}\">{head}</th>"));
    }
    html.raw("</tr></thead><tbody>");
    for fault in faults {
        let healed = fault.healed.map_or_else(|| "–".to_owned(), describe::moment);
        html.raw("<tr>");
        html.cell("number", &describe::moment(fault.began));
        html.cell("number", &healed);
        html.cell("name", &fault.name);
        html.cell("", &fault.target);
        let (class, state) = state_of(fault.state);
        html.raw(&format!("<td><span class=\"pill {class}\">{state}</span></td>"));
        html.cell("note", &fault.note);
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div>");
}

fn state_of(state: FaultState) -> (&'static str, &'static str) {
    match state {
        FaultState::Installed => ("good", "installed"),
        FaultState::Skipped => ("quiet", "skipped"),
        FaultState::Indeterminate => ("doubtful", "indeterminate"),
    }
}

/// What was promised, and whether it held.
pub(super) fn invariants(html: &mut Html, findings: &[(Invariant, Finding)]) {
    html.raw(
        "<div class=\"wide\"><table><thead><tr><th></th><th>promise</th>\
         <th class=\"number\">cases</th><th class=\"number\">broken</th><th>verdict</th>\
         <th>measures</th></tr></thead><tbody>",
    );
    for (invariant, finding) in findings {
        let (class, verdict) = match finding {
            Finding { broken: 1.., .. } => ("bad", "broken"),
            Finding { cases: 0, .. } => ("quiet", "no case"),
            Finding { .. } => ("good", "holds"),
        };
        html.raw("<tr>");
        html.cell("name", invariant.name);
        html.cell("promise", invariant.promise);
        html.cell("number", &describe::count(finding.cases));
        html.cell("number", &describe::count(finding.broken));
        html.raw(&format!("<td><span class=\"pill {class}\">{verdict}</span></td><td>"));
        measures(html, finding);
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table></div>");
}

fn measures(html: &mut Html, finding: &Finding) {
    if finding.measures.is_empty() {
        return;
    }
    html.raw("<dl class=\"measures\">");
    for (name, value) in &finding.measures {
        html.element("dt", "", name);
        html.element("dd", "", value);
    }
    html.raw("</dl>");
}

/// What happened in the run, and what had to.
pub(super) fn coverage(html: &mut Html, coverage: &[Exercise]) {
    html.raw(
        "<div class=\"wide\"><table><thead><tr><th>what</th><th class=\"number\">count</th>\
         <th class=\"number\">at least</th><th></th></tr></thead><tbody>",
    );
    for exercise in coverage {
        html.raw("<tr>");
        html.cell("promise", exercise.what);
        html.cell("number", &describe::count(exercise.count));
        let (least, class, verdict) = match exercise {
            Exercise { least: 0, .. } => ("–".to_owned(), "quiet", "not asked"),
            _ if exercise.is_lacking() => (describe::count(exercise.least), "bad", "lacking"),
            _ => (describe::count(exercise.least), "good", "enough"),
        };
        html.cell("number", &least);
        html.raw(&format!("<td><span class=\"pill {class}\">{verdict}</span></td></tr>"));
    }
    html.raw("</tbody></table></div>");
}

/// The violation that came first, with its records in full, and the others by name.
pub(super) fn violations(html: &mut Html, history: &History, findings: &[(Invariant, Finding)]) {
    let Some((invariant, violation)) = first_violation(history, findings) else { return };
    html.raw("<section class=\"broken\"><h2>The first that broke</h2><p>");
    html.element("span", "pill bad", invariant.name);
    html.raw(" ");
    html.text(invariant.promise);
    html.raw("</p>");
    html.element("p", "what", &violation.what);
    records(html, history, &violation.records);
    html.raw("<details><summary>All that are described</summary><ol class=\"violations\">");
    for (invariant, finding) in findings {
        for violation in &finding.violations {
            html.element("li", "", &format!("{}: {}", invariant.name, violation.what));
        }
    }
    html.raw("</ol></details></section>");
}

/// By the first record that shows it.
fn first_violation<'a>(
    history: &History,
    findings: &'a [(Invariant, Finding)],
) -> Option<(Invariant, &'a Violation)> {
    let all = findings.iter().flat_map(|(invariant, finding)| {
        finding.violations.iter().map(move |violation| (*invariant, violation))
    });
    all.min_by_key(|(_, violation)| {
        let first = violation.records.iter().filter_map(|&place| history.records.get(place));
        // One without records is told last.
        first.map(|record| record.invoked.0).min().unwrap_or(u64::MAX)
    })
}

fn records(html: &mut Html, history: &History, places: &[usize]) {
    html.raw(
        "<div class=\"wide\"><table class=\"records\"><thead><tr><th class=\"number\">sent, s</th>\
         <th class=\"number\">answered, s</th><th>client</th><th>member</th><th>command</th>\
         <th>outcome</th></tr></thead><tbody>",
    );
    let found = places.iter().filter_map(|&place| history.records.get(place));
    for record in found.take(RECORDS_MAX) {
        html.raw("<tr>");
        html.cell("number", &format!("{:.6}", seconds(record.invoked.0)));
        html.cell("number", &format!("{:.6}", seconds(record.returned.0)));
        html.cell("", &format!("{}.{}", record.client, record.connection));
        html.cell("", &record.member.to_string());
        html.cell("code", &describe::command(&record.command));
        html.cell("code", &describe::outcome(&record.outcome));
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div>");
    if places.len() > RECORDS_MAX {
        let more = describe::count((places.len() - RECORDS_MAX) as u64);
        html.element("p", "none", &format!("{more} more records are in the history."));
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// What the curves show, as numbers.
pub(super) fn steps(html: &mut Html, series: &Series) {
    html.raw(
        "<div class=\"wide\"><table class=\"steps\"><thead><tr><th class=\"number\">second</th>\
         <th class=\"number\">answered</th><th class=\"number\">unknown</th>\
         <th class=\"number\">no effect</th><th class=\"number\">p50</th>\
         <th class=\"number\">p99</th><th class=\"number\">slowest</th>",
    );
    for member in series.resident.keys() {
        html.raw(&format!("<th class=\"number\">member {member}</th>"));
    }
    html.raw("</tr></thead><tbody>");
    for (index, step) in series.steps.iter().enumerate() {
        html.raw("<tr>");
        html.cell("number", &(index as u64 * series.step).to_string());
        for number in [step.completed, step.unknown, step.refused] {
            html.cell("number", &describe::count(number));
        }
        let latency = step.latency;
        for time in [latency.map(|l| l.p50), latency.map(|l| l.p99), latency.map(|l| l.max)] {
            html.cell("number", &time.map(describe::duration).unwrap_or_default());
        }
        for curve in series.resident.values() {
            let size = curve[index].map(|size| format!("{size:.1} MiB"));
            html.cell("number", &size.unwrap_or_default());
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div>");
}
