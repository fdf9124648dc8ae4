//! Whether one value is valid.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{expand, is_annotation, number, types::Type};
use crate::document::{Node, Unreadable, joined, shown};

/// How many steps one reading takes at most.
const MOST_STEPS: usize = 1_000_000;
/// How deep it goes.
const MOST_LEVELS: usize = 128;

/// Reads values by schemas.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Whether keywords that can't be judged (`pattern`, `if`) refuse the value; else they are passed over.
    pub(crate) is_strict: bool,
    /// Whether properties are refused that no schema names, as if each had `additionalProperties: false`.
    pub(crate) is_closed: bool,
    steps: usize,
}

/// Why a value is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// Where in the value: a JSON pointer.
    pub(crate) pointer: String,
    /// Why.
    pub(crate) why: String,
}

impl Reading {
    pub(crate) fn new() -> Self {
        Self { is_strict: false, is_closed: false, steps: 0 }
    }

    /// Keywords that can't be judged refuse.
    pub(crate) fn strict() -> Self {
        Self { is_strict: true, ..Self::new() }
    }

    /// How much was done.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Why `value` is not valid for `schema`, if it isn't.
    pub(crate) fn read(&mut self, schema: &Node<'_>, value: &Value) -> Result<Option<Invalid>, Unreadable> {
        self.any(std::slice::from_ref(schema), value, "", MOST_LEVELS)
    }

