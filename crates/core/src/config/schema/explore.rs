//! Offers a type everything it might want, and writes down what it takes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::{ANY_NAME, Schema, Seen, Shape};
use crate::config::de::{CANDIDATES, Error, Hint, KeyDeserializer, Problem, SECRET, expecting, stand_in};
use crate::config::key::{Key, Segment};

/// Ends types that hold themselves.
const DEPTH: usize = 10;

/// Each pass settles a stand-in, a variant or a key; a type that needs more stays partly unknown.
const PASSES: usize = 4000;

#[derive(Default)]
struct State {
    seen: BTreeMap<Key, Seen>,
    candidates: BTreeMap<Key, usize>,
    variants: BTreeMap<Key, usize>,
    /// Keys no longer offered: no stand-in pleased them, or they are another name of an offered key.
    withheld: BTreeSet<Key>,
    /// The key last offered of each table.
    offered: BTreeMap<Key, String>,
}

pub(super) fn explore<T: DeserializeOwned>() -> Schema {
    let state = RefCell::new(State::default());
    for _ in 0..PASSES {
        let root = Explorer { key: Key::root(), secret: false, state: &state };
        let again = match T::deserialize(root) {
            Ok(_) => state.borrow_mut().next_variant(),
            Err(error) => state.borrow_mut().learn(&error),
        };
        if !again {
            break;
        }
    }
    Schema { seen: state.into_inner().seen }
}

impl State {
    /// Turns to the next variant of an enum that has one unseen. False when all were seen.
    fn next_variant(&mut self) -> bool {
        // The innermost first: they are out of sight once the variant around them is no longer offered.
        let unseen = self.seen.iter().rev().find_map(|(key, seen)| match &seen.shape {
            Shape::Enum(names) if self.variant(key) + 1 < names.len() => Some(key.clone()),
            _ => None,
        });
        match unseen {
            Some(key) => {
                *self.variants.entry(key).or_default() += 1;
                true
            }
            None => false,
        }
    }

    fn variant(&self, key: &Key) -> usize {
        self.variants.get(key).copied().unwrap_or(0)
    }

    /// Changes what is offered, so that the same error does not come again. False to give up.
    fn learn(&mut self, error: &Error) -> bool {
        let key = error.key();
        match &error.problem {
            Problem::Missing { .. } => self.withhold(key),
            Problem::Duplicate { .. } => match self.offered.get(&key) {
                Some(name) => {
                    let other_name = key.child(name);
                    self.seen.remove(&other_name);
                    self.withheld.insert(other_name)
                }
                None => self.withhold(key),
            },
            _ => match self.seen.get(&key).map(|seen| &seen.shape) {
                Some(Shape::Scalar | Shape::Any) => {
                    let candidate = self.candidates.entry(key.clone()).or_default();
                    *candidate += 1;
                    *candidate < CANDIDATES || self.withhold(key)
                }
                Some(Shape::Enum(names)) => {
                    let last = names.len();
                    let variant = self.variants.entry(key.clone()).or_default();
                    *variant += 1;
                    *variant < last || self.withhold(key)
                }
                _ => self.withhold(key),
            },
        }
    }

    fn withhold(&mut self, key: Key) -> bool {
        let Some(parent) = key.parent() else { return false };
        if let Some(Shape::Enum(names)) = self.seen.get(&parent).map(|seen| &seen.shape) {
            let last = names.len();
            let variant = self.variants.entry(parent.clone()).or_default();
            *variant += 1;
            return *variant < last || self.withhold(parent);
        }
        self.withheld.insert(key)
    }
}

#[derive(Clone)]
struct Explorer<'a> {
    key: Key,
    secret: bool,
    state: &'a RefCell<State>,
}

