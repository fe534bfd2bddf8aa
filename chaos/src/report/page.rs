//! The page around the tables and the timeline.

use crate::history::{Command, FaultState, History, Outcome, Reply};
use crate::invariants::{Finding, Invariant, coverage};

use super::describe;
use super::series::{Series, is_of_connection, latency_of_all};
use super::tables;

const STYLE: &str = include_str!("style.css");

/// HTML as it grows. What comes from a run goes through [`Html::text`].
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of our own.
    pub(super) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Any text.
    pub(super) fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                // Bytes of a body, say: no page has them.
                '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {
                    self.0.push('\u{fffd}');
                }
                other => self.0.push(other),
            }
        }
    }

    /// An element with text in it.
    pub(super) fn element(&mut self, tag: &str, class: &str, text: &str) {
        self.open(tag, class);
        self.text(text);
        self.raw(&format!("</{tag}>"));
    }

    /// A cell of a table.
    pub(super) fn cell(&mut self, class: &str, text: &str) {
        self.element("td", class, text);
    }

    fn open(&mut self, tag: &str, class: &str) {
        if class.is_empty() {
            self.raw(&format!("<{tag}>"));
        } else {
            self.raw(&format!("<{tag} class=\"{class}\">"));
        }
    }
}

/// The whole page.
pub(super) fn page(
    history: &History,
    series: &Series,
    findings: &[(Invariant, Finding)],
    (passed, svg): (bool, &str),
) -> String {
    let mut html = Html::default();
    let verdict = verdict(passed, findings);
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\">");
    html.element(
        "title",
        "",
        &format!("beanpole under faults, seed {}: {verdict}", history.head.seed),
    );
    html.raw(&format!("<style>{STYLE}</style></head><body><main>"));
    head(&mut html, history, series, (passed, verdict));
    tiles(&mut html, history, series);
    html.raw("<section><h2>Timeline</h2><figure>");
    html.raw(svg);
    html.raw("<figcaption>Bands are faults that were seen to be there; lines are where a part of the run begins.</figcaption></figure></section>");
    tables::violations(&mut html, history, findings);
    html.raw("<section><h2>Promises</h2>");
    tables::invariants(&mut html, findings);
    html.raw("</section><section><h2>What this run has exercised</h2>");
    tables::coverage(&mut html, &coverage(history));
    html.raw("</section><section><h2>Faults</h2>");
    tables::faults(&mut html, &history.faults);
    html.raw("</section><section><details><summary>The timeline in numbers</summary>");
    tables::steps(&mut html, series);
    html.raw("</details></section></main></body></html>\n");
    html.0
}

/// In words. A run in which nothing was broken may be no pass all the same: something was not put to
/// the test, or a fault was not there.
fn verdict(passed: bool, findings: &[(Invariant, Finding)]) -> &'static str {
    let is_broken = findings.iter().any(|(_, finding)| finding.broken > 0);
    match (passed, is_broken) {
        (true, _) => "passed",
        (false, true) => "broken",
        (false, false) => "not passed",
    }
}

/// What was run, and how to run it again.
fn head(html: &mut Html, history: &History, series: &Series, (passed, verdict): (bool, &str)) {
    let head = &history.head;
    html.raw("<header><div class=\"title\"><h1>beanpole under faults</h1>");
    let class = if passed { "good" } else { "bad" };
    html.element("span", &format!("verdict {class}"), verdict);
    html.raw("</div><dl class=\"facts\">");
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "none".to_owned(), describe::size);
    let facts = [
        ("seed", head.seed.to_string()),
        ("server", head.server.clone()),
        ("members", head.members.to_string()),
        ("memory budget of each", size(head.memory_budget)),
        ("limit of each group", size(head.memory_limit)),
        ("length", format!("{:.0} s", series.end_seconds())),
    ];
    for (name, value) in facts {
        html.raw("<div>");
        html.element("dt", "", name);
        html.element("dd", "", &value);
        html.raw("</div>");
    }
    html.raw("</dl>");
    if !head.command.is_empty() {
        html.raw("<p class=\"again\">Run it again: ");
        html.element("code", "", &head.command);
        html.raw("</p>");
    }
    html.raw("</header>");
}

/// The figures that are asked for first.
fn tiles(html: &mut Html, history: &History, series: &Series) {
    let counts = Counts::of(history);
    let installed = history.faults.iter().filter(|fault| fault.state == FaultState::Installed);
    let installed = installed.count() as u64;
    let asked = history.faults.len() as u64;
    let latency = latency_of_all(history).unwrap_or_default();
    let tiles = [
        (describe::count(counts.answered), "commands answered"),
        (describe::count(counts.puts), "jobs put"),
        (describe::count(counts.deliveries), "jobs handed out"),
        (describe::count(counts.unknown), "commands of unknown fate"),
        (format!("{installed} of {asked}"), "faults installed"),
        (describe::duration(latency.p99), "99 of 100 answered within"),
        (describe::duration(series.longest_silence), "longest without any answer"),
        (describe::count(series.reigns.len().saturating_sub(1) as u64), "changes of leader"),
    ];
    html.raw("<section class=\"tiles\">");
    for (value, name) in tiles {
        html.raw("<div class=\"tile\">");
        html.element("strong", "", &value);
        html.element("span", "", name);
        html.raw("</div>");
    }
    html.raw("</section>");
}

#[derive(Default)]
struct Counts {
    answered: u64,
    unknown: u64,
    puts: u64,
    deliveries: u64,
}

impl Counts {
    fn of(history: &History) -> Self {
        let mut counts = Self::default();
        for record in &history.records {
            match (&record.command, &record.outcome) {
                (_, Outcome::Unknown { .. }) => counts.unknown += 1,
                (command, Outcome::Replied(reply)) if !is_of_connection(command) => {
                    counts.add(command, reply);
                }
                _ => {}
            }
        }
        counts
    }

    fn add(&mut self, command: &Command, reply: &Reply) {
        self.answered += 1;
        match (command, reply) {
            (Command::Put { .. }, Reply::Inserted { .. } | Reply::Buried { .. }) => self.puts += 1,
            (_, Reply::Reserved { .. }) => self.deliveries += 1,
            _ => {}
        }
    }
}
