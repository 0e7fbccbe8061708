//! JSON read strictly: no key twice in one object, no deeper than allowed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::FlagError;
use crate::{DEPTH, DOCUMENT_BYTES};

/// Reads a whole text.
pub(crate) fn read(text: &str) -> Result<Value, FlagError> {
    if text.len() > DOCUMENT_BYTES {
        return Err(FlagError::new(
            format!("{} bytes", text.len()),
            format!("a document has at most {DOCUMENT_BYTES} bytes"),
            "split it into several documents",
        ));
    }
    let mut from = serde_json::Deserializer::from_str(text);
    let value = Level(0).deserialize(&mut from).and_then(|value| from.end().map(|()| value));
    value.map_err(|error| {
        FlagError::new(
            format!("line {}, column {}", error.line(), error.column()),
            cause(&error),
            "write JSON in flagd's schema",
        )
    })
}

/// The error without its place, which stands in front.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(cause, _)| cause.to_owned())
}

/// A value so many levels below the top.
struct Level(usize);

impl Level {
    fn below<E: serde::de::Error>(&self) -> Result<Level, E> {
        if self.0 < DEPTH {
            Ok(Level(self.0 + 1))
        } else {
            Err(E::custom(format!("nested deeper than {DEPTH} levels")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(self.below::<A::Error>()?)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {} stands twice", crate::error::shown(&key))));
            }
            let value = from.next_value_seed(self.below::<A::Error>()?)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_strict_json_is_refused_with_its_place() {
        for (text, part) in [
            ("{\"a\":1,\"a\":2}", "line 1, column 10: the key a stands twice"),
            ("{\"a\":1} x", "line 1, column 9: trailing characters"),
            ("", "line 1, column 0: EOF"),
            ("[1e999]", "number out of range"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&deep(DEPTH)).is_ok());
        let error = read(&deep(DEPTH + 1)).expect_err("too deep").to_string();
        assert!(error.contains("deeper than 64"), "{error}");
        assert!(read(&" ".repeat(DOCUMENT_BYTES + 1)).expect_err("too long").to_string().contains("1048576"));
    }
}