impl Explorer<'_> {
    fn note(&self, shape: Shape, expecting: String) {
        let seen = Seen { shape, expecting, secret: self.secret };
        let mut state = self.state.borrow_mut();
        // A type that first asks for anything and then for more is known by the more.
        match state.seen.get_mut(&self.key) {
            Some(known) if seen.shape == Shape::Any => known.secret |= seen.secret,
            _ => {
                state.seen.insert(self.key.clone(), seen);
            }
        }
    }

    fn scalar<'de, V: Visitor<'de>>(self, hint: Hint, visitor: V) -> Result<V::Value, Error> {
        let shape = if hint == Hint::Any { Shape::Any } else { Shape::Scalar };
        self.note(shape, expecting(&visitor));
        let candidate = self.state.borrow().candidates.get(&self.key).copied().unwrap_or(0);
        stand_in::visit(candidate, hint, visitor)
    }

    fn below(&self, segment: Segment) -> Self {
        let key = match segment {
            Segment::Name(name) => self.key.child(&name),
            Segment::Index(index) => self.key.element(index),
        };
        Self { key, secret: false, state: self.state }
    }

    fn is_deep(&self) -> bool {
        self.key.segments().len() >= DEPTH
    }

    fn list<'de, V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.note(Shape::List, expecting(&visitor));
        visitor.visit_seq(Elements { next: 0, length, list: self })
    }

    fn table<'de, V: Visitor<'de>>(self, names: Vec<String>, visitor: V) -> Result<V::Value, Error> {
        let offered: Vec<_> = {
            let state = self.state.borrow();
            let deep = self.is_deep();
            names
                .into_iter()
                .filter(|name| !deep && !state.withheld.contains(&self.key.child(name)))
                .collect()
        };
        visitor.visit_map(Entries { names: offered.into_iter(), current: None, table: self })
    }
}

struct Elements<'a> {
    next: usize,
    length: usize,
    list: Explorer<'a>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let index = self.next;
        let element = self.list.below(Segment::Index(index));
        if index >= self.length
            || self.list.is_deep()
            || self.list.state.borrow().withheld.contains(&element.key)
        {
            return Ok(None);
        }
        self.next += 1;
        seed.deserialize(element).map(Some).map_err(|error| error.below(Segment::Index(index)))
    }
}

struct Entries<'a> {
    names: std::vec::IntoIter<String>,
    current: Option<String>,
    table: Explorer<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.current = self.names.next();
        let Some(name) = &self.current else { return Ok(None) };
        self.table.state.borrow_mut().offered.insert(self.table.key.clone(), name.clone());
        seed.deserialize(KeyDeserializer(name))
            .map(Some)
            .map_err(|error| error.below(Segment::Name(name.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(name) = self.current.take() else {
            return Err(Error::custom("the type asked for a value before its key"));
        };
        let segment = Segment::Name(name);
        seed.deserialize(self.table.below(segment.clone())).map_err(|error| error.below(segment))
    }
}

struct Variant<'a> {
    name: &'static str,
    content: Explorer<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), Error> {
        let name: serde::de::value::StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

struct Content<'a>(Explorer<'a>);

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        if self.0.is_deep() {
            // An enum that holds itself: another variant ends it.
            return Err(Error::custom("too deep"));
        }
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.0.list(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_struct("", fields, visitor)
    }
}

macro_rules! scalars {
    ($($hint:ident: $($method:ident)*;)*) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.scalar(Hint::$hint, visitor)
        }
    )*)*};
}

impl<'de> Deserializer<'de> for Explorer<'_> {
    type Error = Error;

    scalars! {
        Any: deserialize_any;
        Bool: deserialize_bool;
        Integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        Float: deserialize_f32 deserialize_f64;
        Char: deserialize_char;
        Text: deserialize_str deserialize_string deserialize_identifier;
        Bytes: deserialize_bytes deserialize_byte_buf;
        Unit: deserialize_unit deserialize_ignored_any;
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.scalar(Hint::Unit, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_deep() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.secret |= name == SECRET;
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.list(1, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.list(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.list(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Shape::Map, expecting(&visitor));
        self.table(vec![ANY_NAME.to_owned()], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let names: Vec<_> = fields.iter().map(|name| (*name).to_owned()).collect();
        self.note(Shape::Table(names.clone()), expecting(&visitor));
        self.table(names, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let names: Vec<_> = variants.iter().map(|name| (*name).to_owned()).collect();
        self.note(Shape::Enum(names), expecting(&visitor));
        let chosen = self.state.borrow().variant(&self.key).min(variants.len().saturating_sub(1));
        let name = variants.get(chosen).copied().unwrap_or_default();
        let content = self.below(Segment::Name(name.to_owned()));
        visitor
            .visit_enum(Variant { name, content })
            .map_err(|error| error.below(Segment::Name(name.to_owned())))
    }
}
