//! Objects: what the writer may write under each name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Break, Direction, Fitting, Found, Meeting};
use crate::{
    document::{Node, Unreadable},
    schema::expand::Conjunction,
};

impl Fitting {
    /// Properties that both name, or that the writer may write without naming them.
    pub(super) fn properties<'d>(&mut self, meeting: Meeting<'_, 'd>) -> Found<'d> {
        let Meeting { writer, reader, field } = meeting;
        let mut breaks = Vec::new();
        for (name, property) in reader.members("properties")? {
            for written in written(writer, name)? {
                breaks.extend(self.fit(&written, &property, &within(field, name))?);
            }
        }
        Ok(breaks)
    }

    /// Properties that the reader doesn't name, where it says what they have to be.
    pub(super) fn additional<'d>(&mut self, meeting: Meeting<'_, 'd>) -> Found<'d> {
        let Meeting { writer, reader, field } = meeting;
        let mut breaks = Vec::new();
        let Some(additional) = reader.get("additionalProperties") else { return Ok(breaks) };
        if additional.value == &Value::Bool(true) {
            return Ok(breaks);
        }
        let is_named = |name: &str| reader.get("properties").is_some_and(|named| named.get(name).is_some());
        for name in names(writer)?.into_iter().filter(|name| !is_named(name)) {
            for written in written(writer, name)? {
                let field = within(field, name);
                if additional.value == &Value::Bool(false) {
                    let why = self.unread(&format!("the property `{name}`"));
                    let writer = written.first().cloned();
                    breaks.push(Break { field, writer, reader: Some(additional.clone()), why });
                } else {
                    breaks.extend(self.fit(&written, &additional, &field)?);
                }
            }
        }
        for written in unnamed(writer)? {
            breaks.extend(self.fit(&[written], &additional, &within(field, "*"))?);
        }
        Ok(breaks)
    }

    /// Properties that the reader relies on.
    pub(super) fn required<'d>(&self, meeting: Meeting<'_, 'd>) -> Found<'d> {
        let Meeting { writer, reader, field } = meeting;
        let mut breaks = Vec::new();
        for name in reader.elements("required")? {
            let text = name.value.as_str().ok_or_else(|| name.malformed("the name of a property"))?;
            if self.is_not_for_writer(reader, text)? {
                continue;
            }
            let mut is_written = false;
            for node in writer {
                let is_this = |name: &Node<'_>| name.value.as_str() == Some(text);
                is_written |= node.elements("required")?.iter().any(is_this);
            }
            if !is_written {
                let why = match self.direction {
                    Direction::Request => format!("`{text}` is required, and callers may leave it out"),
                    Direction::Answer => format!("`{text}` may be missing"),
                };
                let at_writer = writer.iter().find_map(|node| node.get("required"));
                let writer = at_writer.or_else(|| writer.first().cloned());
                breaks.push(Break { field: within(field, text), writer, reader: Some(name), why });
            }
        }
        Ok(breaks)
    }

    /// What callers send and the service has no name for any more: ignored, or refused.
    pub(super) fn unheard<'d>(
        &self,
        writer: &Conjunction<'d>,
        readers: &Conjunction<'d>,
        field: &str,
    ) -> Found<'d> {
        let mut breaks = Vec::new();
        // One that names nothing takes any object; one that says what the others are refuses or reads them there.
        let is_open = |node: &Node<'_>| {
            node.get("additionalProperties").is_some() || node.get("patternProperties").is_some()
        };
        let Some(at) = readers.iter().find_map(|node| node.get("properties")) else { return Ok(breaks) };
        if readers.iter().any(is_open) {
            return Ok(breaks);
        }
        for name in names(writer)? {
            let is_named =
                |node: &Node<'_>| node.get("properties").is_some_and(|named| named.get(name).is_some());
            if readers.iter().any(is_named) {
                continue;
            }
            if let Some(written) = written(writer, name)?.first() {
                breaks.push(Break {
                    field: within(field, name),
                    writer: written.first().cloned(),
                    reader: Some(at.clone()),
                    why: format!("callers may send `{name}`, which the service no longer knows"),
                });
            }
        }
        Ok(breaks)
    }

    /// Whether the property is one that the other side makes: `readOnly` ones are not sent, `writeOnly` ones not
    /// answered (OpenAPI 3.0, "Fixed Fields" of the schema object).
    fn is_not_for_writer(&self, reader: &Node<'_>, name: &str) -> Result<bool, Unreadable> {
        let flag = match self.direction {
            Direction::Request => "readOnly",
            Direction::Answer => "writeOnly",
        };
        let Some(property) = reader.get("properties").and_then(|named| named.get(name)) else {
            return Ok(false);
        };
        Ok(property.is_set(flag) || (property.value.is_object() && property.resolved()?.is_set(flag)))
    }
}

/// The names that `writer` names.
fn names<'d>(writer: &Conjunction<'d>) -> Result<BTreeSet<&'d str>, Unreadable> {
    let mut names = BTreeSet::new();
    for node in writer {
        names.extend(node.members("properties")?.into_iter().map(|(name, _)| name));
    }
    Ok(names)
}

/// What `writer` may write under `name`: each a list of schemas that all hold; none where it writes nothing there.
fn written<'d>(writer: &Conjunction<'d>, name: &str) -> Result<Vec<Vec<Node<'d>>>, Unreadable> {
    let mut named = Vec::new();
    for node in writer {
        let own = node.get("properties").and_then(|properties| properties.get(name));
        if own.is_none() && is_closed(node) {
            return Ok(Vec::new());
        }
        named.extend(own);
    }
    if named.iter().any(|node| node.value == &Value::Bool(false)) {
        return Ok(Vec::new());
    }
    if !named.is_empty() {
        return Ok(vec![named]);
    }
    Ok(unnamed(writer)?.into_iter().map(|schema| vec![schema]).collect())
}

/// What `writer` may write under names that it doesn't name: only where it says so.
fn unnamed<'d>(writer: &Conjunction<'d>) -> Result<Vec<Node<'d>>, Unreadable> {
    let mut all = Vec::new();
    for node in writer {
        if is_closed(node) {
            return Ok(Vec::new());
        }
        all.extend(node.get("additionalProperties").filter(|schema| schema.value != &Value::Bool(false)));
        all.extend(node.members("patternProperties")?.into_iter().map(|(_, schema)| schema));
    }
    Ok(all)
}

/// Whether there are no properties but those that it names.
fn is_closed(node: &Node<'_>) -> bool {
    node.value.get("additionalProperties") == Some(&Value::Bool(false))
        && node.get("patternProperties").is_none()
}

fn within(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}
