//! Canonical CBOR (RFC 7049, 3.9) of the values that JSON has: the bytes whose hash decides about a bucket.
//!
//! As flagd v3 asks, a floating-point number that is whole and fits 64 bits is written as that whole number, so that `1`
//! and `1.0` share a bucket; any other takes the shortest form that holds it. Keys stand by length, then by bytes.

use crate::item::{Item, Number};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Appends a value. `charge` is asked before each part with its bytes and ends the writing by refusing.
pub(crate) fn write<E>(
    item: &Item<'_>,
    out: &mut Vec<u8>,
    charge: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    charge(item.as_text().map_or(1, str::len))?;
    match item {
        Item::Null => out.push(0xf6),
        Item::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Item::Number(number) => write_number(*number, out),
        Item::Text(text) => write_text(text, out),
        Item::Made(text) => write_text(text, out),
        Item::Array(_) | Item::List(_) => {
            head(ARRAY, item.length().unwrap_or(0) as u64, out);
            for element in item.elements() {
                write(&element, out, charge)?;
            }
        }
        Item::Object(object) => {
            head(MAP, object.len() as u64, out);
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
            for (key, value) in entries {
                write(&Item::Text(key), out, charge)?;
                write(&Item::from(value), out, charge)?;
            }
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    head(TEXT, text.len() as u64, out);
    out.extend(text.as_bytes());
}

fn write_number(number: Number, out: &mut Vec<u8>) {
    let fits = |whole: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(whole);
    match number.whole().filter(fits) {
        // Both casts hold: the number fits 64 bits, and -1-n of a negative one does too.
        Some(whole) if whole < 0 => head(NEGATIVE, (-1 - whole) as u64, out),
        Some(whole) => head(UNSIGNED, whole as u64, out),
        None => write_float(number.float(), out),
    }
}

fn write_float(number: f64, out: &mut Vec<u8>) {
    let single = number as f32;
    if let Some(half) = half(number) {
        out.push(0xf9);
        out.extend(half.to_be_bytes());
    } else if f64::from(single) == number {
        out.push(0xfa);
        out.extend(single.to_be_bytes());
    } else {
        out.push(0xfb);
        out.extend(number.to_be_bytes());
    }
}

/// The bits of IEEE 754 binary16 that mean the same number, if there are any.
fn half(number: f64) -> Option<u16> {
    const UNIT: f64 = 16_777_216.0; // 2^24: the least half above zero is 2^-24
    let sign = if number.is_sign_negative() { 0x8000 } else { 0 };
    let size = number.abs();
    if number.is_nan() {
        return Some(0x7e00);
    }
    if size.is_infinite() {
        return Some(sign | 0x7c00);
    }
    let units = size * UNIT;
    if size > 65_504.0 || units.fract() != 0.0 {
        return None;
    }
    let units = units as u64; // at most 65504 * 2^24, and whole
    if units < 1 << 10 {
        return Some(sign | units as u16); // zero, or a number below the least normal one
    }
    // A normal number: 11 bits from its highest one; all lower bits must be zero.
    let shift = units.ilog2() - 10;
    let bits = units >> shift;
    (bits << shift == units).then_some(sign | ((shift as u16 + 1) << 10) | (bits as u16 & 0x3ff))
}

/// The type and the length, or the value of a whole number, in the fewest bytes.
fn head(kind: u8, length: u64, out: &mut Vec<u8>) {
    let kind = kind << 5;
    match length {
        // The casts hold in their ranges.
        0..=23 => out.push(kind | length as u8),
        24..=0xff => out.extend([kind | 24, length as u8]),
        0x100..=0xffff => {
            out.push(kind | 25);
            out.extend((length as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(kind | 26);
            out.extend((length as u32).to_be_bytes());
        }
        _ => {
            out.push(kind | 27);
            out.extend(length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::murmur3::murmur3_x86_32;

    /// What Python's `cbor2` and `mmh3` give for values of every kind: see tests/vectors/generate.py.
    #[test]
    fn bytes_and_hashes_are_those_of_another_implementation() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../tests/vectors/flagd-v3.json")).expect("vectors are JSON");
        let rows = vectors["buckets"].as_array().expect("a list");
        assert!(rows.len() >= 100, "{} rows", rows.len());
        for row in rows {
            let mut bytes = Vec::new();
            write::<Infallible>(&Item::from(&row[0]), &mut bytes, &mut |_| Ok(())).expect("nothing refuses");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(row[1], hex.as_str(), "{}", row[0]);
            assert_eq!(row[2], murmur3_x86_32(&bytes), "{}", row[0]);
        }
    }
}
