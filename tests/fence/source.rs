//! A source file as the rules see it: the paths its code names.

/// What was read of one file.
pub(super) struct Source {
    /// From the root of the repository.
    pub(super) path: String,
    /// All of them, also comments and blank ones.
    pub(super) lines: usize,
    /// Every path of the code: `std::fs::File`, and each branch of `use std::{fs, io}`.
    pub(super) paths: Vec<String>,
    /// Those outside of tests.
    pub(super) product_paths: Vec<String>,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = without_comments_and_strings(text);
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        // Tests stand last in a file (STYLE), so that all after the attribute is theirs.
        let ends = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"];
        let product = match ends.iter().find_map(|end| code.find(end)) {
            _ if is_test => "",
            Some(end) => &code[..end],
            None => &code,
        };
        let depth = module_depth(path);
        let absolute = |code: &str| paths(code).iter().map(|path| from_root(path, depth)).collect();
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            paths: absolute(&code),
            product_paths: absolute(product),
        }
    }
}

/// How far below its crate's root the module of a file is.
fn module_depth(path: &str) -> usize {
    let below = path.split_once("src/").map_or(path, |(_, below)| below);
    let is_folders_own = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| below.ends_with(name));
    below.split('/').count() - usize::from(is_folders_own)
}

/// Writes a path that climbs to the root of the crate as one from there. A module inside a file
/// climbs one more and is not seen through.
fn from_root(path: &str, depth: usize) -> String {
    let rest = path.trim_start_matches("super::");
    let climbs = (path.len() - rest.len()) / "super::".len();
    if climbs > 0 && climbs >= depth { format!("crate::{rest}") } else { path.to_owned() }
}

/// Blanks out comments, strings and characters.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = skipped_bytes(rest, code.chars().last());
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    code
}

/// How much at the front of `rest` is no code.
fn skipped_bytes(rest: &str, before: Option<char>) -> usize {
    let to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at);
    if rest.starts_with("//") {
        return to("\n", 2);
    }
    if rest.starts_with("/*") {
        return rest.len().min(to("*/", 2) + 2);
    }
    let is_in_word = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !is_in_word || before == Some('b')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return rest.len().min(to(&end, hashes + 2) + end.len());
        }
    }
    match rest.as_bytes()[0] {
        b'"' => end_of_quoted(rest, '"'),
        // A lifetime has no second quote where a character has one.
        b'\'' if rest[1..].starts_with('\\') => end_of_quoted(rest, '\''),
        b'\'' => match rest.char_indices().nth(2) {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        _ => 0,
    }
}

fn end_of_quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, next) in rest.char_indices().skip(1) {
        match next {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if next == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// All paths of two or more words, those of a group each on its own.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let words = words(code);
    let mut at = 0;
    while at < words.len() {
        let end = path(&words, at, "", &mut paths);
        at = end.max(at + 1);
    }
    paths
}

/// Names, `::`, and all else one by one.
fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match name {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            _ => name,
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    words
}

/// Reads the path that begins at `at` behind `prefix`. Returns where it ends.
fn path(words: &[&str], mut at: usize, prefix: &str, paths: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    while let Some(name) = words.get(at).filter(|word| is_name(word)) {
        path.push_str(name);
        at += 1;
        if words.get(at) != Some(&"::") {
            break;
        }
        path.push_str("::");
        at += 1;
    }
    if path.ends_with("::") && words.get(at) == Some(&"{") {
        at += 1;
        while words.get(at).is_some_and(|word| *word != "}") {
            at = self::path(words, at, &path, paths).max(at + 1);
        }
        return at + 1;
    }
    if path.contains("::") {
        paths.push(path.trim_end_matches("::").to_owned());
    }
    at
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}
