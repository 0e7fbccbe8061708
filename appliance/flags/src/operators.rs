//! Operators whose arguments all have their values: what JSON Logic and flagd say of each.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::fractional;
use crate::item::{Item, Number};
use crate::rule::Operator;
use crate::run::{Run, Scope, Stop};
use crate::version;

type Answer<'a> = Result<Item<'a>, Stop>;

/// The operator's value.
pub(crate) fn apply<'a>(op: Operator, args: &[Item<'a>], scope: Scope<'_, 'a>, run: &mut Run<'a>) -> Answer<'a> {
    let at = |place: usize| args.get(place).unwrap_or(&Item::Null);
    Ok(match op {
        Operator::Var => return variable(args, scope, run),
        Operator::Missing => {
            return missing(at(0).length().map_or(args.to_vec(), |_| at(0).elements().collect()), scope, run);
        }
        Operator::MissingSome => return missing_some(at(0), at(1), scope, run),
        Operator::Not => Item::Bool(!at(0).holds()),
        Operator::Truth => Item::Bool(at(0).holds()),
        Operator::Equal => Item::Bool(equal(at(0), at(1), run)?),
        Operator::NotEqual => Item::Bool(!equal(at(0), at(1), run)?),
        Operator::Same => Item::Bool(same(at(0), at(1), run)?),
        Operator::NotSame => Item::Bool(!same(at(0), at(1), run)?),
        Operator::Less => ordered(args, run, Ordering::is_lt)?,
        Operator::LessOrEqual => ordered(args, run, Ordering::is_le)?,
        Operator::Greater => ordered(args, run, Ordering::is_gt)?,
        Operator::GreaterOrEqual => ordered(args, run, Ordering::is_ge)?,
        Operator::Add | Operator::Multiply | Operator::Least | Operator::Most => Item::Number(fold(op, args)),
        Operator::Subtract if args.len() == 1 => Item::Number(subtract(Number::Int(0), at(0).number())),
        Operator::Subtract => Item::Number(subtract(at(0).number(), at(1).number())),
        Operator::Divide => Item::Number(divide(at(0).number(), at(1).number())),
        Operator::Remainder => {
            Item::Number(at(0).number().with(at(1).number(), i128::checked_rem, |one, two| one % two))
        }
        Operator::In => Item::Bool(contains(at(0), at(1), run)?),
        Operator::Cat => {
            let mut text = String::new();
            for arg in args {
                text.push_str(&run.text(arg)?);
            }
            return run.make(&text);
        }
        Operator::Substring => return substring(args, run),
        Operator::Merge => return merge(args, run),
        Operator::Fractional => return fractional::evaluate(args, run),
        Operator::StartsWith => compare_ends(at(0), at(1), run, |text, part| text.starts_with(part))?,
        Operator::EndsWith => compare_ends(at(0), at(1), run, |text, part| text.ends_with(part))?,
        Operator::SemVer => versions(at(0), at(1), at(2), run)?,
        // These evaluate their arguments themselves, as far as they need them: see `Run::rule`.
        Operator::If | Operator::Choose | Operator::And | Operator::Or => Item::Null,
        Operator::Filter | Operator::MapEach | Operator::Reduce => Item::Null,
        Operator::AllHold | Operator::SomeHold | Operator::NoneHold => Item::Null,
    })
}

fn variable<'a>(args: &[Item<'a>], scope: Scope<'_, 'a>, run: &mut Run<'a>) -> Answer<'a> {
    let found = match args.first() {
        None => look(&Item::Null, scope, run)?,
        Some(key) => look(key, scope, run)?,
    };
    // What is there and null is as good as not there.
    Ok(match found {
        None | Some(Item::Null) => args.get(1).cloned().unwrap_or(Item::Null),
        Some(item) => item,
    })
}

