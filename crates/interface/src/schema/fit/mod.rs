//! Whether everything that a writer may write can be read by a reader.
//!
//! A request is written by a caller, who knows the old description, and read by the service, which is the new one. An
//! answer is written by the service and read by the caller. So a request may only become wider, an answer only
//! narrower, and one rule serves both.
//!
//! Where the rules can't decide they say no: a keyword that is not understood has to be the same on both sides. Two
//! things are read as descriptions mean them, and not as JSON Schema has them: a writer writes no properties that it
//! doesn't name (unless its `additionalProperties` says so), and a caller that sends a property wants it read.

mod array;
mod bound;
mod object;

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Reading,
    expand::{Conjunction, alternatives, alternatives_of_all},
    is_annotation,
    types::Type,
};
use crate::document::{Node, Unreadable, shown};

/// How many steps the comparison of two documents takes at most.
const MOST_STEPS: usize = 200_000;
/// How deep it goes.
const MOST_LEVELS: usize = 64;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The caller.
    Request,
    /// The service.
    Answer,
}

/// Something that may be written and can't be read.
#[derive(Debug, Clone)]
pub(crate) struct Break<'d> {
    /// Which part of the value: `items[].sku`; empty for the whole.
    pub(crate) field: String,
    /// What the writer says of it.
    pub(crate) writer: Option<Node<'d>>,
    /// What the reader says.
    pub(crate) reader: Option<Node<'d>>,
    pub(crate) why: String,
}

type Found<'d> = Result<Vec<Break<'d>>, Unreadable>;

/// Where a keyword of one plain schema of the reader meets what is written.
#[derive(Debug, Clone, Copy)]
struct Meeting<'a, 'd> {
    writer: &'a Conjunction<'d>,
    reader: &'a Node<'d>,
    /// Which part of the value it is.
    field: &'a str,
}

/// Compares schemas in one direction.
#[derive(Debug)]
pub(crate) struct Fitting {
    direction: Direction,
    /// What is done so far, by all comparisons of two documents.
    pub(crate) steps: usize,
    /// The pairs that are being compared. One that comes up within itself, by recursive schemas, is taken to fit: what
    /// doesn't is found by the outer one.
    within: Vec<Pair>,
    /// The first of them that was taken to fit since the innermost began.
    assumed: usize,
    /// Pairs that fit, whatever becomes of those that are being compared.
    fitting: HashSet<Pair>,
}

/// The writer's schemas and the reader's, by what they are.
type Pair = (Vec<usize>, usize);

/// Whether both sides are written alike, and mean the same: what a `$ref` leads to may differ.
fn is_unchanged(writer: &Node<'_>, reader: &Node<'_>) -> bool {
    fn refers(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.contains_key("$ref") || members.values().any(refers),
            Value::Array(elements) => elements.iter().any(refers),
            _ => false,
        }
    }
    writer.value == reader.value && writer.is_3_0() == reader.is_3_0() && !refers(writer.value)
}

impl Fitting {
    pub(crate) fn new(direction: Direction, steps: usize) -> Self {
        Self { direction, steps, within: Vec::new(), assumed: usize::MAX, fitting: HashSet::new() }
    }

