//! What a line of a reply must look like: bytes, and places where a value is free.

use super::bytes;

/// A line of a reply as a transcript expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// These bytes.
    Literal(Vec<u8>),
    /// `<any>`: any bytes, none as well.
    Any,
    /// `<number>`: digits, one at least.
    Number,
    /// `<a..b>`: a number within the range, both ends included.
    Within(u64, u64),
}

impl Pattern {
    /// Reads `text`, in which `<any>`, `<number>` and `<a..b>` are free and all else is meant as
    /// [`bytes::decode`] reads it.
    ///
    /// # Errors
    ///
    /// A sentence about what is wrong in `text`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, wild)) = rest.split_once('<') {
            let (name, after) = wild.split_once('>').ok_or("a `<` without its `>`")?;
            if !before.is_empty() {
                pieces.push(Piece::Literal(bytes::decode(before)?));
            }
            pieces.push(Piece::named(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(bytes::decode(rest)?));
        }
        Ok(Self(pieces))
    }

    /// This pattern with `end` after it.
    pub(super) fn followed_by(mut self, end: &[u8]) -> Self {
        match self.0.last_mut() {
            Some(Piece::Literal(literal)) => literal.extend_from_slice(end),
            _ => self.0.push(Piece::Literal(end.to_vec())),
        }
        self
    }

    /// The exact bytes, if nothing is free.
    pub(super) fn exact(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [] => Some(&[]),
            [Piece::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    /// Whether `bytes` look like this.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        pieces_match(&self.0, bytes)
    }
}

impl Piece {
    fn named(name: &str) -> Result<Self, String> {
        if let Some((low, high)) = name.split_once("..") {
            let number = |text: &str| text.parse().map_err(|_| format!("<{name}> is no range"));
            return Ok(Self::Within(number(low)?, number(high)?));
        }
        match name {
            "any" => Ok(Self::Any),
            "number" => Ok(Self::Number),
            _ => Err(format!("<{name}> is unknown; write \\x3c for the byte")),
        }
    }

    fn takes(&self, bytes: &[u8]) -> bool {
        let number = || str::from_utf8(bytes).ok()?.parse::<u64>().ok();
        match self {
            Self::Literal(literal) => bytes == literal,
            Self::Any => true,
            Self::Number => number().is_some(),
            Self::Within(low, high) => number().is_some_and(|n| (*low..=*high).contains(&n)),
        }
    }
}

fn pieces_match(pieces: &[Piece], bytes: &[u8]) -> bool {
    match pieces {
        [] => bytes.is_empty(),
        [Piece::Literal(literal), rest @ ..] => {
            bytes.strip_prefix(literal.as_slice()).is_some_and(|after| pieces_match(rest, after))
        }
        [free, rest @ ..] => (0..=bytes.len())
            .any(|length| free.takes(&bytes[..length]) && pieces_match(rest, &bytes[length..])),
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn free_places_take_what_they_name_and_nothing_else() {
        let cases: [(&str, &str, bool); 9] = [
            ("pid: <number>", "pid: 12", true),
            ("pid: <number>", "pid: 12x", false),
            ("pid: <number>", "pid: ", false),
            ("os: \"<any>\"", "os: \"#1 SMP\"", true),
            ("os: \"<any>\"", "os: #1 SMP", false),
            ("left: <98..99>", "left: 99", true),
            ("left: <98..99>", "left: 100", false),
            ("plain", "plain", true),
            ("plain", "plainer", false),
        ];
        for (pattern, text, expected) in cases {
            let matches = Pattern::parse(pattern).unwrap().matches(text.as_bytes());
            assert_eq!(matches, expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn a_misspelt_place_is_refused() {
        for text in ["<numbr>", "<1..>", "<any"] {
            assert!(Pattern::parse(text).is_err(), "{text} was taken");
        }
    }
}