    /// Valid for one of the alternatives of all of `schemas`?
    pub(super) fn any(
        &mut self,
        schemas: &[Node<'_>],
        value: &Value,
        at: &str,
        levels: usize,
    ) -> Result<Option<Invalid>, Unreadable> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(Unreadable::TooLarge { what: "steps to read a value", limit: MOST_STEPS });
        }
        let Some(levels) = levels.checked_sub(1) else {
            return Err(Unreadable::TooLarge { what: "levels in a value", limit: MOST_LEVELS });
        };
        let mut closest: Option<Invalid> = None;
        for alternative in expand::alternatives_of_all(schemas)? {
            match self.all(&alternative, value, at, levels)? {
                None => return Ok(None),
                // The one that got furthest tells the most.
                Some(invalid)
                    if closest.as_ref().is_none_or(|had| invalid.pointer.len() > had.pointer.len()) =>
                {
                    closest = Some(invalid);
                }
                Some(_) => {}
            }
        }
        let nothing = || Invalid { pointer: at.to_owned(), why: "no value is valid here".to_owned() };
        Ok(Some(closest.unwrap_or_else(nothing)))
    }

    fn all(
        &mut self,
        schemas: &[Node<'_>],
        value: &Value,
        at: &str,
        levels: usize,
    ) -> Result<Option<Invalid>, Unreadable> {
        for schema in schemas {
            if let Some(invalid) = self.plain(schema, value, at, levels)? {
                return Ok(Some(invalid));
            }
        }
        if let Some(members) = value.as_object().filter(|_| self.is_closed) {
            let names = |schema: &Node<'_>, key: &str| {
                schema.get("properties").is_some_and(|properties| properties.get(key).is_some())
                    || schema
                        .get("additionalProperties")
                        .is_some_and(|other| other.value != &Value::Bool(false))
            };
            let unknown = members.keys().find(|key| !schemas.iter().any(|schema| names(schema, key)));
            if let Some(key) = unknown {
                return Ok(refused(&joined(at, key), "no schema names this property".to_owned()));
            }
        }
        Ok(None)
    }

    /// What the keywords of one plain schema say.
    fn plain(
        &mut self,
        schema: &Node<'_>,
        value: &Value,
        at: &str,
        levels: usize,
    ) -> Result<Option<Invalid>, Unreadable> {
        let kind = Type::of(value);
        if !kind.is_allowed_by(schema)? {
            let types = schema.value.get("type").map_or_else(String::new, shown);
            return Ok(refused(at, format!("it is {kind}, expected {types}")));
        }
        for (keyword, argument) in schema.object()? {
            if is_annotation(keyword) {
                continue;
            }
            let node = || schema.get(keyword).ok_or_else(|| schema.malformed("a schema"));
            let holds = match keyword.as_str() {
                "type" | "nullable" | "$ref" | "allOf" | "anyOf" | "oneOf" | "format" | "readOnly"
                | "writeOnly" => true,
                "enum" => {
                    let values = argument
                        .as_array()
                        .ok_or_else(|| schema.malformed("a schema whose `enum` is an array"))?;
                    values.iter().any(|one| number::same(one, value))
                }
                "const" => number::same(argument, value),
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                    let Value::Number(number) = value else { continue };
                    in_bounds(schema, keyword, number)?
                }
                "minLength" | "maxLength" => match value {
                    Value::String(text) => within(schema, keyword, text.chars().count())?,
                    _ => true,
                },
                "minItems" | "maxItems" => match value {
                    Value::Array(items) => within(schema, keyword, items.len())?,
                    _ => true,
                },
                "minProperties" | "maxProperties" => match value {
                    Value::Object(members) => within(schema, keyword, members.len())?,
                    _ => true,
                },
                "uniqueItems" => match value {
                    Value::Array(items) if argument == &Value::Bool(true) => !has_twins(items),
                    _ => true,
                },
                "required" => {
                    let Value::Object(members) = value else { continue };
                    let missing = schema.elements("required")?;
                    let missing = missing.iter().filter_map(|name| name.value.as_str());
                    if let Some(name) = missing.into_iter().find(|name| !members.contains_key(*name)) {
                        return Ok(refused(at, format!("`{name}` is missing")));
                    }
                    true
                }
                "properties" => {
                    let Value::Object(members) = value else { continue };
                    for (name, property) in schema.members("properties")? {
                        let Some(member) = members.get(name) else { continue };
                        let found = self.any(&[property], member, &joined(at, name), levels)?;
                        if found.is_some() {
                            return Ok(found);
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let Value::Object(members) = value else { continue };
                    let found = self.additional(schema, &node()?, members, at, levels)?;
                    if found.is_some() {
                        return Ok(found);
                    }
                    true
                }
                "items" | "prefixItems" => {
                    let Value::Array(items) = value else { continue };
                    let first = schema.elements("prefixItems")?;
                    for (index, item) in items.iter().enumerate() {
                        let rest = || schema.get("items");
                        let Some(schema) = first.get(index).cloned().or_else(rest) else { break };
                        let found = self.any(&[schema], item, &joined(at, &index.to_string()), levels)?;
                        if found.is_some() {
                            return Ok(found);
                        }
                    }
                    true
                }
                "not" => self.is_refused_by(&node()?, value, levels)?,
                _ => !self.is_strict,
            };
            if !holds {
                let why = format!("{} does not keep to `{keyword}: {}`", shown(value), shown(argument));
                return Ok(refused(at, why));
            }
        }
        Ok(None)
    }

    /// What `not` says: the other way round, also for what can't be judged.
    fn is_refused_by(&mut self, schema: &Node<'_>, value: &Value, levels: usize) -> Result<bool, Unreadable> {
        let mut within = Self { is_strict: !self.is_strict, is_closed: false, steps: self.steps };
        let refused = within.any(std::slice::from_ref(schema), value, "", levels)?.is_some();
        self.steps = within.steps;
        Ok(refused)
    }

    fn additional(
        &mut self,
        schema: &Node<'_>,
        additional: &Node<'_>,
        members: &Map<String, Value>,
        at: &str,
        levels: usize,
    ) -> Result<Option<Invalid>, Unreadable> {
        if schema.get("patternProperties").is_some() {
            // Which of them the patterns name can't be judged.
            return Ok(
                refused(at, "`patternProperties` can't be judged".to_owned()).filter(|_| self.is_strict)
            );
        }
        let named = schema.get("properties");
        let is_named = |name: &str| named.as_ref().is_some_and(|named| named.get(name).is_some());
        for (name, member) in members.iter().filter(|(name, _)| !is_named(name)) {
            if additional.value == &Value::Bool(false) {
                return Ok(refused(&joined(at, name), "there is no such property".to_owned()));
            }
            let found = self.any(std::slice::from_ref(additional), member, &joined(at, name), levels)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[allow(clippy::unnecessary_wraps, reason = "every use returns it")]
fn refused(at: &str, why: String) -> Option<Invalid> {
    Some(Invalid { pointer: at.to_owned(), why })
}

fn in_bounds(schema: &Node<'_>, keyword: &str, number: &serde_json::Number) -> Result<bool, Unreadable> {
    let bound = match schema.value.get(keyword) {
        Some(Value::Number(bound)) => bound,
        // OpenAPI 3.0: a flag beside `minimum` and `maximum`.
        Some(Value::Bool(flag)) if schema.is_3_0() && keyword.starts_with("exclusive") => {
            let beside = if keyword == "exclusiveMinimum" { "minimum" } else { "maximum" };
            let bound = schema.value.get(beside).and_then(Value::as_number);
            return Ok(!flag || bound.is_none_or(|bound| number::order(number, bound) != Ordering::Equal));
        }
        _ => return Err(schema.malformed("a schema whose bounds are numbers")),
    };
    Ok(match keyword {
        "minimum" => number::order(number, bound) != Ordering::Less,
        "maximum" => number::order(number, bound) != Ordering::Greater,
        "exclusiveMinimum" => number::order(number, bound) == Ordering::Greater,
        "exclusiveMaximum" => number::order(number, bound) == Ordering::Less,
        _ => number::is_multiple(number, bound),
    })
}

/// Whether `count` keeps to the bound `keyword`.
fn within(schema: &Node<'_>, keyword: &str, count: usize) -> Result<bool, Unreadable> {
    let bound = schema.value.get(keyword).and_then(Value::as_u64);
    let bound = bound.ok_or_else(|| schema.malformed("a schema whose bounds of length are whole numbers"))?;
    let count = count as u64;
    Ok(if keyword.starts_with("min") { count >= bound } else { count <= bound })
}

fn has_twins(items: &[Value]) -> bool {
    items.iter().enumerate().any(|(index, one)| {
        items.get(index + 1..).unwrap_or_default().iter().any(|other| number::same(one, other))
    })
}
