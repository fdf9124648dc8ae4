//! As much of YAML 1.2 as rules need, written. Every text that is not plainly a word is in quotes, so that no reader takes
//! `on` for a truth or `1.0` for a number.

use std::fmt::Write as _;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Written as it is.
    Number(String),
    List(Vec<Node>),
    Map(Vec<(&'static str, Node)>),
    /// A map whose keys are made.
    Labels(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn labels<K: Into<String>, V: Into<String>>(labels: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Labels(labels.into_iter().map(|(name, value)| (name.into(), Self::text(value))).collect())
    }

    /// A document, with lines of comment before it.
    pub(super) fn document(&self, comment: &str) -> String {
        let mut to = String::new();
        for line in comment.lines() {
            to.push_str(format!("# {line}").trim_end());
            to.push('\n');
        }
        self.write(&mut to, 0);
        to
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::List(list) => list.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            Self::Labels(entries) => entries.is_empty(),
            Self::Text(_) | Self::Number(_) => false,
        }
    }

    /// As a block, whose first line is indented already.
    fn write(&self, to: &mut String, depth: usize) {
        match self {
            Self::List(list) => {
                for (index, node) in list.iter().enumerate() {
                    indent(to, if index == 0 { 0 } else { depth });
                    to.push_str("- ");
                    node.write_item(to, depth + 1);
                }
            }
            Self::Map(entries) => write_map(entries.iter().map(|(name, node)| (*name, node)), to, depth),
            Self::Labels(entries) => {
                write_map(entries.iter().map(|(name, node)| (name.as_str(), node)), to, depth);
            }
            scalar => scalar.write_item(to, depth),
        }
    }

    /// Behind a dash.
    fn write_item(&self, to: &mut String, depth: usize) {
        match self {
            Self::Text(text) => write_text(text, to, depth),
            Self::Number(number) => writeln(to, number),
            empty if empty.is_empty() => {
                writeln(to, if matches!(empty, Self::List(_)) { "[]" } else { "{}" })
            }
            block => block.write(to, depth),
        }
    }
}

fn write_map<'a>(entries: impl Iterator<Item = (&'a str, &'a Node)>, to: &mut String, depth: usize) {
    for (index, (name, node)) in entries.enumerate() {
        indent(to, if index == 0 { 0 } else { depth });
        to.push_str(&scalar(name));
        to.push(':');
        if matches!(node, Node::Text(_) | Node::Number(_)) || node.is_empty() {
            to.push(' ');
            node.write_item(to, depth + 1);
        } else {
            to.push('\n');
            indent(to, depth + 1);
            node.write(to, depth + 1);
        }
    }
}

/// Several lines as a literal block without the last line break, which every reader of rules would have to cut.
fn write_text(text: &str, to: &mut String, depth: usize) {
    if !text.contains('\n') {
        return writeln(to, &scalar(text));
    }
    writeln(to, "|-");
    for line in text.lines() {
        indent(to, depth);
        writeln(to, line);
    }
}

/// A text on one line: plain where nobody can take it for anything else.
fn scalar(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    // Words that some version of YAML has a meaning for (YAML 1.1, "Language-Independent Types").
    let has_meaning = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    if starts && text.chars().all(fits) && !has_meaning {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                // Writing to a string can't fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn writeln(to: &mut String, text: &str) {
    to.push_str(text);
    to.push('\n');
}

fn indent(to: &mut String, depth: usize) {
    to.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_indented_and_texts_quoted_where_they_must_be() {
        let rule = Node::Map(vec![
            ("alert", Node::text("Burn")),
            ("expr", Node::text("a\n  and b")),
            ("on", Node::text("no")),
            ("number", Node::Number("1".into())),
            ("labels", Node::labels([("a", "1.0"), ("b:c", "say \"x\"\\\u{7}")])),
            ("empty", Node::List(Vec::new())),
            ("list", Node::List(vec![Node::text("/orders/{id}"), Node::text("/orders")])),
        ]);
        let document = Node::Map(vec![("groups", Node::List(vec![rule]))]).document("one\n\ntwo");
        let expected = r#"# one
#
# two
groups:
  - alert: Burn
    expr: |-
      a
        and b
    "on": "no"
    number: 1
    labels:
      a: "1.0"
      "b:c": "say \"x\"\\\u0007"
    empty: []
    list:
      - "/orders/{id}"
      - "/orders"
"#;
        assert_eq!(document, expected);
    }
}