    /// What may be written by all of `writer` together, and can't be read by `reader`.
    pub(crate) fn fit<'d>(&mut self, writer: &[Node<'d>], reader: &Node<'d>, field: &str) -> Found<'d> {
        self.take_steps(1)?;
        let mut writers: Vec<usize> = writer.iter().map(Node::identity).collect();
        writers.sort_unstable();
        let pair = (writers, reader.identity());
        if let Some(index) = self.within.iter().position(|outer| *outer == pair) {
            self.assumed = self.assumed.min(index);
            return Ok(Vec::new());
        }
        if self.fitting.contains(&pair) {
            return Ok(Vec::new());
        }
        let depth = self.within.len();
        if depth == MOST_LEVELS {
            return Err(Unreadable::TooLarge { what: "levels in a schema", limit: MOST_LEVELS });
        }
        let assumed_before = std::mem::replace(&mut self.assumed, usize::MAX);
        self.within.push(pair);
        let mut breaks = self.alternatives(writer, reader, field);
        if let (Ok(found), [writer]) = (&mut breaks, writer)
            && is_unchanged(writer, reader)
        {
            // The rules say no where they can't decide. What did not change needs no rules.
            found.clear();
        }
        let pair = self.within.pop();
        let depends_on_outer = self.assumed < depth;
        if !depends_on_outer && breaks.as_ref().is_ok_and(Vec::is_empty) {
            self.fitting.extend(pair);
        }
        let assumed = if depends_on_outer { self.assumed } else { usize::MAX };
        self.assumed = assumed.min(assumed_before);
        breaks
    }

    fn alternatives<'d>(&mut self, writer: &[Node<'d>], reader: &Node<'d>, field: &str) -> Found<'d> {
        let readers = alternatives(reader)?;
        let mut breaks = Vec::new();
        for writer_only in alternatives_of_all(writer)? {
            let outer = Break {
                field: field.to_owned(),
                writer: writer.first().cloned(),
                reader: Some(reader.clone()),
                why: String::new(),
            };
            breaks.extend(self.one(&writer_only, &readers, &outer)?);
        }
        Ok(breaks)
    }

    /// One alternative of the writer against all of the reader. `outer` is where both stand.
    fn one<'d>(
        &mut self,
        writer: &Conjunction<'d>,
        readers: &[Conjunction<'d>],
        outer: &Break<'d>,
    ) -> Found<'d> {
        let (mut breaks, mut unread) = (Vec::new(), Vec::new());
        if let Some(values) = self.finite(writer)? {
            for value in values {
                let mut is_read = false;
                for reader in readers {
                    is_read |= self.is_read(reader, &value)?;
                }
                if !is_read {
                    breaks.push(Break { why: self.unread(&shown(&value)), ..outer.clone() });
                }
            }
            return Ok(breaks);
        }
        for kind in Type::ALL {
            if !all_allow(writer, kind)? {
                continue;
            }
            let mut closest: Option<Vec<Break<'d>>> = None;
            for reader in readers {
                if !all_allow(reader, kind)? {
                    continue;
                }
                let found = self.keywords(writer, kind, reader, &outer.field)?;
                if closest.as_ref().is_none_or(|had| found.len() < had.len()) {
                    closest = Some(found);
                }
            }
            match closest {
                Some(found) => breaks.extend(found),
                None => unread.push(kind),
            }
        }
        if !unread.is_empty() {
            let kinds: Vec<String> = unread.iter().map(Type::to_string).collect();
            breaks.push(Break { why: self.unread(&kinds.join(", ")), ..outer.clone() });
        }
        Ok(breaks)
    }

    /// Values of one type: what each plain schema of the reader asks for, against all of the writer.
    fn keywords<'d>(
        &mut self,
        writer: &Conjunction<'d>,
        kind: Type,
        readers: &Conjunction<'d>,
        field: &str,
    ) -> Found<'d> {
        let mut breaks = Vec::new();
        if kind == Type::Object && self.direction == Direction::Request {
            breaks.extend(self.unheard(writer, readers, field)?);
        }
        for reader in readers {
            let meeting = Meeting { writer, reader, field };
            for keyword in reader.object()?.keys().filter(|keyword| !is_annotation(keyword)) {
                match (keyword.as_str(), kind) {
                    // Seen to before: by the type, by taking the schema apart, or by who writes it.
                    (
                        "type" | "nullable" | "$ref" | "allOf" | "anyOf" | "oneOf" | "readOnly" | "writeOnly",
                        _,
                    ) => {}
                    ("properties", Type::Object) => breaks.extend(self.properties(meeting)?),
                    ("additionalProperties", Type::Object) => breaks.extend(self.additional(meeting)?),
                    ("required", Type::Object) => breaks.extend(self.required(meeting)?),
                    ("items", Type::Array) => breaks.extend(self.rest_of_items(meeting)?),
                    ("prefixItems", Type::Array) => breaks.extend(self.first_items(meeting)?),
                    ("enum" | "const", Type::Null | Type::Boolean) => {
                        let values = if kind == Type::Null {
                            vec![Value::Null]
                        } else {
                            vec![true.into(), false.into()]
                        };
                        for value in values {
                            let only = std::slice::from_ref(reader);
                            let is_written = self.is_written(writer, &value)?;
                            if is_written && !self.is_read(only, &value)? {
                                breaks.push(self.keyword_break(meeting, keyword, &shown(&value)));
                            }
                        }
                    }
                    (keyword, kind) if !concerns(keyword, kind) => {}
                    (keyword, kind) => {
                        if !bound::is_implied(writer, reader, keyword, kind)? {
                            let what = shown_limit(keyword, reader);
                            breaks.push(self.keyword_break(meeting, keyword, &what));
                        }
                    }
                }
            }
        }
        Ok(breaks)
    }

    /// The values that the writer may write, where there are finitely many by its `enum` or `const`.
    fn finite(&mut self, writer: &Conjunction<'_>) -> Result<Option<Vec<Value>>, Unreadable> {
        let listed = writer.iter().find_map(|node| {
            let one = node.value.get("const").map(|value| vec![value.clone()]);
            one.or_else(|| node.value.get("enum").and_then(Value::as_array).cloned())
        });
        let Some(listed) = listed else { return Ok(None) };
        let mut values = Vec::new();
        for value in listed {
            if self.is_written(writer, &value)? {
                values.push(value);
            }
        }
        Ok(Some(values))
    }

    /// Whether `writer` may write `value`: what can't be judged may well be written.
    fn is_written(&mut self, writer: &[Node<'_>], value: &Value) -> Result<bool, Unreadable> {
        self.is_valid(Reading::new(), writer, value)
    }

    /// Whether `reader` is sure to take `value`.
    fn is_read(&mut self, reader: &[Node<'_>], value: &Value) -> Result<bool, Unreadable> {
        self.is_valid(Reading::strict(), reader, value)
    }

    fn is_valid(
        &mut self,
        mut reading: Reading,
        schemas: &[Node<'_>],
        value: &Value,
    ) -> Result<bool, Unreadable> {
        let invalid = reading.any(schemas, value, "", MOST_LEVELS)?;
        self.take_steps(reading.steps())?;
        Ok(invalid.is_none())
    }

    fn take_steps(&mut self, steps: usize) -> Result<(), Unreadable> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MOST_STEPS {
            return Err(Unreadable::TooLarge { what: "steps to compare", limit: MOST_STEPS });
        }
        Ok(())
    }

    /// `what` may be written and is not read.
    fn unread(&self, what: &str) -> String {
        match self.direction {
            Direction::Request => format!("callers may send {what}, which is not taken"),
            Direction::Answer => format!("the answer may be {what}, which callers don't expect"),
        }
    }

    fn keyword_break<'d>(&self, meeting: Meeting<'_, 'd>, keyword: &str, what: &str) -> Break<'d> {
        let Meeting { writer, reader, field } = meeting;
        let at_writer = writer.iter().find_map(|node| node.get(keyword)).or_else(|| writer.first().cloned());
        Break {
            field: field.to_owned(),
            writer: at_writer,
            reader: reader.get(keyword),
            why: self.unread(what),
        }
    }
}

fn all_allow(nodes: &[Node<'_>], kind: Type) -> Result<bool, Unreadable> {
    for node in nodes {
        if !kind.is_allowed_by(node)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether `keyword` says something about values of this type.
fn concerns(keyword: &str, kind: Type) -> bool {
    match keyword {
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => kind.is_number(),
        "minLength" | "maxLength" | "pattern" => kind == Type::String,
        "format" => kind == Type::String || kind.is_number(),
        "items" | "prefixItems" | "minItems" | "maxItems" | "uniqueItems" | "contains" | "minContains"
        | "maxContains" | "unevaluatedItems" => kind == Type::Array,
        "properties"
        | "required"
        | "additionalProperties"
        | "minProperties"
        | "maxProperties"
        | "patternProperties"
        | "propertyNames"
        | "dependentRequired"
        | "dependentSchemas"
        | "unevaluatedProperties" => kind == Type::Object,
        _ => true,
    }
}

/// Values beyond the limit that `keyword` sets.
fn shown_limit(keyword: &str, reader: &Node<'_>) -> String {
    let limit = reader.value.get(keyword).map_or_else(String::new, shown);
    match keyword {
        "minimum" | "minLength" | "minItems" | "minProperties" => format!("less than {limit} ({keyword})"),
        "maximum" | "maxLength" | "maxItems" | "maxProperties" => format!("more than {limit} ({keyword})"),
        "enum" | "const" => format!("other values than {limit}"),
        _ => format!("what is not sure to keep to `{keyword}: {limit}`"),
    }
}
