//! `weir flag set`: what changes of a flag.

use clap::Args;
use weir_appliance_control::config::{FlagState, FlagStep, VariantSpec};
use weir_appliance_control::matching::MatchExpression;
use weir_appliance_control::message::{FlagChange, Request};
use weir_appliance_control::name::FlagName;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::share::Share;
use weir_appliance_control::taker::FeatureName;

use crate::answer::Ask;
use crate::config::MannerArgs;

/// What changes of a flag; what is not named stays.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// The flag's name.
    pub name: FlagName,
    /// Turn it on.
    #[arg(long, conflicts_with = "off")]
    pub on: bool,
    /// Turn it off.
    #[arg(long)]
    pub off: bool,
    /// Which share of the flows it has; a share that grows moves no flow away.
    #[arg(long)]
    pub share: Option<Share>,
    /// Who takes its flows; several with commas.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', conflicts_with = "variant")]
    pub to: Vec<FeatureName>,
    /// Of which flows, as in weir steer add.
    #[arg(long = "match", value_name = "MATCH")]
    pub matches: Option<MatchExpression>,
    /// Flags without which it does nothing; several with commas.
    #[arg(long, value_name = "FLAG", value_delimiter = ',')]
    pub requires: Vec<FlagName>,
    /// It requires no flag any more.
    #[arg(long, conflicts_with = "requires")]
    pub requires_none: bool,
    /// A variant, NAME=WEIGHT or NAME=WEIGHT:FEATURE,FEATURE; to be given several times, all variants at once.
    #[arg(long, value_name = "VARIANT", value_parser = variant)]
    pub variant: Vec<VariantSpec>,
    /// A planned change of the share, TIME=SHARE such as 2026-12-01T06:00:00Z=25%; all steps at once.
    #[arg(long, value_name = "STEP", value_parser = step)]
    pub step: Vec<FlagStep>,
    /// No change of the share is planned any more.
    #[arg(long, conflicts_with = "step")]
    pub no_steps: bool,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

pub(super) fn variant(text: &str) -> Result<VariantSpec, Problem> {
    let refuse = |cause: &str| Problem::new(text, cause, "write one as control=1 or candidate=1:streaming");
    let (name, rest) = text.split_once('=').ok_or_else(|| refuse("a variant has a name and a weight"))?;
    let (weight, to) = rest.split_once(':').unwrap_or((rest, ""));
    let weight = weight.parse().map_err(|_| refuse("its weight is no whole number"))?;
    let to: Result<Vec<FeatureName>, Problem> = to.split(',').filter(|name| !name.is_empty()).map(str::parse).collect();
    Ok(VariantSpec { name: name.parse()?, to: to?, weight })
}

pub(super) fn step(text: &str) -> Result<FlagStep, Problem> {
    let cure = "write one as 2026-12-01T06:00:00Z=25%";
    let (at, share) = text.split_once('=').ok_or_else(|| Problem::new(text, "a step has a time and a share", cure))?;
    Ok(FlagStep { at: at.parse()?, share: share.parse()? })
}

impl SetArgs {
    /// What is asked of the running weir.
    pub fn request(&self) -> Request {
        let given = |list: &[FlagName]| (!list.is_empty()).then(|| list.to_vec());
        let change = FlagChange {
            state: match (self.on, self.off) {
                (true, _) => Some(FlagState::On),
                (_, true) => Some(FlagState::Off),
                _ => None,
            },
            to: (!self.to.is_empty()).then(|| self.to.clone()),
            share: self.share,
            matches: self.matches,
            requires: if self.requires_none { Some(Vec::new()) } else { given(&self.requires) },
            variants: (!self.variant.is_empty()).then(|| self.variant.clone()),
            schedule: (self.no_steps || !self.step.is_empty()).then(|| self.step.clone()),
        };
        Request::FlagSet { name: self.name.clone(), change }
    }
}
