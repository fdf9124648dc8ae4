//! What the standard stack takes and answers, whatever the service does: added to its description.

use mainstay_core::context;
use serde_json::{Map, Value, json};

/// Names that no description uses for its own.
const PROBLEM: &str = "mainstay.Problem";
const REQUEST_ID: &str = "mainstay.RequestId";
const REQUEST_TIMEOUT: &str = "mainstay.RequestTimeout";

const METHODS: [&str; 8] = ["delete", "get", "head", "options", "patch", "post", "put", "trace"];

/// `description` of the service `name` with the header fields that every operation takes, and problem documents for every
/// error that has no other body.
pub(super) fn with_the_stack(mut description: Value, name: &str) -> Value {
    // It is this name that others call the service by.
    if let Some(info) = object(&mut description, "info") {
        info.insert("title".to_owned(), name.into());
        info.entry("version").or_insert_with(|| "1".into());
    }
    for item in object(&mut description, "paths").into_iter().flat_map(Map::values_mut) {
        if item.get("$ref").is_some() {
            continue;
        }
        let Some(item) = item.as_object_mut() else { continue };
        if let Some(parameters) = item.entry("parameters").or_insert_with(|| json!([])).as_array_mut() {
            let fields = [REQUEST_ID, REQUEST_TIMEOUT];
            parameters
                .extend(fields.map(|field| json!({"$ref": format!("#/components/parameters/{field}")})));
        }
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                complete_answers(operation);
            }
        }
    }
    if let Some(components) = object(&mut description, "components") {
        for (kind, own) in own_components() {
            let had = components.entry(kind).or_insert_with(|| json!({}));
            if let (Some(had), Value::Object(own)) = (had.as_object_mut(), own) {
                had.extend(own);
            }
        }
    }
    description
}

fn complete_answers(operation: &mut Value) {
    let Some(answers) = object(operation, "responses") else { return };
    let problem = json!({"$ref": format!("#/components/responses/{PROBLEM}")});
    answers.entry("default").or_insert(problem);
    for (status, answer) in answers.iter_mut() {
        if answer.get("$ref").is_some() {
            continue;
        }
        if status.starts_with(['4', '5']) && answer.get("content").is_none() {
            answer["content"] = problem_content();
        }
        if let Some(headers) = object(answer, "headers") {
            let id = json!({"$ref": format!("#/components/headers/{REQUEST_ID}")});
            headers.entry(context::REQUEST_ID.as_str()).or_insert(id);
        }
    }
}

fn own_components() -> [(&'static str, Value); 4] {
    let id = "The id of the request: visible ASCII, at most 128 bytes. It is echoed, passed on and logged.";
    let timeout = "What is left until the deadline: at most 8 digits and one of H, M, S, m, u, n.";
    let header = |name: &http::HeaderName, description: &str| {
        let schema = json!({"type": "string"});
        json!({"name": name.as_str(), "in": "header", "required": false, "description": description, "schema": schema})
    };
    let headers = json!({"x-request-id": {"$ref": format!("#/components/headers/{REQUEST_ID}")}});
    [
        (
            "parameters",
            json!({
                REQUEST_ID: header(&context::REQUEST_ID, id),
                REQUEST_TIMEOUT: header(&context::REQUEST_TIMEOUT, timeout),
            }),
        ),
        ("headers", json!({REQUEST_ID: {"required": true, "description": id, "schema": {"type": "string"}}})),
        (
            "responses",
            json!({PROBLEM: {
                "description": "An error (RFC 9457).", "headers": headers, "content": problem_content(),
            }}),
        ),
        ("schemas", json!({PROBLEM: problem()})),
    ]
}

fn problem_content() -> Value {
    json!({"application/problem+json": {"schema": {"$ref": format!("#/components/schemas/{PROBLEM}")}}})
}

/// The schema of [`mainstay_core::error::Problem`].
fn problem() -> Value {
    let violation = json!({
        "type": "object",
        "required": ["field", "detail"],
        "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
    });
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "instance", "trace_id"],
        "properties": {
            "type": {"type": "string", "description": "A URI that names the kind of problem."},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 100, "maximum": 599},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "trace_id": {"type": "string"},
            "errors": {"type": "array", "items": violation},
        },
    })
}

/// The object at `key`, made where it is not there.
fn object<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.as_object_mut()?.entry(key).or_insert_with(|| json!({})).as_object_mut()
}
