//! Whether a request and its answer are as a description says.

use serde_json::Value;

use crate::{
    document::{Document, Node, Unreadable},
    openapi::{describes, essence, in_range, members_by_status},
    schema::Reading,
};

/// A request and the answer to it, as they went over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The method, such as `PUT`.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The media type and the body of the request; `None` where it has none. A body that is no JSON is a JSON string.
    pub request: Option<(&'a str, &'a Value)>,
    /// The status of the answer.
    pub status: u16,
    /// The media type and the body of the answer, likewise.
    pub answer: Option<(&'a str, &'a Value)>,
}

/// Something in an exchange that the description doesn't say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
#[non_exhaustive]
pub struct Mismatch {
    /// `PUT /payments/{id}, answer 200`, and where in the body.
    pub place: String,
    /// What is not as described.
    pub why: String,
}

impl Document {
    /// What of `exchange` is not as described. Where the service refused the request (4xx) its body may be anything.
    ///
    /// `pattern`, `format` and the like are not judged.
    ///
    /// # Errors
    /// When the description can't be read where the exchange leads.
    pub fn mismatches(&self, exchange: &Exchange<'_>) -> Result<Vec<Mismatch>, Unreadable> {
        let method = exchange.method.to_ascii_lowercase();
        let Some((template, item)) = self.path_of(exchange.path)? else {
            return Ok(vec![mismatch(exchange.path, "no such path is described")]);
        };
        let place = format!("{} {template}", exchange.method);
        let Some(operation) = item.get(&method) else {
            return Ok(vec![mismatch(&place, "no such operation is described")]);
        };
        let mut found = Vec::new();
        if !(400..500).contains(&exchange.status) {
            let place = format!("{place}, request body");
            match operation.get("requestBody").map(Node::resolved).transpose()? {
                Some(body) => content(&place, &body, exchange.request, body.is_set("required"), &mut found)?,
                None if exchange.request.is_some() => found.push(mismatch(&place, "none is described")),
                None => {}
            }
        }
        let place = format!("{place}, answer {}", exchange.status);
        let answers = members_by_status(&operation)?;
        match describes(&answers, &exchange.status.to_string()) {
            None => found.push(mismatch(&place, "no such answer is described")),
            Some(answer) if answer.get("content").is_some() => {
                content(&place, answer, exchange.answer, true, &mut found)?;
            }
            Some(_) if exchange.answer.is_some() => found.push(mismatch(&place, "no body is described")),
            Some(_) => {}
        }
        Ok(found)
    }

    /// The template that `path` is of; one without parameters goes before one with (OpenAPI, "Paths Object").
    fn path_of(&self, path: &str) -> Result<Option<(&str, Node<'_>)>, Unreadable> {
        let all = self.root().members("paths")?;
        let of = all.into_iter().filter(|(template, _)| matches(template, path));
        let found = of.min_by_key(|(template, _)| template.matches('{').count());
        found.map(|(template, item)| Ok((template, item.resolved()?))).transpose()
    }
}

/// Whether `body` is one that the `content` of `node` describes.
fn content(
    place: &str,
    node: &Node<'_>,
    body: Option<(&str, &Value)>,
    is_required: bool,
    found: &mut Vec<Mismatch>,
) -> Result<(), Unreadable> {
    let Some((kind, value)) = body else {
        if is_required {
            found.push(mismatch(place, "it has no body"));
        }
        return Ok(());
    };
    let contents = node.members("content")?;
    let exact = contents.iter().find(|(other, _)| essence(other) == essence(kind));
    let media = exact.or_else(|| contents.iter().find(|(range, _)| in_range(range, kind)));
    let Some((_, media)) = media else {
        found.push(mismatch(place, &format!("`{kind}` is not described")));
        return Ok(());
    };
    let Some(schema) = media.get("schema") else { return Ok(()) };
    if let Some(invalid) = Reading::new().read(&schema, value)? {
        found.push(mismatch(&format!("{place}{}", invalid.pointer), &invalid.why));
    }
    Ok(())
}

