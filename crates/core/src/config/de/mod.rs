//! Gives the merged values to a typed tree, and says at which key the tree refused them.
//!
//! Beyond what serde asks of a deserializer: a key that a type would ignore is an error, text from sources without
//! types is read as the type that is asked for, and [`Kind::StandIn`] is whatever the type wants.

mod access;
mod error;
pub(super) mod stand_in;

use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};

pub(super) use self::access::KeyDeserializer;
use self::access::{ListAccess, TableAccess, VariantContent, WithContent};
pub(super) use self::error::{Error, Problem, in_words};
pub(super) use self::stand_in::CANDIDATES;
use super::layers;
use super::node::{Kind, Node};
use super::origin::Origin;

/// Under this name a [`Secret`](super::Secret) asks for its value.
pub(super) const SECRET: &str = "$mainstay::config::Secret";

/// Deeper than any sensible configuration; ends recursive types that are fed stand-ins.
const DEPTH: usize = 48;

/// What a type asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hint {
    Any,
    Bool,
    Integer,
    Float,
    Char,
    Text,
    Bytes,
    Unit,
}

/// Deserializes from a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    depth: usize,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        Self { node, depth: 0 }
    }

    fn below(self, node: &'a Node) -> Result<Self, Error> {
        if self.depth >= DEPTH {
            return Err(Error::custom(format_args!("at most {DEPTH} tables deep")));
        }
        Ok(Self { node, depth: self.depth + 1 })
    }

    fn scalar<'de, V: Visitor<'de>>(self, hint: Hint, visitor: V) -> Result<V::Value, Error> {
        let expecting = expecting(&visitor);
        self.visit(hint, visitor).map_err(|error| error.expecting(|| expecting))
    }

    fn visit<'de, V: Visitor<'de>>(self, hint: Hint, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            // A program's own source may have guessed a number where the type wants text.
            Kind::Bool(value) if hint == Hint::Text && self.guessed() => {
                visitor.visit_string(value.to_string())
            }
            Kind::Integer(value) if hint == Hint::Text && self.guessed() => {
                visitor.visit_string(value.to_string())
            }
            Kind::Float(value) if hint == Hint::Text && self.guessed() => {
                visitor.visit_string(value.to_string())
            }
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Integer(value) => visit_integer(*value, visitor),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::Loose(text, guess) => self.visit_loose(text, *guess, hint, visitor),
            Kind::List(elements) => {
                let mut access = ListAccess::new(self, elements);
                let value = visitor.visit_seq(&mut access)?;
                if access.is_finished() {
                    Ok(value)
                } else {
                    let expected = format!("a list of {} elements", access.taken());
                    Err(Error::new(Problem::Wrong { expected, found: None }))
                }
            }
            Kind::Table(entries) => visitor.visit_map(TableAccess::new(self, entries, None)),
            Kind::StandIn(candidate) => stand_in::visit(*candidate, hint, visitor),
        }
    }

    fn guessed(self) -> bool {
        matches!(self.node.origin, Origin::Program { .. })
    }

    fn visit_loose<'de, V: Visitor<'de>>(
        self,
        text: &str,
        guess: bool,
        hint: Hint,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let trimmed = text.trim();
        match hint {
            Hint::Text | Hint::Bytes | Hint::Char => visitor.visit_str(text),
            Hint::Unit if trimmed.is_empty() => visitor.visit_unit(),
            Hint::Bool if trimmed == "true" => visitor.visit_bool(true),
            Hint::Bool if trimmed == "false" => visitor.visit_bool(false),
            Hint::Integer => match trimmed.parse() {
                Ok(number) => visit_integer(number, visitor),
                Err(_) => visitor.visit_str(text),
            },
            Hint::Float => match trimmed.parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => visitor.visit_str(text),
            },
            Hint::Any if guess => match self.parsed(text) {
                Some(node) => self.below(&node)?.visit(hint, visitor),
                None => visitor.visit_str(text),
            },
            Hint::Any | Hint::Bool | Hint::Unit => visitor.visit_str(text),
        }
    }

    /// The loose text as a TOML value, where it is one.
    fn parsed(self, text: &str) -> Option<Node> {
        layers::node_of_toml_value(text, &self.node.origin)
    }

    /// The loose text as a list: in brackets, or separated by commas.
    fn parsed_list(self, text: &str) -> Option<Node> {
        let trimmed = text.trim();
        if trimmed.starts_with('[') {
            return self.parsed(trimmed);
        }
        let parts = trimmed.split(',').map(str::trim).filter(|_| !trimmed.is_empty());
        let elements = parts.enumerate().map(|(index, part)| {
            (index, Node { origin: self.node.origin.clone(), kind: Kind::Loose(part.to_owned(), true) })
        });
        Some(Node { origin: self.node.origin.clone(), kind: Kind::List(elements.collect()) })
    }

    fn list<'de, V: Visitor<'de>>(self, length: Option<usize>, visitor: V) -> Result<V::Value, Error> {
        let expecting = expecting(&visitor);
        let result = match &self.node.kind {
            Kind::Loose(text, _) => match self.parsed_list(text) {
                Some(list) => self.below(&list).and_then(|list| list.visit(Hint::Any, visitor)),
                None => Err(Error::new(Problem::Wrong {
                    expected: "a list such as `[\"a\", \"b\"]` or `a,b`".to_owned(),
                    found: None,
                })),
            },
            Kind::StandIn(candidate) => {
                let kind = Kind::StandIn(*candidate);
                let element = Node { origin: Origin::Default, kind };
                let elements: Vec<_> =
                    (0..length.unwrap_or(0)).map(|index| (index, element.clone())).collect();
                self.below(self.node)
                    .and_then(|below| visitor.visit_seq(&mut ListAccess::new(below, &elements)))
            }
            _ => self.visit(Hint::Any, visitor),
        };
        result.map_err(|error| error.expecting(|| expecting))
    }

    fn table<'de, V: Visitor<'de>>(
        self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let expecting = expecting(&visitor);
        let result = match &self.node.kind {
            Kind::Table(entries) => visitor.visit_map(TableAccess::new(self, entries, known)),
            Kind::StandIn(_) => visitor.visit_map(TableAccess::new(self, &Default::default(), known)),
            Kind::Loose(text, _) if text.trim_start().starts_with('{') => match self.parsed(text) {
                Some(table) => self.below(&table).and_then(|below| below.table(known, visitor)),
                None => Err(Error::new(Problem::Wrong {
                    expected: "a table such as `{ key = \"value\" }`".to_owned(),
                    found: None,
                })),
            },
            _ => Err(Error::new(Problem::Wrong { expected: "a table".to_owned(), found: None })),
        };
        result.map_err(|error| error.expecting(|| expecting))
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Any, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Bool, visitor)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Integer, visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Float, visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Float, visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Char, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Text, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Text, visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Text, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Bytes, visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Bytes, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.scalar(Hint::Unit, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.scalar(Hint::Unit, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Null | Kind::StandIn(_) => visitor.visit_none(),
            // An empty variable is how an optional key is unset from outside.
            Kind::Loose(text, _) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.list(None, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.list(Some(length), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.list(Some(length), visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.table(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.table(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Loose(text, _) if text.trim_start().starts_with('{') => match self.parsed(text) {
                Some(table) => self.below(&table)?.deserialize_enum(name, variants, visitor),
                None => Err(Error::new(Problem::UnknownVariant { known: error::owned(variants) })),
            },
            Kind::Text(text) | Kind::Loose(text, _) => visitor.visit_enum(text.as_str().into_deserializer()),
            Kind::Table(entries) => match entries.iter().next() {
                Some((variant, node)) if entries.len() == 1 => {
                    let content = VariantContent { content: self.below(node)?, name: Some(variant) };
                    visitor.visit_enum(WithContent { variant, content })
                }
                _ => Err(Error::new(Problem::Wrong {
                    expected: format!(
                        "a table with one key, {}",
                        Error::new(Problem::UnknownVariant { known: error::owned(variants) }).expected().0
                    ),
                    found: None,
                })),
            },
            Kind::StandIn(candidate) => {
                let variant = variants.get(candidate % variants.len().max(1)).copied().unwrap_or_default();
                let content = VariantContent { content: self.below(self.node)?, name: None };
                visitor.visit_enum(WithContent { variant, content })
            }
            _ => Err(Error::new(Problem::UnknownVariant { known: error::owned(variants) })),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::new(Problem::Ignored))
    }
}

fn visit_integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> Result<V::Value, Error> {
    if let Ok(number) = i64::try_from(number) {
        visitor.visit_i64(number)
    } else if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else {
        visitor.visit_i128(number)
    }
}

/// What the visitor says it expects.
pub(super) fn expecting<'de, V: Visitor<'de>>(visitor: &V) -> String {
    // `Expected` is implemented for every visitor, and is the public way to ask.
    let expected: &dyn serde::de::Expected = visitor;
    match <Error as serde::de::Error>::invalid_type(Unexpected::Unit, expected).problem {
        Problem::Wrong { expected, .. } => expected,
        _ => String::new(),
    }
}