/// What a key leads to; its steps are parted by dots, and without any it is the whole.
fn look<'a>(key: &Item<'a>, scope: Scope<'_, 'a>, run: &mut Run<'a>) -> Result<Option<Item<'a>>, Stop> {
    let key = run.text(key)?;
    let mut steps = key.split('.');
    let mut found = match scope {
        Scope::Value(item) if key.is_empty() => return Ok(Some(item.clone())),
        Scope::Value(item) => item.clone(),
        Scope::Fold { current, accumulator } => match steps.next() {
            Some("current") => current.clone(),
            Some("accumulator") => accumulator.clone(),
            _ => return Ok(None),
        },
    };
    for step in steps {
        run.charge(1)?;
        run.charge_bytes(found.as_text().map_or(0, str::len))?;
        match found.child(step) {
            Some(child) => found = child,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

fn missing<'a>(keys: Vec<Item<'a>>, scope: Scope<'_, 'a>, run: &mut Run<'a>) -> Answer<'a> {
    let mut missing = Vec::new();
    for key in keys {
        let is_empty = |item: &Item<'_>| matches!(item, Item::Null) || item.as_text().is_some_and(str::is_empty);
        if look(&key, scope, run)?.as_ref().is_none_or(is_empty) {
            missing.push(key);
        }
    }
    run.list(missing)
}

fn missing_some<'a>(least: &Item<'a>, keys: &Item<'a>, scope: Scope<'_, 'a>, run: &mut Run<'a>) -> Answer<'a> {
    let missing = missing(keys.elements().collect(), scope, run)?;
    let there = keys.length().unwrap_or(0) - missing.length().unwrap_or(0);
    let enough = Number::Int(there as i128).order(least.number()).is_some_and(Ordering::is_ge);
    if enough { run.list(Vec::new()) } else { Ok(missing) }
}

/// `==`: equal after coercion. Lists and objects are equal to themselves only.
fn equal<'a>(one: &Item<'a>, two: &Item<'a>, run: &mut Run<'a>) -> Result<bool, Stop> {
    let is_list = |item: &Item<'a>| item.length().is_some();
    let is_object = |item: &Item<'a>| matches!(item, Item::Object(_));
    Ok(match (one, two) {
        (Item::Null, Item::Null) => true,
        // Nothing counts as zero beside a number, as in flagd's implementations, and is no text and no list.
        (Item::Null, other) | (other, Item::Null) if !matches!(other, Item::Bool(_) | Item::Number(_)) => false,
        (Item::Array(one), Item::Array(two)) => std::ptr::eq(*one, *two),
        (Item::List(one), Item::List(two)) => Rc::ptr_eq(one, two),
        (Item::Object(one), Item::Object(two)) => std::ptr::eq(*one, *two),
        _ if (is_list(one) || is_object(one)) && (is_list(two) || is_object(two)) => false,
        _ => {
            let text = |item: &Item<'a>| item.as_text().is_some() || is_list(item) || is_object(item);
            if text(one) && text(two) {
                run.text(one)? == run.text(two)?
            } else {
                one.number().order(two.number()).is_some_and(Ordering::is_eq)
            }
        }
    })
}

/// `===`: equal without coercion. Lists are equal when their elements are; objects are equal to themselves only.
fn same<'a>(one: &Item<'a>, two: &Item<'a>, run: &mut Run<'a>) -> Result<bool, Stop> {
    run.charge(1)?;
    if let (Some(one), Some(two)) = (one.as_text(), two.as_text()) {
        run.charge_bytes(if one.len() == two.len() { one.len() } else { 0 })?;
        return Ok(one == two);
    }
    Ok(match (one, two) {
        (Item::Null, Item::Null) => true,
        (Item::Bool(one), Item::Bool(two)) => one == two,
        (Item::Number(one), Item::Number(two)) => one.order(*two).is_some_and(Ordering::is_eq),
        (Item::Object(one), Item::Object(two)) => std::ptr::eq(*one, *two),
        _ => {
            if one.length().is_none() || one.length() != two.length() {
                return Ok(false);
            }
            for (one, two) in one.elements().zip(two.elements()) {
                if !same(&one, &two, run)? {
                    return Ok(false);
                }
            }
            true
        }
    })
}

/// Two in order, or three: the middle one between the others. Two texts by their letters, all else as numbers.
fn ordered<'a>(args: &[Item<'a>], run: &mut Run<'a>, is: fn(Ordering) -> bool) -> Answer<'a> {
    for pair in args.windows(2) {
        let order = match (pair[0].as_text(), pair[1].as_text()) {
            (Some(one), Some(two)) => {
                run.charge_bytes(one.len().min(two.len()))?;
                Some(one.cmp(two))
            }
            _ => pair[0].number().order(pair[1].number()),
        };
        if !order.is_some_and(is) {
            return Ok(Item::Bool(false));
        }
    }
    Ok(Item::Bool(true))
}

