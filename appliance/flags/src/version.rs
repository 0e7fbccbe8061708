//! `sem_ver`: comparison of semantic versions as flagd does it.

use std::cmp::Ordering;

use semver::Version;

/// The operators, as they are written.
pub(crate) const OPERATORS: [&str; 8] = ["=", "!=", "<", "<=", ">", ">=", "^", "~"];

/// A version: a `v` may stand in front, and what is missing of `major.minor.patch` is zero.
pub(crate) fn parse(text: &str) -> Option<Version> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let missing = 2_usize.saturating_sub(numbers.matches('.').count());
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

/// Whether `one OPERATOR two`; none for an operator that is not one. Build metadata says nothing about precedence.
pub(crate) fn compare(one: &Version, operator: &str, two: &Version) -> Option<bool> {
    let order = one.cmp_precedence(two);
    Some(match operator {
        "=" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        "^" => one.major == two.major,
        "~" => one.major == two.major && one.minor == two.minor,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_marked_versions_are_versions() {
        for (text, full) in
            [("1", "1.0.0"), ("v1.2", "1.2.0"), ("V1-rc.1", "1.0.0-rc.1"), ("1.2+b", "1.2.0+b"), ("1.2.3", "1.2.3")]
        {
            assert_eq!(parse(text).map(|version| version.to_string()).as_deref(), Some(full));
        }
        for text in ["", "v", "1.2.3.4", "01.2.3", "a", "1.2.-3", "vv1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn build_metadata_does_not_count() {
        let both = |one, two| compare(&parse(one).expect("one"), "=", &parse(two).expect("two"));
        assert_eq!(both("1.0.0+a", "1.0.0+b"), Some(true));
        assert_eq!(both("1.0.0-a", "1.0.0"), Some(false));
    }
}
