//! What an interface's card is told: how many queues, which flows go where, who answers and who polls.
//!
//! Everything is kept as the host has it unless the file says otherwise.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::build::{optional, typed};
use super::raw::{self, Text};
use super::rooms::words;
use super::{ConfigError, CoreSet, MAX_QUEUES, Queues};
use crate::name::{number, number_within};
use crate::problem::Problem;

/// Microseconds that a wait may poll before it sleeps.
pub(super) const POLL_US: RangeInclusive<u32> = 1..=10_000;
/// Frames of one round of polling; the kernel's own round is 64.
pub(super) const BUDGET: RangeInclusive<u32> = 1..=1024;
/// Empty polls before interrupts are enabled again.
pub(super) const DEFERRED: RangeInclusive<u32> = 0..=1000;
/// Microseconds before a card that nobody polls is looked at: longer would be seen as an outage.
pub(super) const FLUSH_US: RangeInclusive<u32> = 0..=100_000;

words! {
    /// What a refused setting means.
    #[derive(Default)]
    Strength, "a strength" {
        /// It is said, and weir runs without it.
        #[default]
        Prefer = "prefer",
        /// Weir does not start.
        Require = "require",
    }
}

words! {
    /// Which flows go to which queue.
    #[derive(Default)]
    Spread, "a way to spread flows" {
        /// As the card has it.
        #[default]
        Keep = "keep",
        /// Evenly over the queues in use.
        Even = "spread",
    }
}

words! {
    /// A switch of the card.
    #[derive(Default)]
    Switch, "a switch" {
        /// As it is.
        #[default]
        Keep = "keep",
        /// On.
        On = "on",
        /// Off.
        Off = "off",
    }
}

/// How many receive queues the card shall have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelWish {
    /// As many as it has.
    #[default]
    Keep,
    /// As many as it can have, at most [`MAX_QUEUES`].
    Most,
    /// So many.
    Count(u32),
}

impl fmt::Display for ChannelWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.pad("keep"),
            Self::Most => f.pad("all"),
            Self::Count(count) => f.pad(&count.to_string()),
        }
    }
}

impl FromStr for ChannelWish {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = || {
            Problem::new(text, format!("channels is `keep`, `all` or a number from 1 to {MAX_QUEUES}"), "write keep")
        };
        match text {
            "keep" => Ok(Self::Keep),
            "all" => Ok(Self::Most),
            _ => {
                let count = number(text, "the number of channels").map_err(|_| refuse())?;
                if (1..=MAX_QUEUES).contains(&count) { Ok(Self::Count(count)) } else { Err(refuse()) }
            }
        }
    }
}

/// Which CPUs a part of the card's work runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CpuWish {
    /// As the host has it.
    #[default]
    Keep,
    /// The critical cores, in turn.
    Auto,
    /// These, in turn.
    List(Vec<u32>),
}

impl fmt::Display for CpuWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.pad("keep"),
            Self::Auto => f.pad("auto"),
            Self::List(cores) => CoreSet::List(cores.clone()).fmt(f),
        }
    }
}

impl FromStr for CpuWish {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text == "keep" {
            return Ok(Self::Keep);
        }
        let cure = "write keep, auto, or cores such as \"0\" or \"0,2-3\"";
        let set: CoreSet = text.parse().map_err(|problem: Problem| Problem { cure: cure.to_owned(), ..problem })?;
        Ok(match set {
            CoreSet::Auto => Self::Auto,
            CoreSet::List(cores) => Self::List(cores),
        })
    }
}

/// Busy polling: who waits for frames polls the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPollSpec {
    /// Microseconds that a wait polls before it sleeps (default 50).
    pub usecs: u32,
    /// Frames of one round (default 64).
    pub budget: u32,
    /// Empty polls before interrupts are enabled again (default 2).
    pub defer_hard_irqs: u32,
    /// Microseconds before a card that nobody polls is looked at (default 200).
    pub flush_timeout_us: u32,
}

impl Default for BusyPollSpec {
    fn default() -> Self {
        Self { usecs: 50, budget: 64, defer_hard_irqs: 2, flush_timeout_us: 200 }
    }
}

impl fmt::Display for BusyPollSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { usecs, budget, defer_hard_irqs, flush_timeout_us } = self;
        write!(
            f,
            "{{usecs: {usecs}, budget: {budget}, defer_hard_irqs: {defer_hard_irqs}, \
             flush_timeout_us: {flush_timeout_us}}}"
        )
    }
}

