//! Parameters in path, query, header and cookie.

use std::collections::BTreeMap;

use super::{Found, Path, operation::Both};
use crate::{
    document::{Node, Unreadable},
    schema::Direction,
};

/// Header fields that other parts of a description speak of (OpenAPI, "Parameter Object": they "SHALL be ignored").
const SPOKEN_OF_ELSEWHERE: [&str; 3] = ["accept", "content-type", "authorization"];

/// Where a parameter stands, and what it is called there; by their order in a path, where names don't count.
type Key = (String, String);

pub(super) fn compare(both: &Both<'_, '_>, found: &mut Found) -> Result<(), Unreadable> {
    let old = parameters(both.old, &both.old_operation)?;
    let new = parameters(both.new, &both.new_operation)?;
    for (key, old) in &old {
        let place = format!("{}, {} parameter `{}`", both.place, key.0, old.text("name").unwrap_or(&key.1));
        match new.get(key) {
            // What is in the path is there by the path itself.
            None if key.0 == "path" => {}
            None => found.breaks(
                &place,
                Some(old),
                None,
                "callers may send it, and the service no longer knows it",
            ),
            Some(new) => compare_one(&place, old, new, found)?,
        }
    }
    for ((kind, name), new) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        if new.is_set("required") && kind != "path" {
            let place = format!("{}, {kind} parameter `{name}`", both.place);
            found.breaks(&place, None, Some(new), "it is required, and callers don't send it");
        }
    }
    Ok(())
}

fn compare_one(place: &str, old: &Node<'_>, new: &Node<'_>, found: &mut Found) -> Result<(), Unreadable> {
    if new.is_set("required") && !old.is_set("required") {
        let (old, new) = (old.get("required"), new.get("required"));
        found.breaks(place, old.as_ref(), new.as_ref(), "it is required, and callers may leave it out");
    }
    for (key, default) in [("style", style(old)), ("explode", ""), ("allowReserved", "")] {
        let value =
            |node: &Node<'_>| node.value.get(key).map_or_else(|| default.to_owned(), ToString::to_string);
        let value = |node: &Node<'_>| value(node).trim_matches('"').to_owned();
        if value(old) != value(new) {
            let (old, new) = (old.get(key), new.get(key));
            found.breaks(place, old.as_ref(), new.as_ref(), "it is written another way");
        }
    }
    let (old_content, new_content) = (old.members("content")?, new.members("content")?);
    let same_kind = old_content.iter().map(|(kind, _)| kind).eq(new_content.iter().map(|(kind, _)| kind));
    if !same_kind {
        found.breaks(place, Some(old), Some(new), "it is of another media type");
        return Ok(());
    }
    for ((_, old), (_, new)) in old_content.iter().zip(&new_content) {
        found.schemas(place, Direction::Request, old.get("schema").as_ref(), new.get("schema").as_ref())?;
    }
    // One without a schema says nothing of its type: callers that are described by what they call have none.
    let Some(old) = old.get("schema") else { return Ok(()) };
    found.schemas(place, Direction::Request, Some(&old), new.get("schema").as_ref())
}

/// The default of `style`, by where the parameter stands.
fn style(parameter: &Node<'_>) -> &'static str {
    match parameter.text("in") {
        Some("query" | "cookie") => "form",
        _ => "simple",
    }
}

/// The parameters of an operation: its own go before those of its path.
fn parameters<'d>(path: &Path<'d>, operation: &Node<'d>) -> Result<BTreeMap<Key, Node<'d>>, Unreadable> {
    let order = path.parameters();
    let mut all = BTreeMap::new();
    for node in path.item.elements("parameters")?.into_iter().chain(operation.elements("parameters")?) {
        let node = node.resolved()?;
        let expected = "a parameter with `name` and `in`";
        let name = node.text("name").ok_or_else(|| node.malformed(expected))?;
        let kind = node.text("in").ok_or_else(|| node.malformed(expected))?;
        let key = match kind {
            "path" => match order.iter().position(|known| *known == name) {
                Some(index) => index.to_string(),
                None => name.to_owned(),
            },
            // Field names know no case (RFC 9110, section 5.1).
            "header" => name.to_ascii_lowercase(),
            _ => name.to_owned(),
        };
        if kind != "header" || !SPOKEN_OF_ELSEWHERE.contains(&key.as_str()) {
            all.insert((kind.to_owned(), key), node);
        }
    }
    Ok(all)
}
