//! The form of a transcript: text to sections and steps. `transcripts/README.md` describes it.

use std::time::Duration;

use super::bytes;
use super::pattern::Pattern;
use crate::support::Target;

/// One conversation with a fresh server.
#[derive(Debug)]
pub(super) struct Section {
    /// File and title, for messages.
    pub(super) name: String,
    /// The only server it is for, if it is not for both.
    pub(super) only: Option<Target>,
    /// Flags of the server.
    pub(super) flags: Vec<String>,
    /// Whether the server has a data directory.
    pub(super) durable: bool,
    /// What happens, in order.
    pub(super) steps: Vec<Step>,
}

/// One line of a section.
#[derive(Debug)]
pub(super) struct Step {
    /// The number of the line in its file, from 1.
    pub(super) line_number: usize,
    /// The line as written.
    pub(super) text: String,
    /// The only server it is for, if it is not for both.
    pub(super) only: Option<Target>,
    /// What the line asks for.
    pub(super) action: Action,
}

/// What a line asks for.
#[derive(Debug)]
pub(super) enum Action {
    /// Something on one connection.
    On(u32, Deed),
    /// Remember this moment.
    Mark,
    /// Let time pass.
    Wait(Duration),
    /// Send the server SIGUSR1.
    Drain,
    /// Kill the server and start it again.
    Restart,
}

/// What happens on one connection.
#[derive(Debug)]
pub(super) enum Deed {
    /// Open it.
    Connect,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Receive a line that looks like this.
    Receive(Pattern),
    /// Receive `OK` and the size of the YAML that the next lines expect.
    ReceiveSize,
    /// Ask for YAML and compare some fields, again and again if `until`.
    Ask { command: String, fields: Vec<(String, Pattern)>, until: bool },
    /// Receive nothing for so long.
    Silence(Duration),
    /// Receive nothing until so long after the mark.
    SilenceUntil(Duration),
    /// Close it.
    Close,
    /// Close the sending side.
    HalfClose,
    /// See it closed by the server.
    Closed,
}

/// Reads the sections of a file.
///
/// # Errors
///
/// File, line and what is wrong there.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    // Lines for one server want a reason: a remark, or another such line, right above.
    let mut is_explained = false;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let complain = |what: &str| format!("{file}:{line_number}: {what}: {line}");
        if line.starts_with('#') || line.trim().is_empty() {
            is_explained = line.starts_with('#');
            continue;
        }
        if let Some(title) = line.strip_prefix("== ") {
            sections.push(section(file, title).map_err(|what| complain(&what))?);
            continue;
        }
        let section = sections.last_mut().ok_or_else(|| complain("before the first `==`"))?;
        if section.steps.is_empty() {
            if section.only.is_some() && !is_explained && section.flags.is_empty() {
                return Err(complain("a section for one server wants a reason below its title"));
            }
            if is_setting(section, line) {
                continue;
            }
        }
        let (only, rest) = marked(line).map_err(|what| complain(&what))?;
        if only.is_some() && !is_explained {
            return Err(complain("a line for one server wants a remark above it saying why"));
        }
        is_explained = only.is_some();
        let action = action(rest).map_err(|what| complain(&what))?;
        section.steps.push(Step { line_number, text: line.to_owned(), only, action });
    }
    Ok(sections)
}

/// The section of a title, which `only @server:` may begin.
fn section(file: &str, title: &str) -> Result<Section, String> {
    let (only, title) = match title.strip_prefix("only ") {
        Some(rest) => marked(rest)?,
        None => (None, title),
    };
    let name = format!("{file}: {title}");
    Ok(Section { name, only, flags: Vec::new(), durable: false, steps: Vec::new() })
}

/// Takes the line if it says how to start the server.
fn is_setting(section: &mut Section, line: &str) -> bool {
    if line == "durable" {
        section.durable = true;
    } else if let Some(flags) = line.strip_prefix("options ") {
        section.flags = flags.split(' ').map(str::to_owned).collect();
    } else {
        return false;
    }
    true
}

