//! Records, times and numbers as people read them.

use std::time::Duration;

use serde_json::Value;

use crate::clock::Moment;
use crate::history::{Command, Outcome};

/// A moment, in seconds with thousandths.
pub(super) fn moment(at: Moment) -> String {
    format!("{:.3}", at.since(Moment::default()).as_secs_f64())
}

/// A duration in the unit that fits it.
pub(super) fn duration(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.2} ms"),
        ..1_000.0 => format!("{milliseconds:.0} ms"),
        ..120_000.0 => format!("{:.2} s", milliseconds / 1e3),
        _ => format!("{:.0} min", milliseconds / 60e3),
    }
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in mebibytes.
pub(super) fn size(bytes: u64) -> String {
    format!("{} MiB", count(bytes.div_ceil(1024 * 1024)))
}

/// A command in one line: its name and what it is about.
pub(super) fn command(command: &Command) -> String {
    named(serde_json::to_value(command))
}

/// An outcome in one line.
pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Replied(reply) => named(serde_json::to_value(reply)),
        Outcome::NoEffect { why } => format!("no effect: {why}"),
        Outcome::Unknown { why } => format!("unknown: {why}"),
    }
}

/// The words of a history's own format, without its brackets.
fn named(value: serde_json::Result<Value>) -> String {
    match value {
        Ok(Value::String(name)) => name,
        Ok(Value::Object(variant)) => {
            let fields =
                variant.into_iter().map(|(name, fields)| format!("{name} {}", flat(&fields)));
            fields.collect()
        }
        Ok(other) => other.to_string(),
        Err(error) => format!("cannot be shown: {error}"),
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let shown = fields.iter().map(|(name, field)| match field {
                // Keys of bodies are told apart by their hex, as they stand in the body.
                Value::Number(key) if name == "key" => {
                    format!("key={:016x}", key.as_u64().unwrap_or_default())
                }
                Value::Object(_) => format!("{name}=({})", flat(field)),
                _ => format!("{name}={}", flat(field)),
            });
            shown.collect::<Vec<_>>().join(" ")
        }
        Value::Array(values) => values.iter().map(flat).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Body, Reply};

    #[test]
    fn records_read_as_sentences() {
        let body = Body { key: 0xabc, bytes: 20, is_intact: true };
        let tube = "t".to_owned();
        let put = Command::Put { tube, priority: 1, delay: 0, ttr: 30, body, under: None };
        assert_eq!(
            command(&put),
            "put body=(bytes=20 is_intact=true key=0000000000000abc) delay=0 priority=1 ttr=30 tube=t"
        );
        assert_eq!(command(&Command::Stats), "stats");
        let tubes = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            command(&Command::Reserve { tubes, timeout: None }),
            "reserve timeout=none tubes=a,b"
        );
        assert_eq!(outcome(&Outcome::Replied(Reply::Inserted { id: 7 })), "inserted id=7");
        assert_eq!(outcome(&Outcome::Unknown { why: "reset".to_owned() }), "unknown: reset");
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        let counts = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let durations =
            [5, 50_000, 5_000_000].map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(durations, ["0.01 ms", "50 ms", "5.00 s"]);
    }
}
