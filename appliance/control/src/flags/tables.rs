//! Flags to tables: for every combination of matches that a flow can have, who takes which bucket.

use weir_ebpf_abi::layout::BUCKETS;
use weir_ebpf_abi::rules::Match;

use super::{Resolved, note, resolve, variant};
use crate::config::FlagSpec;
use crate::management;
use crate::taker::TakerSet;

/// Who takes the flows that match, by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakerTable {
    /// Which flows; everything for those that no other table matches.
    pub matches: Match,
    /// Takers by bucket, of which there are [`BUCKETS`]; nobody where the set is empty.
    pub takers: Vec<TakerSet>,
}

/// One flag that works.
struct Working<'a> {
    flag: &'a FlagSpec,
    share: u16,
    matches: Match,
}

impl<'a> Working<'a> {
    fn of(one: Resolved<'a>) -> Option<Self> {
        let Resolved { flag, standing, matches } = one;
        let share = standing.share().basis_points();
        (share > 0).then_some(Self { flag, share, matches: matches? })
    }
}

/// The tables of `flags`, which [`super::judge`] has admitted: the first whose match a flow has decides. A table for the
/// frames that match several flags stands before those for fewer, so it is the one that has all that match. Connections to
/// `ports`, the management's, are nobody's, nor is that by which the box is found.
pub fn tables(flags: &[FlagSpec], ports: &[u16]) -> Vec<TakerTable> {
    let working: Vec<Working<'_>> = resolve(flags).into_iter().filter_map(Working::of).collect();
    let mut different = Vec::new();
    working.iter().for_each(|one| note(&mut different, one.matches));
    let mut combinations: Vec<u32> = (0..1 << different.len()).collect();
    combinations.sort_by_key(|combination: &u32| std::cmp::Reverse(combination.count_ones()));
    let all = combinations.into_iter().filter_map(|combination| table(&working, &different, combination));
    let mut tables: Vec<TakerTable> = all.collect();
    let met = |kept: &Match| tables.iter().any(|table| table.matches.both(kept).is_some());
    let kept: Vec<Match> = management::kept(ports).filter(met).collect();
    let nobody = kept.into_iter().map(|matches| TakerTable { matches, takers: vec![TakerSet::EMPTY; BUCKETS] });
    tables.splice(0..0, nobody);
    tables
}

/// The table of flows that have these of the matches, as bits; none if no flow can.
fn table(working: &[Working<'_>], different: &[Match], combination: u32) -> Option<TakerTable> {
    let chosen = |place: usize| combination >> place & 1 != 0;
    let has = |wanted: &Match| {
        *wanted == Match::default() || different.iter().position(|one| one == wanted).is_some_and(chosen)
    };
    let all = different.iter().enumerate().filter(|(place, _)| chosen(*place));
    let matches = all.map(|(_, one)| one).try_fold(Match::default(), |both, one| both.both(one))?;
    let mut takers = vec![TakerSet::EMPTY; BUCKETS];
    for Working { flag, share, .. } in working.iter().filter(|one| has(&one.matches)) {
        for (bucket, set) in (0..*share).zip(&mut takers) {
            let to = variant(flag, bucket).map_or(&flag.to, |variant| &variant.to);
            *set = set.union(to.iter().copied().collect::<TakerSet>());
        }
    }
    let is_idle = combination == 0 && takers.iter().all(|set| *set == TakerSet::EMPTY);
    (!is_idle).then_some(TakerTable { matches, takers })
}
