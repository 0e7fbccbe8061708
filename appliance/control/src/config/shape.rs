//! What the file's reader takes, found by running it: its own `Deserialize` is given a recorder instead of a text. Each
//! struct that it asks for is an object with those keys, each list has one item, each scalar is the word `x`. So the
//! shape cannot name a key that the reader does not take, nor miss one.

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Value, json};

use super::raw;

/// The shape of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// One word or number.
    #[default]
    Scalar,
    /// Items of one shape.
    List(Box<Shape>),
    /// Any keys, values of one shape.
    Map(Box<Shape>),
    /// These keys and no others.
    Object(Vec<(&'static str, Shape)>),
}

/// The shape of the whole file.
pub(super) fn of_file() -> Shape {
    let mut shape = Shape::default();
    // The recorder gives every value that is asked for, so the reader has nothing to refuse.
    let _ = raw::File::deserialize(Recorder(&mut shape));
    shape
}

struct Recorder<'a>(&'a mut Shape);

macro_rules! scalars {
    ($($name:ident)*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_str("x")
        })*
    };
}

impl<'de> Deserializer<'de> for Recorder<'_> {
    type Error = Error;

    scalars!(deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
        deserialize_ignored_any);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(Placed(self.0))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut item = Shape::default();
        let list = visitor.visit_seq(OneItem(Some(&mut item)))?;
        *self.0 = Shape::List(Box::new(item));
        Ok(list)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut value = Shape::default();
        let map = visitor.visit_map(Entries { keys: &["x"], at: 0, record: &mut |_, shape| value = shape })?;
        *self.0 = Shape::Map(Box::new(value));
        Ok(map)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut found = Vec::new();
        let made = visitor.visit_map(Entries { keys, at: 0, record: &mut |key, shape| found.push((key, shape)) })?;
        *self.0 = Shape::Object(found);
        Ok(made)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let word: StrDeserializer<'_, Error> = words.first().copied().unwrap_or_default().into_deserializer();
        visitor.visit_enum(word)
    }
}

/// A value with its place, as the YAML library hands it to `Spanned`.
struct Placed<'a>(&'a mut Shape);

impl<'de> Deserializer<'de> for Placed<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(PlacedParts { shape: self.0, at: 0 })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The four parts of a value with its place.
const PARTS: [&str; 4] = ["__serde_saphyr_private_spanned", "value", "referenced", "defined"];

struct PlacedParts<'a> {
    shape: &'a mut Shape,
    at: usize,
}

impl<'de> MapAccess<'de> for PlacedParts<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let part: Option<StrDeserializer<'_, Error>> = PARTS.get(self.at).map(|part| part.into_deserializer());
        part.map(|part| seed.deserialize(part)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.at += 1;
        match self.at {
            1 => seed.deserialize(Value::Bool(true)),
            2 => seed.deserialize(Recorder(self.shape)),
            _ => seed.deserialize(json!({"line": 1, "column": 1})),
        }
    }
}

struct OneItem<'a>(Option<&'a mut Shape>);

impl<'de> SeqAccess<'de> for OneItem<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|shape| seed.deserialize(Recorder(shape))).transpose()
    }
}

struct Entries<'a> {
    keys: &'static [&'static str],
    at: usize,
    record: &'a mut dyn FnMut(&'static str, Shape),
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(key) = self.keys.get(self.at) else { return Ok(None) };
        seed.deserialize(Key(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let mut shape = Shape::default();
        let value = seed.deserialize(Recorder(&mut shape));
        if let Some(key) = self.keys.get(self.at) {
            (self.record)(key, shape);
        }
        self.at += 1;
        value
    }
}

/// A key, with its place if the reader wants that.
struct Key(&'static str);

impl<'de> Deserializer<'de> for Key {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(Placed(&mut Shape::default()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
