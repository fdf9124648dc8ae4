//! Reads TOML with the line of each key.

use std::collections::HashMap;
use std::ops::Range;

use figment::value::{Dict, Tag, Value};
use toml_edit::{ImDocument, Item, TableLike, Value as TomlValue};

use super::key::{Key, one_line};

/// A TOML document: its values, and the line of every key.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) values: Dict,
    pub(super) lines: HashMap<Key, usize>,
}

/// What is wrong with a TOML document, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let document = ImDocument::parse(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            // Only the message: the rest of the error shows the line, which may hold a secret.
            SyntaxError { message: one_line(error.message()), line, column }
        })?;
        let mut reader = Reader { lines: Lines::of(text), found: HashMap::new() };
        let values = reader.table(document.as_table(), &Key::root());
        Ok(Self { values, lines: reader.found })
    }
}

/// Reads one TOML value such as `["a", "b"]` or `{ a = 1 }`.
pub(super) fn parse_value(text: &str) -> Option<Value> {
    let value: TomlValue = text.trim().parse().ok()?;
    Some(Reader { lines: Lines::of(text), found: HashMap::new() }.value(&value, &Key::root()))
}

struct Reader {
    lines: Lines,
    found: HashMap<Key, usize>,
}

impl Reader {
    fn table(&mut self, table: &dyn TableLike, at: &Key) -> Dict {
        let mut dict = Dict::new();
        for (name, item) in table.iter() {
            let key = at.child(name);
            // A key's own place; a table's header stands for the table.
            let place = table.key(name).and_then(toml_edit::Key::span).or_else(|| item.span());
            self.note(&key, place);
            let value = match item {
                Item::None => continue,
                Item::Value(value) => self.value(value, &key),
                Item::Table(table) => {
                    self.note(&key, table.span());
                    Value::Dict(Tag::Default, self.table(table, &key))
                }
                Item::ArrayOfTables(tables) => {
                    let tables = tables.iter().enumerate().map(|(index, table)| {
                        let key = key.element(index);
                        self.note(&key, table.span());
                        Value::Dict(Tag::Default, self.table(table, &key))
                    });
                    Value::Array(Tag::Default, tables.collect())
                }
            };
            dict.insert(name.to_owned(), value);
        }
        dict
    }

    fn value(&mut self, value: &TomlValue, at: &Key) -> Value {
        match value {
            TomlValue::String(text) => Value::from(text.value().as_str()),
            TomlValue::Integer(number) => Value::from(*number.value()),
            TomlValue::Float(number) => Value::from(*number.value()),
            TomlValue::Boolean(value) => Value::from(*value.value()),
            TomlValue::Datetime(time) => Value::from(time.value().to_string()),
            TomlValue::Array(elements) => {
                let elements = elements.iter().enumerate().map(|(index, element)| {
                    let key = at.element(index);
                    self.note(&key, element.span());
                    self.value(element, &key)
                });
                Value::Array(Tag::Default, elements.collect())
            }
            TomlValue::InlineTable(table) => Value::Dict(Tag::Default, self.table(table, at)),
        }
    }

    fn note(&mut self, key: &Key, place: Option<Range<usize>>) {
        if let Some(place) = place {
            self.found.insert(key.clone(), self.lines.line_of(place.start));
        }
    }
}

/// Where each line starts.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
