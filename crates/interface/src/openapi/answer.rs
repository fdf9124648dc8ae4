//! Answers by status.

use super::{Found, body::compare_contents, operation::Both};
use crate::{
    document::{Node, Unreadable},
    schema::Direction,
};

pub(super) fn compare(both: &Both<'_, '_>, found: &mut Found) -> Result<(), Unreadable> {
    let old = answers(&both.old_operation)?;
    let new = answers(&both.new_operation)?;
    for (status, old_answer) in &old {
        // One who is refused another way is still refused: RFC 9110 section 15 lets callers treat it by its class.
        let is_needed = is_success(status)
            && !new.iter().any(|(other, _)| covers(status, other) || covers(other, status));
        if is_needed {
            let place = format!("{}, answer {status}", both.place);
            found.breaks(&place, Some(old_answer), None, "the service no longer answers so");
        }
    }
    for (status, new_answer) in &new {
        let place = format!("{}, answer {status}", both.place);
        let Some(old_answer) = describes(&old, status) else {
            let is_new = is_success(status) && !old.iter().any(|(other, _)| covers(status, other));
            if is_new {
                found.breaks(&place, None, Some(new_answer), "callers don't know this answer");
            }
            continue;
        };
        compare_contents(&place, Direction::Answer, old_answer, new_answer, found)?;
        compare_headers(&place, old_answer, new_answer, found)?;
    }
    Ok(())
}

fn compare_headers(place: &str, old: &Node<'_>, new: &Node<'_>, found: &mut Found) -> Result<(), Unreadable> {
    let new_headers = new.members("headers")?;
    for (name, old) in old.members("headers")? {
        let old = old.resolved()?;
        let place = format!("{place}, header `{name}`");
        let new = new_headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        let new = new.map(|(_, node)| node.clone().resolved()).transpose()?;
        if old.is_set("required") && !new.as_ref().is_some_and(|new| new.is_set("required")) {
            found.breaks(&place, Some(&old), new.as_ref(), "it may be missing");
        }
        if let Some(new) = new {
            found.schemas(
                &place,
                Direction::Answer,
                old.get("schema").as_ref(),
                new.get("schema").as_ref(),
            )?;
        }
    }
    Ok(())
}

/// The answers of an operation by status: `200`, `2XX`, `default`.
pub(crate) fn answers<'d>(operation: &Node<'d>) -> Result<Vec<(&'d str, Node<'d>)>, Unreadable> {
    let all = operation.members("responses")?.into_iter();
    all.filter(|(status, _)| !status.starts_with("x-"))
        .map(|(status, node)| Ok((status, node.resolved()?)))
        .collect()
}

/// The answer that speaks of `status`: by its number, its range, or as the default.
pub(crate) fn describes<'a, 'd>(answers: &'a [(&'d str, Node<'d>)], status: &str) -> Option<&'a Node<'d>> {
    let exact = answers.iter().find(|(other, _)| other.eq_ignore_ascii_case(status));
    let range = || answers.iter().find(|(other, _)| *other != "default" && covers(other, status));
    let default = || answers.iter().find(|(other, _)| *other == "default");
    exact.or_else(range).or_else(default).map(|(_, node)| node)
}

fn is_success(status: &str) -> bool {
    status.starts_with(['2', '3'])
}

/// Whether `status` is `range`, or in it.
fn covers(range: &str, status: &str) -> bool {
    let same = |(range, status): (char, char)| {
        range.eq_ignore_ascii_case(&status) || range.eq_ignore_ascii_case(&'X')
    };
    range.len() == status.len() && range.chars().zip(status.chars()).all(same)
}