fn fold(op: Operator, args: &[Item<'_>]) -> Number {
    let one_of = |one: Number, two: Number, keep: Ordering| match one.order(two) {
        Some(order) if order == keep => one,
        Some(_) => two,
        None => Number::NAN,
    };
    let numbers = args.iter().map(Item::number);
    match op {
        Operator::Multiply => {
            numbers.fold(Number::Int(1), |one, two| one.with(two, i128::checked_mul, |one, two| one * two))
        }
        Operator::Add => {
            numbers.fold(Number::Int(0), |one, two| one.with(two, i128::checked_add, |one, two| one + two))
        }
        Operator::Least => numbers.reduce(|one, two| one_of(one, two, Ordering::Less)).unwrap_or(Number::NAN),
        _ => numbers.reduce(|one, two| one_of(one, two, Ordering::Greater)).unwrap_or(Number::NAN),
    }
}

fn subtract(one: Number, two: Number) -> Number {
    one.with(two, i128::checked_sub, |one, two| one - two)
}

/// Whole where it comes out even.
fn divide(one: Number, two: Number) -> Number {
    let even = |one: i128, two: i128| (one.checked_rem(two)? == 0).then(|| one / two);
    one.with(two, even, |one, two| one / two)
}

/// An element of a list, or a part of a text.
fn contains<'a>(part: &Item<'a>, whole: &Item<'a>, run: &mut Run<'a>) -> Result<bool, Stop> {
    if let Some(whole) = whole.as_text() {
        if matches!(part, Item::Null) {
            return Ok(false);
        }
        run.charge_bytes(whole.len())?;
        let part = run.text(part)?;
        return Ok(whole.contains(&*part));
    }
    for item in whole.elements() {
        if same(part, &item, run)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// From a place, counted from the end where it is negative, and so many letters; less than none leaves so many out.
fn substring<'a>(args: &[Item<'a>], run: &mut Run<'a>) -> Answer<'a> {
    let [text, from, length @ ..] = args else { return Ok(Item::Null) };
    let text = run.text(text)?.into_owned();
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    run.charge_bytes(text.len())?;
    let letters = places.len() - 1;
    let whole = |item: &Item<'_>| {
        let number = item.number().float();
        // Truncated and bounded before it is cast; not a number is zero.
        if number.is_nan() { 0 } else { number.clamp(-1e15, 1e15) as i64 }
    };
    let counted = |number: i64| usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
    let from = match whole(from) {
        back @ ..0 => letters.saturating_sub(counted(back)),
        ahead => counted(ahead).min(letters),
    };
    let end = match length.first() {
        None | Some(Item::Null) => letters,
        Some(length) => match whole(length) {
            back @ ..0 => letters.saturating_sub(counted(back)).max(from),
            ahead => from.saturating_add(counted(ahead)).min(letters),
        },
    };
    run.make(text.get(places[from]..places[end]).unwrap_or_default())
}

fn merge<'a>(args: &[Item<'a>], run: &mut Run<'a>) -> Answer<'a> {
    let mut merged = Vec::new();
    for arg in args {
        run.charge(arg.length().unwrap_or(1))?;
        if arg.length().is_some() { merged.extend(arg.elements()) } else { merged.push(arg.clone()) }
    }
    run.list(merged)
}

/// Null unless both are texts.
fn compare_ends<'a>(text: &Item<'a>, part: &Item<'a>, run: &mut Run<'a>, holds: fn(&str, &str) -> bool) -> Answer<'a> {
    let (Some(text), Some(part)) = (text.as_text(), part.as_text()) else { return Ok(Item::Null) };
    run.charge_bytes(part.len())?;
    Ok(Item::Bool(holds(text, part)))
}

/// Null unless both are versions.
fn versions<'a>(one: &Item<'a>, operator: &Item<'a>, two: &Item<'a>, run: &mut Run<'a>) -> Answer<'a> {
    let mut parsed = |item: &Item<'a>| match item {
        Item::Number(_) | Item::Text(_) | Item::Made(_) => Ok(version::parse(&run.text(item)?)),
        _ => Ok(None),
    };
    let (Some(one), Some(two)) = (parsed(one)?, parsed(two)?) else { return Ok(Item::Null) };
    let holds = operator.as_text().and_then(|operator| version::compare(&one, operator, &two));
    Ok(holds.map_or(Item::Null, Item::Bool))
}
