//! Sums, and how a refusal writes them.

use super::Refused;

/// What is added up.
pub(super) enum Unit<'a> {
    Cores(&'a str),
    Memory,
    Share(&'a str),
}

/// The sum of what is asked in so many words, if there is so much.
pub(super) fn within<'a>(
    asks: impl Iterator<Item = (&'a str, Option<u64>)>,
    there: u64,
    unit: Unit<'_>,
) -> Result<u64, Refused> {
    let asked: Vec<(&str, u64)> = asks.filter_map(|(feature, asked)| Some((feature, asked?))).collect();
    let sum = asked.iter().fold(0_u64, |sum, (_, asked)| sum.saturating_add(*asked));
    if sum <= there {
        return Ok(sum);
    }
    let number = |value: u64| match unit {
        Unit::Cores(_) => value.to_string(),
        Unit::Memory => bytes(value),
        Unit::Share(_) => percent(value),
    };
    let some: Vec<&(&str, u64)> = asked.iter().filter(|(_, asked)| *asked > 0).collect();
    let terms: Vec<String> = some.iter().map(|(_, asked)| number(*asked)).collect();
    let sum = if terms.len() > 1 { format!("{} = {}", terms.join(" + "), number(sum)) } else { number(sum) };
    let (value, cause, key) = match unit {
        Unit::Cores(role) => (format!("{sum} {role} cores"), format!("this machine has {there}"), role.to_owned()),
        Unit::Memory => {
            (format!("{sum} of memory"), format!("features may have {}", number(there)), "memory".to_owned())
        }
        Unit::Share(name) => (format!("{sum} of {name}"), "there is 100%".to_owned(), "share".to_owned()),
    };
    let names: Vec<&str> = some.iter().map(|(feature, _)| *feature).collect();
    let who = match names.as_slice() {
        [one] => format!("{one} asks"),
        all => format!("{} together ask", all.join(", ")),
    };
    let cause = format!("{who} for more than there is: {cause}");
    Err(Refused { value, cause, cure: format!("lower `{key}` of {}, or disable a feature", names.join(" or ")) })
}

/// Bytes in the unit that a person would write: `512 MiB`, `32 GiB`.
pub fn bytes(value: u64) -> String {
    match (value >> 30, value & ((1 << 30) - 1)) {
        (gib, 0) if gib > 0 => format!("{gib} GiB"),
        _ => format!("{} MiB", value >> 20),
    }
}

/// Basis points as a percentage.
fn percent(points: u64) -> String {
    match points % 100 {
        0 => format!("{}%", points / 100),
        rest => format!("{}.{rest:02}%", points / 100),
    }
}
