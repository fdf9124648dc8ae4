//! A schema as alternatives of plain schemas.

use serde_json::Value;

use crate::document::{Node, Unreadable};

/// Plain schemas that all hold: what their `$ref`, `allOf`, `anyOf` and `oneOf` say stands beside them.
pub(super) type Conjunction<'d> = Vec<Node<'d>>;

/// How many alternatives one schema may have.
const MOST_ALTERNATIVES: usize = 512;

/// The alternatives of `node`. A value is valid if it is for one of them; `oneOf` is read as `anyOf`, since what
/// tools write with it are sum types, whose alternatives exclude each other.
pub(super) fn alternatives<'d>(node: &Node<'d>) -> Result<Vec<Conjunction<'d>>, Unreadable> {
    expand(node, &mut Vec::new())
}

/// The alternatives of values that are valid for each of `nodes`.
pub(super) fn alternatives_of_all<'d>(nodes: &[Node<'d>]) -> Result<Vec<Conjunction<'d>>, Unreadable> {
    nodes.iter().try_fold(vec![Vec::new()], |all, node| product(&all, &alternatives(node)?))
}

fn expand<'d>(node: &Node<'d>, within: &mut Vec<usize>) -> Result<Vec<Conjunction<'d>>, Unreadable> {
    match node.value {
        Value::Bool(true) => return Ok(vec![Vec::new()]),
        Value::Bool(false) => return Ok(Vec::new()),
        Value::Object(_) => {}
        _ => return Err(node.malformed("a schema")),
    }
    if within.contains(&node.identity()) {
        return Err(
            node.broken(node.text("$ref").unwrap_or_default(), "so that the schema is made of itself")
        );
    }
    within.push(node.identity());
    let mut all = vec![vec![node.clone()]];
    if let Some(target) = node.reference()? {
        // In OpenAPI 3.0 what stands beside `$ref` doesn't count.
        if node.is_3_0() {
            all = vec![Vec::new()];
        }
        all = product(&all, &expand(&target, within)?)?;
    }
    if let Some(dynamic) = node.get("$dynamicRef") {
        return Err(dynamic.malformed("`$ref`: dynamic references are not followed"));
    }
    for part in node.elements("allOf")? {
        all = product(&all, &expand(&part, within)?)?;
    }
    for keyword in ["anyOf", "oneOf"] {
        if node.get(keyword).is_some() {
            let mut union = Vec::new();
            for part in node.elements(keyword)? {
                union.extend(expand(&part, within)?);
            }
            all = product(&all, &union)?;
        }
    }
    within.pop();
    Ok(all)
}

fn product<'d>(
    ones: &[Conjunction<'d>],
    others: &[Conjunction<'d>],
) -> Result<Vec<Conjunction<'d>>, Unreadable> {
    if ones.len().saturating_mul(others.len()) > MOST_ALTERNATIVES {
        return Err(Unreadable::TooLarge { what: "alternatives in one schema", limit: MOST_ALTERNATIVES });
    }
    let mut all = Vec::with_capacity(ones.len() * others.len());
    for one in ones {
        for other in others {
            let mut both = one.clone();
            // Twice the same schema says no more than once; recursive ones would grow.
            let new = other.iter().filter(|node| !one.iter().any(|had| had.identity() == node.identity()));
            both.extend(new.cloned());
            all.push(both);
        }
    }
    Ok(all)
}
