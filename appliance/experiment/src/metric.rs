//! What can be guarded: each metric with the way in which it is better, and what is tolerated unless somebody says otherwise.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::spec::Refusal;

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// A metric that the box measures of each arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Frames that features have finished, of those that were to reach them.
    Throughput,
    /// Frames that were to reach a feature and were dropped at its ring, as a share of them.
    Lost,
    /// Median of the time from the classifier to the feature.
    LatencyP50,
    /// 99th percentile of that time.
    LatencyP99,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 4] = [Self::Throughput, Self::Lost, Self::LatencyP50, Self::LatencyP99];

    /// The word on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Lost => "lost",
            Self::LatencyP50 => "latency_p50",
            Self::LatencyP99 => "latency_p99",
        }
    }

    /// Which way it is better.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Throughput => Direction::Higher,
            Self::Lost | Self::LatencyP50 | Self::LatencyP99 => Direction::Lower,
        }
    }

    /// What a candidate may lose unless the guardrail says otherwise, in millionths: 1 % of throughput, 5 % of a latency, and
    /// of the frames one in a thousand.
    #[must_use]
    pub const fn tolerance_ppm(self) -> u32 {
        match self {
            Self::Throughput => 10_000,
            Self::Lost => 1_000,
            Self::LatencyP50 | Self::LatencyP99 => 50_000,
        }
    }

    /// Whether it is a time that frames carry with them, so that they must be stamped.
    #[must_use]
    pub const fn is_latency(self) -> bool {
        matches!(self, Self::LatencyP50 | Self::LatencyP99)
    }

    /// Frames that a slice must have for the metric to mean something: a percentile wants some beyond it.
    #[must_use]
    pub const fn least_frames(self) -> u64 {
        match self {
            Self::Throughput | Self::Lost => 1,
            Self::LatencyP50 => 20,
            Self::LatencyP99 => 100,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Metric {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|metric| metric.as_str()).collect();
            Refusal::new(text, "no metric has this name", format!("name one of these: {}", known.join(", ")))
        })
    }
}