/// Takes the mark of a server off the line.
fn marked(line: &str) -> Result<(Option<Target>, &str), String> {
    let Some(marked) = line.strip_prefix('@') else {
        return Ok((None, line));
    };
    let (name, rest) = marked.split_once([' ', ':']).ok_or("a mark without anything after it")?;
    let target = [Target::Beanstalkd, Target::Beanpole]
        .into_iter()
        .find(|target| target.name() == name)
        .ok_or_else(|| format!("no server is called {name}"))?;
    Ok((Some(target), rest.trim_start()))
}

fn action(line: &str) -> Result<Action, String> {
    if let Some(time) = line.strip_prefix("wait ") {
        return Ok(Action::Wait(duration(time)?));
    }
    match line {
        "signal USR1" => return Ok(Action::Drain),
        "mark" => return Ok(Action::Mark),
        "restart" => return Ok(Action::Restart),
        _ => {}
    }
    let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
    let (connection, rest) = line.split_at(digits);
    let connection = connection.parse().map_err(|_| "neither a word nor a connection")?;
    Ok(Action::On(connection, deed(rest)?))
}

fn deed(text: &str) -> Result<Deed, String> {
    if let Some(bytes) = text.strip_prefix(">> ") {
        return Ok(Deed::Send(bytes::decode(bytes)?));
    }
    if let Some(line) = text.strip_prefix('>') {
        let mut bytes = bytes::decode(argument(line)?)?;
        bytes.extend_from_slice(b"\r\n");
        return Ok(Deed::Send(bytes));
    }
    if text == "< OK <bytes>" {
        return Ok(Deed::ReceiveSize);
    }
    if let Some(line) = text.strip_prefix('<') {
        return Ok(Deed::Receive(Pattern::parse(argument(line)?)?.followed_by(b"\r\n")));
    }
    if let Some(line) = text.strip_prefix('|') {
        return Ok(Deed::Receive(Pattern::parse(argument(line)?)?.followed_by(b"\n")));
    }
    if let Some(question) = text.strip_prefix("?? ") {
        return ask(question, true);
    }
    if let Some(question) = text.strip_prefix("? ") {
        return ask(question, false);
    }
    if let Some(time) = text.strip_prefix("~ until ") {
        return Ok(Deed::SilenceUntil(duration(time)?));
    }
    if let Some(time) = text.strip_prefix("~ ") {
        return Ok(Deed::Silence(duration(time)?));
    }
    match text {
        " connects" => Ok(Deed::Connect),
        " closes" => Ok(Deed::Close),
        " half-closes" => Ok(Deed::HalfClose),
        " is closed" => Ok(Deed::Closed),
        _ => Err("no such line".to_owned()),
    }
}

/// What follows the sign: nothing, or one space and the text.
fn argument(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Ok(text);
    }
    text.strip_prefix(' ').ok_or_else(|| "a space is missing after the sign".to_owned())
}

fn ask(question: &str, until: bool) -> Result<Deed, String> {
    let (command, fields) = question.split_once(": ").ok_or("a `: ` is missing")?;
    let fields = fields
        .split(' ')
        .map(|field| {
            let (key, value) = field.split_once('=').ok_or("a field without its `=`")?;
            Ok((key.to_owned(), Pattern::parse(value)?))
        })
        .collect::<Result<_, String>>()?;
    Ok(Deed::Ask { command: command.to_owned(), fields, until })
}

/// `200ms` or `1.05s`.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = match text.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse::<f64>().map(|n| n / 1000.0),
        None => text.strip_suffix('s').ok_or("a time ends in ms or s")?.parse(),
    };
    seconds.map(Duration::from_secs_f64).map_err(|_| format!("{text} is not a time"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn mistakes_in_a_transcript_are_refused_with_their_line() {
        let cases = [
            ("1> put", "before the first"),
            ("== a\n1>put", "a space is missing"),
            ("== a\n1? stats", "a `: ` is missing"),
            ("== a\n1~ 5", "a time ends in"),
            ("== a\n1 leaves", "no such line"),
            ("== a\n@beanpole 1< OK", "saying why"),
            ("== a\n# because\n@bean 1< OK", "no server is called bean"),
            ("== only @beanpole: a\n1> put", "wants a reason"),
        ];
        for (text, complaint) in cases {
            let error = parse("file", text).expect_err(text);
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
