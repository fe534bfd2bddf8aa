//! Just enough of the protocol's replies to check them, without copying.
//!
//! The project's own decoder is not used: the generator shares two cores with the server, so what
//! it spends is taken from the server, and it must not be wrong in the same way as the server.

/// One reply, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// `INSERTED <id>`.
    Inserted(u64),
    /// `RESERVED <id> <bytes>` with its body, without CR LF.
    Reserved { id: u64, body: &'a [u8] },
    /// `DELETED`.
    Deleted,
    /// `OK <bytes>` with its data.
    Ok(&'a [u8]),
    /// Any other line, without CR LF; also one that looks like the above and is malformed.
    Line(&'a [u8]),
}

/// The first whole reply in `bytes` and its length, or nothing while it is incomplete.
pub(crate) fn next_reply(bytes: &[u8]) -> Option<(Reply<'_>, usize)> {
    const DELETED: &[u8] = b"DELETED\r\n";
    if bytes.starts_with(DELETED) {
        return Some((Reply::Deleted, DELETED.len()));
    }
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let after = end + 1;
    if let Some(id) = line.strip_prefix(b"INSERTED ").and_then(number) {
        return Some((Reply::Inserted(id), after));
    }
    if let Some((id, length)) = line.strip_prefix(b"RESERVED ").and_then(two_numbers) {
        return with_body(bytes, line, after, length, |body| Reply::Reserved { id, body });
    }
    if let Some(length) = line.strip_prefix(b"OK ").and_then(number) {
        return with_body(bytes, line, after, length, Reply::Ok);
    }
    Some((Reply::Line(line), after))
}

fn with_body<'a>(
    bytes: &'a [u8],
    line: &'a [u8],
    start: usize,
    length: u64,
    reply: impl Fn(&'a [u8]) -> Reply<'a>,
) -> Option<(Reply<'a>, usize)> {
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    let ending = bytes.get(end..end.saturating_add(2))?;
    let found = if ending == b"\r\n" { reply(&bytes[start..end]) } else { Reply::Line(line) };
    Some((found, end + 2))
}

fn two_numbers(text: &[u8]) -> Option<(u64, u64)> {
    let space = text.iter().position(|&byte| byte == b' ')?;
    Some((number(&text[..space])?, number(&text[space + 1..])?))
}

fn number(text: &[u8]) -> Option<u64> {
    let all_digits = !text.is_empty() && text.len() < 20 && text.iter().all(u8::is_ascii_digit);
    all_digits.then(|| text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