/// What an interface's card is told. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementSpec {
    /// What a refused setting means.
    pub strength: Strength,
    /// Receive queues of the card.
    pub channels: ChannelWish,
    /// Which flows go to which queue.
    pub rss: Spread,
    /// CPUs that answer the queues' interrupts.
    pub irqs: CpuWish,
    /// Whether threads poll the queues instead of interrupts.
    pub threaded_napi: Switch,
    /// CPUs of those threads.
    pub napi_cores: CpuWish,
    /// Busy polling, if there shall be.
    pub busy_poll: Option<BusyPollSpec>,
}

/// `{channels: 4, rss: spread}`: what differs from the default, as it is written.
impl fmt::Display for PlacementSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { strength, channels, rss, irqs, threaded_napi, napi_cores, busy_poll } = self;
        let mut parts = Vec::new();
        let mut part = |key: &str, value: String, plain: bool| {
            if !plain {
                parts.push(format!("{key}: {value}"));
            }
        };
        let cpus =
            |wish: &CpuWish| if matches!(wish, CpuWish::List(_)) { format!("\"{wish}\"") } else { wish.to_string() };
        part("strength", strength.to_string(), *strength == Strength::default());
        part("channels", channels.to_string(), *channels == ChannelWish::default());
        part("rss", rss.to_string(), *rss == Spread::default());
        part("irqs", cpus(irqs), *irqs == CpuWish::default());
        part("threaded_napi", format!("\"{threaded_napi}\""), *threaded_napi == Switch::default());
        part("napi_cores", cpus(napi_cores), *napi_cores == CpuWish::default());
        part("busy_poll", busy_poll.map(|poll| poll.to_string()).unwrap_or_default(), busy_poll.is_none());
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// Types the placement of an interface, of which `queues` are used.
pub(super) fn placement(item: &Spanned<raw::Placement>, queues: Queues) -> Result<PlacementSpec, ConfigError> {
    let raw = &item.value;
    let spec = PlacementSpec {
        strength: optional(raw.strength.as_ref())?.unwrap_or_default(),
        channels: optional(raw.channels.as_ref())?.unwrap_or_default(),
        rss: optional(raw.rss.as_ref())?.unwrap_or_default(),
        irqs: optional(raw.irqs.as_ref())?.unwrap_or_default(),
        threaded_napi: optional(raw.threaded_napi.as_ref())?.unwrap_or_default(),
        napi_cores: optional(raw.napi_cores.as_ref())?.unwrap_or_default(),
        busy_poll: raw.busy_poll.as_ref().map(busy_poll).transpose()?,
    };
    let refuse = |text: &Option<Text>, value: String, cause: String, cure: &str| {
        let place = text.as_ref().map_or(item.referenced, |text| text.referenced);
        Err(ConfigError::at(place, Problem::new(value, cause, cure)))
    };
    if let (ChannelWish::Count(channels), Queues::First(used)) = (spec.channels, queues)
        && channels < used
    {
        let cause = format!("the card would have fewer queues than the {used} that are used");
        return refuse(&raw.channels, channels.to_string(), cause, "raise it, or lower `queues`");
    }
    if spec.threaded_napi == Switch::Off && spec.napi_cores != CpuWish::Keep {
        let cause = "there are no threads to place with threaded_napi: off".to_owned();
        return refuse(&raw.napi_cores, spec.napi_cores.to_string(), cause, "remove it, or write threaded_napi: on");
    }
    Ok(spec)
}

fn busy_poll(raw: &raw::BusyPoll) -> Result<BusyPollSpec, ConfigError> {
    let default = BusyPollSpec::default();
    let within = |text: &Option<Text>, default: u32, what: &str, range: RangeInclusive<u32>| {
        let read = |text: &str| number_within(text, what, &range, format!("write {default}"));
        text.as_ref().map_or(Ok(default), |text| typed(text, read))
    };
    Ok(BusyPollSpec {
        usecs: within(&raw.usecs, default.usecs, "the time that a wait polls in us", POLL_US)?,
        budget: within(&raw.budget, default.budget, "the number of frames of a round", BUDGET)?,
        defer_hard_irqs: within(&raw.defer_hard_irqs, default.defer_hard_irqs, "the number of empty polls", DEFERRED)?,
        flush_timeout_us: within(&raw.flush_timeout_us, default.flush_timeout_us, "the flush timeout in us", FLUSH_US)?,
    })
}
