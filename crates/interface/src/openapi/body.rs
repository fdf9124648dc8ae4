//! Bodies by media type.

use super::{Found, operation::Both};
use crate::{
    document::{Node, Unreadable},
    schema::Direction,
};

pub(super) fn compare_requests(both: &Both<'_, '_>, found: &mut Found) -> Result<(), Unreadable> {
    let old = both.old_operation.get("requestBody").map(Node::resolved).transpose()?;
    let new = both.new_operation.get("requestBody").map(Node::resolved).transpose()?;
    let place = format!("{}, request body", both.place);
    match (&old, &new) {
        (None, None) => {}
        (Some(old), None) => {
            found.breaks(&place, Some(old), None, "callers may send one, and the service no longer takes it");
        }
        (None, Some(new)) => {
            if new.is_set("required") {
                found.breaks(&place, None, Some(new), "it is required, and callers don't send one");
            }
        }
        (Some(old), Some(new)) => {
            if new.is_set("required") && !old.is_set("required") {
                let (old, new) = (old.get("required"), new.get("required"));
                found.breaks(
                    &place,
                    old.as_ref(),
                    new.as_ref(),
                    "it is required, and callers may leave it out",
                );
            }
            compare_contents(&place, Direction::Request, old, new, found)?;
        }
    }
    Ok(())
}

/// Every media type that the old one has must still be there: callers write it, or ask for it.
pub(super) fn compare_contents(
    place: &str,
    direction: Direction,
    old: &Node<'_>,
    new: &Node<'_>,
    found: &mut Found,
) -> Result<(), Unreadable> {
    let new_contents = new.members("content")?;
    for (kind, old_media) in old.members("content")? {
        let exact = new_contents.iter().find(|(other, _)| essence(other) == essence(kind));
        // A service that takes a range takes what is in it.
        let range =
            || new_contents.iter().find(|(range, _)| direction == Direction::Request && covers(range, kind));
        let Some((_, new_media)) = exact.or_else(range) else {
            let why = match direction {
                Direction::Request => format!("`{kind}` is no longer taken"),
                Direction::Answer => format!("`{kind}` is no longer answered"),
            };
            found.breaks(place, Some(&old_media), new.get("content").as_ref(), &why);
            continue;
        };
        let place = format!("{place} {kind}");
        found.schemas(
            &place,
            direction,
            old_media.get("schema").as_ref(),
            new_media.get("schema").as_ref(),
        )?;
    }
    Ok(())
}

/// A media type without its parameters, in lower case.
pub(crate) fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether `range` (`*/*`, `text/*`) has `kind` in it.
pub(crate) fn covers(range: &str, kind: &str) -> bool {
    let (range, kind) = (essence(range), essence(kind));
    match range.strip_suffix('*') {
        Some("*/") => true,
        Some(prefix) => prefix.ends_with('/') && kind.starts_with(prefix),
        None => range == kind,
    }
}
