//! Bytes as transcripts write them: `\r \n \t \\ \xHH`, and `{a*200}` for 200 times `a`.

/// The bytes that `text` stands for.
///
/// # Errors
///
/// A sentence about what is wrong in `text`.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '{' {
            let (inside, after) = rest[1..]
                .split_once('}')
                .ok_or("a `{` without its `}`; write \\x7b for the byte")?;
            bytes.extend(repetition(inside)?);
            rest = after;
        } else {
            let (byte_or_text, after) = one(rest)?;
            bytes.extend_from_slice(&byte_or_text);
            rest = after;
        }
    }
    Ok(bytes)
}

/// Bytes as a transcript would write them, for messages.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// `BYTES*COUNT`.
fn repetition(inside: &str) -> Result<Vec<u8>, String> {
    let (what, count) =
        inside.rsplit_once('*').ok_or_else(|| format!("{{{inside}}} is not {{bytes*count}}"))?;
    let count = count.parse().map_err(|_| format!("{count} is not a count"))?;
    Ok(decode(what)?.repeat(count))
}

/// The first character or escape of `text`, and what follows it.
fn one(text: &str) -> Result<(Vec<u8>, &str), String> {
    let Some(escape) = text.strip_prefix('\\') else {
        let length = text.chars().next().map_or(0, char::len_utf8);
        return Ok((text.as_bytes()[..length].to_vec(), &text[length..]));
    };
    let byte = match escape.as_bytes().first() {
        Some(b'r') => b'\r',
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'\\') => b'\\',
        Some(b'x') => {
            let digits = escape.get(1..3).ok_or("\\x wants two hex digits")?;
            let byte = u8::from_str_radix(digits, 16).map_err(|_| "\\x wants two hex digits")?;
            return Ok((vec![byte], &escape[3..]));
        }
        _ => return Err(format!("an unknown escape at `{text}`")),
    };
    Ok((vec![byte], &escape[1..]))
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn escapes_and_repetitions_stand_for_their_bytes() {
        assert_eq!(decode("a\\r\\n\\x00\\\\{ab*2}{\\xff*2}").unwrap(), b"a\r\n\0\\abab\xff\xff");
        assert_eq!(encode(b"a\r\n\0\\\xff"), "a\\r\\n\\x00\\\\\\xff");
    }

    #[test]
    fn unfinished_escapes_are_refused() {
        for text in ["\\", "\\x1", "\\q", "{a*2", "{a}", "{a*b}"] {
            assert!(decode(text).is_err(), "{text} was taken");
        }
    }
}
