//! Reading Rust source just far enough: comments and strings taken out, words found, modules followed.

/// The source with comments and the contents of strings and characters replaced by spaces. Lines keep their places.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = skipped(bytes, at);
        let Some(length) = length else {
            out.push(bytes[at]);
            at += 1;
            continue;
        };
        let part = &bytes[at..(at + length).min(bytes.len())];
        out.extend(part.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        at += length;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Length of the comment, string or character that starts here.
fn skipped(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let inside_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment(rest)),
        [b'"', ..] => Some(string(rest)),
        [b'r', b'"' | b'#', ..] if !inside_word => raw_string(&rest[1..]).map(|length| length + 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !inside_word => raw_string(&rest[2..]).map(|length| length + 2),
        // A character, not a lifetime: it is closed after one letter or an escape.
        [b'\'', b'\\', ..] => rest[2..].iter().skip(1).position(|byte| *byte == b'\'').map(|end| end + 4),
        [b'\'', ..] => {
            let length = rest.get(1).map(|first| first.leading_ones().max(1) as usize)?;
            (rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
        }
        _ => None,
    }
}

fn block_comment(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// A raw string from its first `#` or quote; `None` for a raw identifier.
fn raw_string(bytes: &[u8]) -> Option<usize> {
    let hashes = bytes.iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = &bytes[hashes + 1..];
    let length = body.windows(end.len()).position(|part| part == end).unwrap_or(body.len());
    Some((hashes + 1 + length + end.len()).min(bytes.len()))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `word` stands as a word of its own in blanked code.
pub(crate) fn words(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let alone = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let after = bytes.get(at + word.len());
        !before.is_some_and(|byte| is_word(*byte)) && !after.is_some_and(|byte| is_word(*byte))
    };
    code.match_indices(word).map(|(at, _)| at).filter(|at| alone(*at)).collect()
}

/// Line number, from 0, of a place in a text.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Modules declared in other files: the path given by an attribute, if any, and the name.
pub(crate) fn modules(text: &str) -> Vec<(Option<String>, String)> {
    let code = blank(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for at in words(&code, "mod") {
        let rest = code[at + 3..].trim_start();
        let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        if name.is_empty() || !rest[name.len()..].trim_start().starts_with(';') {
            continue;
        }
        let line = line_of(&code, at);
        let attributes = lines[..line].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        let path = attributes.chain([&lines[line]]).find_map(|line| {
            let value = line.split_once("#[path")?.1;
            value.split('"').nth(1).map(str::to_owned)
        });
        found.push((path, name));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_taken_out() {
        let text =
            "a // unsafe\nb /* unsafe /* x */ y */ c \"unsafe \\\" d\" e r#\"un\"safe\"# 'u' '\\'' '\\u{1f}' 'a: f";
        let code = blank(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "e", "'a:", "f"]);
        assert_eq!(code.lines().count(), 2);
        assert_eq!(code.len(), text.len());
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe_code unsafe reunsafe (unsafe)", "unsafe"), [12, 29]);
    }

    #[test]
    fn modules_in_other_files_are_listed() {
        let text = "pub(crate) mod one;\n#[cfg(test)]\n#[path = \"else/where.rs\"]\nmod two;\nmod here { mod_x; }\n// mod no;\n";
        let found = modules(text);
        assert_eq!(found, [(None, "one".to_owned()), (Some("else/where.rs".to_owned()), "two".to_owned())]);
    }
}
