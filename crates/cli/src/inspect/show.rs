//! JSON as people read it: what is single as `name  value`, lists of alike things as tables.

use serde_json::{Map, Value};

use super::paint::Paint;
use crate::conform::text::printable;

/// More characters of one value are not shown; `--json` has all of it.
const LONGEST: usize = 160;

/// What comes first in a row, in this order; the rest by name.
const FIRST: [&str; 18] = [
    "service",
    "name",
    "listener",
    "key",
    "place",
    "address",
    "state",
    "status",
    "health",
    "tier",
    "zone",
    "weight",
    "age_seconds",
    "took_seconds",
    "method",
    "route",
    "rpc_method",
    "at",
];

/// `value`, ending with a line end.
pub(super) fn text(value: &Value, paint: Paint) -> String {
    let mut page = Writer { text: String::new(), paint };
    page.write(value, 0);
    page.text
}

struct Writer {
    text: String,
    paint: Paint,
}

impl Writer {
    fn write(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(entries) => self.entries(entries, depth),
            Value::Array(items) => self.list(items, depth),
            single => {
                let shown = self.paint.value(&single_text(single));
                self.line(depth, &shown);
            }
        }
    }

    /// First what is one line each, then the parts below their names.
    fn entries(&mut self, entries: &Map<String, Value>, depth: usize) {
        let (singles, parts): (Vec<_>, Vec<_>) =
            in_order(entries).into_iter().partition(|(_, value)| is_single(value));
        let width = singles.iter().map(|(name, _)| width(&printable(name, LONGEST))).max().unwrap_or(0);
        for (name, value) in singles {
            let name = printable(name, LONGEST);
            let space = " ".repeat(width - self::width(&name) + 2);
            let (name, value) = (self.paint.dim(&name), self.paint.value(&single_text(value)));
            self.line(depth, &format!("{name}{space}{value}"));
        }
        for (name, value) in parts {
            if depth == 0 && !self.text.is_empty() {
                self.text.push('\n');
            }
            let heading = self.paint.heading(&printable(name, LONGEST));
            self.line(depth, &heading);
            self.write(value, depth + 1);
        }
    }

    fn list(&mut self, items: &[Value], depth: usize) {
        let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
        if rows.len() < items.len() {
            return items.iter().for_each(|item| self.write(item, depth));
        }
        // A column of lists; where it has other values too, as the values of a configuration, it stays one.
        let is_part = |name: &str| rows.iter().all(|row| row.get(name).is_none_or(Value::is_array));
        let has_tables =
            |row: &Map<String, Value>| row.iter().any(|(name, value)| is_table(value) && is_part(name));
        if !rows.iter().any(|row| has_tables(row)) {
            return self.table(&rows, depth);
        }
        // Things that are made of lists themselves are no rows: one after the other, each below its name.
        for (index, row) in rows.into_iter().enumerate() {
            let order = in_order(row);
            let title = order.iter().find(|(name, value)| FIRST.contains(name) && value.is_string());
            let title = title.map_or_else(|| format!("{}.", index + 1), |(_, value)| single_text(value));
            let heading = self.paint.heading(&title);
            self.line(depth, &heading);
            self.entries(row, depth + 1);
        }
    }

    /// Columns that say nothing in any row are left out.
    fn table(&mut self, rows: &[&Map<String, Value>], depth: usize) {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in rows.iter().flat_map(|row| in_order(row)) {
            if !names.contains(&name) && rows.iter().any(|row| row.get(name).is_some_and(says_something)) {
                names.push(name);
            }
        }
        names.sort_by_key(|name| rank(name));
        let cell = |row: &Map<String, Value>, name: &str| row.get(name).map_or_else(String::new, single_text);
        let titles: Vec<String> = names.iter().map(|name| printable(name, LONGEST)).collect();
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| names.iter().map(|name| cell(row, name)).collect()).collect();
        let widths: Vec<usize> = (0..names.len())
            .map(|column| {
                let cells = cells.iter().filter_map(|row| row.get(column)).chain(titles.get(column));
                cells.map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        let paint = self.paint;
        self.row(&titles, &widths, depth, |cell| paint.dim(cell));
        for row in &cells {
            self.row(row, &widths, depth, |cell| paint.value(cell));
        }
    }

    fn row(&mut self, cells: &[String], widths: &[usize], depth: usize, paint: impl Fn(&str) -> String) {
        let mut line = String::new();
        let mut space = 0;
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&" ".repeat(space));
            line.push_str(&paint(cell));
            space = width - self::width(cell) + 2;
        }
        self.line(depth, &line);
    }

    fn line(&mut self, depth: usize, line: &str) {
        self.text.push_str(&"  ".repeat(depth));
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// The known ones first.
fn in_order(entries: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut order: Vec<_> = entries.iter().map(|(name, value)| (name.as_str(), value)).collect();
    order.sort_by_key(|(name, _)| rank(name));
    order
}

fn rank(name: &str) -> (usize, &str) {
    (FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len()), name)
}

/// Whether it is shown in one line.
fn is_single(value: &Value) -> bool {
    match value {
        Value::Object(entries) => entries.is_empty(),
        Value::Array(items) => items.iter().all(|item| !item.is_object() && !item.is_array()),
        _ => true,
    }
}

fn is_table(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(Value::is_object))
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(entries) => !entries.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// In one line, whatever a service wrote there.
fn single_text(value: &Value) -> String {
    let text = match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(entries) if entries.is_empty() => "–".to_owned(),
        Value::Array(items) if items.is_empty() => "–".to_owned(),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(name, value)| format!("{name}={}", single_text(value)));
            entries.collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => items.iter().map(single_text).collect::<Vec<_>>().join(", "),
        // Seconds and milliseconds: nobody reads nine digits.
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            format!("{number:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        other => other.to_string(),
    };
    printable(&text, LONGEST)
}

/// How many columns it takes; wide characters are rare in what is shown here.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_alike_things_are_tables_and_lists_of_lists_are_parts() {
        let page = json!({
            "services": {"back": [
                {"place": "http://10.0.0.7:8080", "health": "serving", "weight": 1, "zone": null, "metadata": {}},
                {"place": "unix:/x", "health": "failing", "weight": 20, "zone": null, "metadata": {"build": "7"}},
            ]},
            "registry": null,
            "called": [{"service": "back", "out": 0, "endpoints": [{"latency_ms": 1.5004, "place": "unix:/x"}]}],
            "values": [{"key": "a", "value": [{"x": 1, "y": 2}, {"x": 3}]}, {"key": "b", "value": "4"}],
        });
        let expected = "\
registry  –

called
  back
    service  back
    out      0
    endpoints
      place    latency_ms
      unix:/x  1.5

services
  back
    place                 health   weight  metadata
    http://10.0.0.7:8080  serving  1       –
    unix:/x               failing  20      build=7

values
  key  value
  a    x=1 y=2, x=3
  b    4
";
        assert_eq!(text(&page, Paint::PLAIN), expected);
    }

    #[test]
    fn what_a_service_says_is_never_sent_to_the_terminal_as_it_is() {
        let page =
            json!({"\u{1b}[2J": "\u{1b}[31m\n", "rows": [{"name": "\u{202e}"}], "long": "x".repeat(1000)});
        let text = text(&page, Paint::PLAIN);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
        assert!(text.contains("840 characters more"), "{text}");
    }
}
