//! `fractional`, third generation: which share of the keys gets which variant.
//!
//! The hash of the bucketing value's canonical CBOR is scaled to the sum of the weights: `(hash * sum) >> 32`. The
//! value is what stands first, or `[flagKey, targetingKey]` where shares stand first.

use crate::cbor;
use crate::error::FlagError;
use crate::item::{Item, List};
use crate::murmur3::murmur3_x86_32;
use crate::rule::Rule;
use crate::run::{Run, Stop};

/// Sum of the weights at most.
const WEIGHTS: i128 = i32::MAX as i128;

/// Refuses shares that could never work, as far as they are written out.
pub(crate) fn check(args: &[Rule]) -> Result<(), FlagError> {
    let first_is_share = matches!(args.first(), Some(Rule::List(_)));
    let shares = if first_is_share { args } else { args.get(1..).unwrap_or_default() };
    if shares.is_empty() {
        return Err(FlagError::new("fractional", "it has no shares", "write [\"variant\", weight] for each share"));
    }
    let mut sum = 0;
    for share in shares {
        let parts = match share {
            Rule::List(parts) if matches!(parts.len(), 1 | 2) => parts,
            Rule::List(_) | Rule::Literal(_) => {
                return Err(FlagError::new(share.shown(), "this is not a share", "write [\"variant\", weight]"));
            }
            Rule::Call(..) | Rule::Shared(_) => continue,
        };
        sum += match parts.get(1) {
            None => 1,
            Some(Rule::Literal(weight)) => {
                Some(Item::from(weight)).as_ref().and_then(weight_of).filter(|it| *it >= 0).ok_or_else(|| {
                    FlagError::new(weight.to_string(), "this is not a weight", "write a whole number from 0")
                })?
            }
            Some(_) => 0,
        };
    }
    if sum > WEIGHTS {
        let cause = format!("the weights together are more than {WEIGHTS}");
        return Err(FlagError::new(sum.to_string(), cause, "write smaller weights in the same proportion"));
    }
    Ok(())
}

/// A weight as it is written; less than nothing is possible.
fn weight_of(item: &Item<'_>) -> Option<i128> {
    match item {
        Item::Number(number) => number.whole(),
        _ => None,
    }
}

/// The variant of the bucket; null where there is no key, or a share is none.
pub(crate) fn evaluate<'a>(args: &[Item<'a>], run: &mut Run<'a>) -> Result<Item<'a>, Stop> {
    let Some(first) = args.first() else { return Ok(Item::Null) };
    let (by, shares) = if first.length().is_none() {
        (first.clone(), &args[1..])
    } else {
        let Some(key) = run.root().child("targetingKey").filter(|key| key.as_text().is_some_and(|key| !key.is_empty()))
        else {
            return Ok(Item::Null);
        };
        let flag = run.root().child("$flagd").and_then(|own| own.child("flagKey")).unwrap_or(Item::Text(""));
        (Item::List(List { items: vec![flag, key], depth: 1 }.into()), args)
    };
    if matches!(by, Item::Null) {
        return Ok(Item::Null);
    }
    let mut sum = 0;
    let mut weighted = Vec::with_capacity(shares.len());
    for share in shares {
        run.charge(1)?;
        let weight = match share.length() {
            Some(1) => Some(1),
            Some(2) => share.element(1).as_ref().and_then(weight_of),
            _ => None,
        };
        let (Some(weight), Some(variant)) = (weight, share.element(0)) else { return Ok(Item::Null) };
        // A weight that was calculated may fall below nothing; then it is nothing.
        sum += weight.clamp(0, WEIGHTS + 1);
        weighted.push((sum, variant));
    }
    if sum <= 0 || sum > WEIGHTS {
        return Ok(Item::Null);
    }
    let mut bytes = Vec::new();
    cbor::write(&by, &mut bytes, &mut |length| run.charge(1 + length / 64))?;
    let bucket = (i128::from(murmur3_x86_32(&bytes)) * sum) >> 32;
    Ok(weighted.into_iter().find(|(end, _)| bucket < *end).map_or(Item::Null, |(_, variant)| variant))
}
