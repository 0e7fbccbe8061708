//! A share of the flows, in basis points.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// A share of the flows: 0 to 10 000 basis points, where 10 000 are all. Written `5%`, `0.25%`, `100%`.
///
/// A flow's bucket is its sticky hash modulo 10 000, so a share only ever adds flows when it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u16);

impl Share {
    /// Every flow.
    pub const ALL: Self = Self(10_000);
    /// No flow.
    pub const NONE: Self = Self(0);

    /// A share of so many basis points; `None` above 10 000.
    pub const fn from_basis_points(points: u16) -> Option<Self> {
        if points <= 10_000 { Some(Self(points)) } else { None }
    }

    /// The share in basis points, 0 to 10 000.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// Whether every flow is meant.
    pub const fn is_all(self) -> bool {
        self.0 == 10_000
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        // `pad` keeps a column's width in tables.
        match (rest, rest % 10) {
            (0, _) => f.pad(&format!("{whole}%")),
            (_, 0) => f.pad(&format!("{whole}.{}%", rest / 10)),
            _ => f.pad(&format!("{whole}.{rest:02}%")),
        }
    }
}

impl FromStr for Share {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse =
            |cause: &str| Problem::new(text, cause, "write a percentage from 0% to 100%, for example 5% or 0.25%");
        let number = text.trim().strip_suffix('%').ok_or_else(|| refuse("a share ends with %"))?;
        let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || !whole.bytes().chain(rest.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(refuse("this is not a percentage"));
        }
        if rest.len() > 2 {
            return Err(refuse("a share has at most two digits after the point"));
        }
        let whole: u16 = whole.parse().map_err(|_| refuse("this is more than 100%"))?;
        let hundredths: u16 = format!("{rest:0<2}").parse().map_err(|_| refuse("this is not a percentage"))?;
        let points = whole.checked_mul(100).and_then(|points| points.checked_add(hundredths));
        points.and_then(Self::from_basis_points).ok_or_else(|| refuse("this is more than 100%"))
    }
}

crate::name::as_text!(Share);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_reads_back_from_its_text() {
        for points in 0..=10_000 {
            let share = Share::from_basis_points(points).expect("at most 10 000");
            assert_eq!(share.to_string().parse::<Share>(), Ok(share));
        }
        assert_eq!(Share::from_basis_points(10_001), None);
    }

    #[test]
    fn shares_are_written_as_people_do() {
        let cases =
            [("5%", 500), ("0.25%", 25), ("0.5%", 50), ("100%", 10_000), ("100.00%", 10_000), (" 7% ", 700), ("0%", 0)];
        for (text, points) in cases {
            assert_eq!(text.parse::<Share>().map(Share::basis_points), Ok(points), "{text}");
        }
        for text in ["", "5", "%", "-1%", "101%", "100.01%", "1.234%", "1e2%", "99999999999%", "٣%", ".5%", "5%%"] {
            let problem = text.parse::<Share>().expect_err(text);
            assert!(problem.cure.contains('%') && !problem.cause.is_empty(), "{problem}");
        }
    }
}
