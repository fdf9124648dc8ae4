//! Keywords that bound a value by themselves: whether the writer keeps to the reader's.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::{
    document::{Node, Unreadable},
    schema::{expand::Conjunction, number, types::Type},
};

/// Formats whose values all have the other format too.
const WIDER: [(&str, &str); 9] = [
    ("int8", "int16"),
    ("int8", "int32"),
    ("int8", "int64"),
    ("int16", "int32"),
    ("int16", "int64"),
    ("int32", "int64"),
    ("int32", "double"),
    ("float", "double"),
    ("int16", "float"),
];

/// Whether whatever `writer` writes keeps to `keyword` of `reader`.
pub(super) fn is_implied(
    writer: &Conjunction<'_>,
    reader: &Node<'_>,
    keyword: &str,
    kind: Type,
) -> Result<bool, Unreadable> {
    let Some(limit) = reader.value.get(keyword) else { return Ok(true) };
    Ok(match keyword {
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
            let is_lower = keyword.ends_with("inimum");
            match bound(reader, keyword)? {
                None => true,
                Some((limit, is_exclusive)) => {
                    let mut implied = false;
                    for node in writer {
                        for keyword in if is_lower { LOWER } else { UPPER } {
                            if let Some((own, own_exclusive)) = bound(node, keyword)? {
                                let order = number::order(own, limit);
                                let within = if is_lower { Ordering::Greater } else { Ordering::Less };
                                implied |= order == within
                                    || (order == Ordering::Equal && (own_exclusive || !is_exclusive));
                            }
                        }
                    }
                    implied
                }
            }
        }
        "multipleOf" => {
            let Value::Number(limit) = limit else {
                return Err(reader.malformed("a schema whose `multipleOf` is a number"));
            };
            let whole = kind == Type::Integer && number::is_multiple(&Number::from(1), limit);
            whole
                || writer.iter().any(|node| {
                    node.value
                        .get(keyword)
                        .and_then(Value::as_number)
                        .is_some_and(|own| number::is_multiple(own, limit))
                })
        }
        "minLength" | "minItems" | "minProperties" | "maxLength" | "maxItems" | "maxProperties" => {
            let count = |node: &Node<'_>| node.value.get(keyword).and_then(Value::as_u64);
            let limit = count(reader)
                .ok_or_else(|| reader.malformed("a schema whose bounds of length are whole numbers"))?;
            if keyword.starts_with("min") {
                limit == 0 || writer.iter().filter_map(count).any(|own| own >= limit)
            } else {
                writer.iter().filter_map(count).any(|own| own <= limit)
            }
        }
        "uniqueItems" => {
            let few = |node: &Node<'_>| {
                node.value.get("maxItems").and_then(Value::as_u64).is_some_and(|most| most < 2)
            };
            limit != &Value::Bool(true) || writer.iter().any(|node| node.is_set(keyword) || few(node))
        }
        "format" => {
            let formats = || writer.iter().filter_map(|node| node.text("format"));
            let limit =
                limit.as_str().ok_or_else(|| reader.malformed("a schema whose `format` is a string"))?;
            formats().any(|own| own == limit || WIDER.contains(&(own, limit)))
        }
        _ => writer.iter().any(|node| is_same(node, reader, keyword)),
    })
}

const LOWER: [&str; 2] = ["minimum", "exclusiveMinimum"];
const UPPER: [&str; 2] = ["maximum", "exclusiveMaximum"];

/// The bound that `keyword` sets, and whether the bound itself is out.
fn bound<'d>(node: &Node<'d>, keyword: &str) -> Result<Option<(&'d Number, bool)>, Unreadable> {
    let exclusive = match keyword {
        "minimum" => "exclusiveMinimum",
        "maximum" => "exclusiveMaximum",
        _ => keyword,
    };
    match node.value.get(keyword) {
        None => Ok(None),
        Some(Value::Number(bound)) => {
            // OpenAPI 3.0 has a flag beside the bound.
            let flagged = node.is_3_0() && node.is_set(exclusive);
            Ok(Some((bound, keyword == exclusive || flagged)))
        }
        Some(Value::Bool(_)) if node.is_3_0() && keyword == exclusive => Ok(None),
        Some(_) => Err(node.malformed("a schema whose bounds are numbers")),
    }
}

/// Whether both say the same by `keyword`, and by those that it is read with. What a reference leads to may differ.
fn is_same(writer: &Node<'_>, reader: &Node<'_>, keyword: &str) -> bool {
    let together: &[&str] = match keyword {
        "if" | "then" | "else" => &["if", "then", "else"],
        "contains" | "minContains" | "maxContains" => &["contains", "minContains", "maxContains"],
        // They say something about what all others left over.
        "unevaluatedProperties" | "unevaluatedItems" => {
            return writer.value == reader.value && !refers(reader.value);
        }
        _ => &[keyword],
    };
    together.iter().all(|keyword| {
        let theirs = reader.value.get(keyword);
        writer.value.get(keyword) == theirs && theirs.is_none_or(|value| !refers(value))
    })
}

fn refers(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, value)| key == "$ref" || refers(value)),
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}
