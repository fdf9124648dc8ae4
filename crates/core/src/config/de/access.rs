//! The entries of tables, the elements of lists and the content of enum variants.

use std::collections::{BTreeMap, btree_map};
use std::slice;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::NodeDeserializer;
use super::error::{Error, Problem, owned};
use crate::config::key::Segment;
use crate::config::node::Node;

/// The entries of a table; `known` are the keys that the type names, where it names them.
pub(super) struct TableAccess<'a> {
    table: NodeDeserializer<'a>,
    entries: btree_map::Iter<'a, String, Node>,
    current: Option<(&'a String, &'a Node)>,
    known: Option<&'static [&'static str]>,
}

impl<'a> TableAccess<'a> {
    pub(super) fn new(
        table: NodeDeserializer<'a>,
        entries: &'a BTreeMap<String, Node>,
        known: Option<&'static [&'static str]>,
    ) -> Self {
        Self { table, entries: entries.iter(), current: None, known }
    }
}

impl<'de> MapAccess<'de> for TableAccess<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.current = self.entries.next();
        let Some((name, _)) = self.current else { return Ok(None) };
        let key = seed.deserialize(KeyDeserializer(name)).map_err(|error| match error.problem {
            Problem::UnknownKey { .. } => error,
            _ => error.below(Segment::Name(name.clone())),
        })?;
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((name, node)) = self.current.take() else {
            return Err(Error::custom("the type asked for a value before its key"));
        };
        self.table.below(node).and_then(|value| seed.deserialize(value)).map_err(|error| {
            if error.is_here() && error.problem == Problem::Ignored {
                let known = self.known.map(owned).unwrap_or_default();
                return Error::new(Problem::UnknownKey { name: name.clone(), known });
            }
            error.below(Segment::Name(name.clone()))
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// The elements of a list.
pub(super) struct ListAccess<'a> {
    list: NodeDeserializer<'a>,
    elements: slice::Iter<'a, (usize, Node)>,
    taken: usize,
}

impl<'a> ListAccess<'a> {
    pub(super) fn new(list: NodeDeserializer<'a>, elements: &'a [(usize, Node)]) -> Self {
        Self { list, elements: elements.iter(), taken: 0 }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.elements.len() == 0
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }
}

impl<'de> SeqAccess<'de> for &mut ListAccess<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, node)) = self.elements.next() else { return Ok(None) };
        self.taken += 1;
        self.list
            .below(node)
            .and_then(|element| seed.deserialize(element))
            .map(Some)
            .map_err(|error| error.below(Segment::Index(*index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

/// A variant named by the only key of a table, or by a stand-in.
pub(super) struct WithContent<'a> {
    pub(super) variant: &'a str,
    pub(super) content: VariantContent<'a>,
}

impl<'de, 'a> EnumAccess<'de> for WithContent<'a> {
    type Error = Error;
    type Variant = VariantContent<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, VariantContent<'a>), Error> {
        let name: serde::de::value::StrDeserializer<'_, Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

/// What belongs to a variant; its errors are found below the variant's name where that is a key.
pub(super) struct VariantContent<'a> {
    pub(super) content: NodeDeserializer<'a>,
    pub(super) name: Option<&'a str>,
}

impl VariantContent<'_> {
    fn placed<T>(result: Result<T, Error>, name: Option<&str>) -> Result<T, Error> {
        result.map_err(|error| match name {
            Some(name) => error.below(Segment::Name(name.to_owned())),
            None => error,
        })
    }
}

impl<'de> VariantAccess<'de> for VariantContent<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content.node.kind {
            super::Kind::StandIn(_) => Ok(()),
            _ => Self::placed(serde::Deserialize::deserialize(self.content), self.name),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        Self::placed(seed.deserialize(self.content), self.name)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        Self::placed(self.content.deserialize_tuple(length, visitor), self.name)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Self::placed(self.content.deserialize_struct("", fields, visitor), self.name)
    }
}

/// A key of a table. Tables have text keys; a map keyed by numbers reads them from it.
pub(in crate::config) struct KeyDeserializer<'a>(pub(in crate::config) &'a str);

macro_rules! parsed_keys {
    ($($method:ident => $visit:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_str(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = Error;

    parsed_keys! {
        deserialize_bool => visit_bool,
        deserialize_i8 => visit_i8,
        deserialize_i16 => visit_i16,
        deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64,
        deserialize_u8 => visit_u8,
        deserialize_u16 => visit_u16,
        deserialize_u32 => visit_u32,
        deserialize_u64 => visit_u64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: serde::de::value::StrDeserializer<'_, Error> = self.0.into_deserializer();
        visitor.visit_enum(name)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