fn mismatch(place: &str, why: &str) -> Mismatch {
    Mismatch { place: place.to_owned(), why: why.to_owned() }
}

/// Whether `path` is one of `template`: segment by segment, a parameter being something within one.
fn matches(template: &str, path: &str) -> bool {
    let (mut templates, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (templates.next(), segments.next()) {
            (None, None) => return true,
            (Some(template), Some(segment)) if is_one(template, segment) => {}
            _ => return false,
        }
    }
}

fn is_one(template: &str, segment: &str) -> bool {
    let Some((before, rest)) = template.split_once('{') else { return template == segment };
    let after = rest.split_once('}').map_or("", |(_, after)| after);
    let inner = segment.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    inner.is_some_and(|inner| !inner.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Document {
        let payment =
            json!({"type": "object", "required": ["status"], "properties": {"status": {"enum": ["paid"]}}});
        let charge =
            json!({"type": "object", "required": ["cents"], "properties": {"cents": {"type": "integer"}}});
        Document::new(json!({"openapi": "3.1.0", "paths": {
            "/payments/{id}": {"put": {
                "requestBody": {"required": true, "content": {"application/json": {"schema": charge}}},
                "responses": {
                    "200": {"content": {"application/json": {"schema": payment}}},
                    "4XX": {"content": {"application/problem+json": {}}},
                    "204": {"description": "nothing"},
                },
            }},
            "/payments/all": {"get": {"responses": {"200": {"description": "nothing"}}}},
        }}))
        .unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is written out at each use")]
    fn told(path: &str, body: Value, status: u16, kind: &str, answer: Value) -> Vec<String> {
        let exchange = Exchange {
            method: if path.ends_with("all") { "GET" } else { "PUT" },
            path,
            request: Some(("application/json", &body)).filter(|_| !body.is_null()),
            status,
            answer: Some((kind, &answer)).filter(|_| !answer.is_null()),
        };
        document().mismatches(&exchange).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_as_described_is_passed() {
        let (charge, paid) = (json!({"cents": 1}), json!({"status": "paid"}));
        assert!(told("/payments/1", charge.clone(), 200, "application/json; charset=utf-8", paid).is_empty());
        assert!(told("/payments/1", charge, 204, "", Value::Null).is_empty());
        assert!(
            told("/payments/1", json!({"cents": "x"}), 422, "application/problem+json", json!({})).is_empty()
        );
        assert!(told("/payments/all", Value::Null, 200, "", Value::Null).is_empty());
    }

    #[test]
    fn what_is_not_is_named_with_its_place() {
        let (charge, json) = (json!({"cents": 1}), "application/json");
        let first = |found: Vec<String>| found.into_iter().next().unwrap();
        let said = told("/payments/1", charge.clone(), 200, json, json!({"status": "void"}));
        assert_eq!(
            first(said),
            "PUT /payments/{id}, answer 200/status: \"void\" does not keep to `enum: [\"paid\"]`"
        );
        let said = told("/payments/1", charge.clone(), 200, json, json!({}));
        assert_eq!(first(said), "PUT /payments/{id}, answer 200: `status` is missing");
        let said = told("/payments/1", charge.clone(), 503, json, json!({}));
        assert_eq!(first(said), "PUT /payments/{id}, answer 503: no such answer is described");
        let said = told("/payments/1", json!({"cents": "1"}), 200, json, json!({"status": "paid"}));
        assert_eq!(
            first(said),
            "PUT /payments/{id}, request body/cents: it is a string, expected \"integer\""
        );
        assert!(
            first(told("/payments/1", charge.clone(), 200, "text/plain", json!("")))
                .contains("`text/plain` is not described")
        );
        assert!(
            first(told("/payments/1", charge.clone(), 204, json, json!({}))).contains("no body is described")
        );
        assert_eq!(
            first(told("/nowhere", charge, 204, json, json!({}))),
            "/nowhere: no such path is described"
        );
    }
}
