use serde_json::{Value, json};

use super::*;

fn document(paths: &Value) -> Document {
    Document::new(json!({"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": paths}))
        .unwrap()
}

/// One operation, `POST /orders/{id}`, as `change` leaves it.
fn orders(change: impl FnOnce(&mut Value)) -> Document {
    let json = json!({"application/json": {"schema": {"type": "object", "properties": {}}}});
    let mut operation = json!({
        "parameters": [
            {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
            {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
        ],
        "requestBody": {"content": json},
        "responses": {
            "201": {
                "description": "made",
                "headers": {"location": {"required": true, "schema": {"type": "string"}}},
                "content": json,
            },
            "409": {"description": "no", "content": {"application/problem+json": {"schema": {"type": "object"}}}},
        },
        "security": [{"token": ["read"]}, {"key": []}],
    });
    change(&mut operation);
    let mut whole = document(&json!({"/orders/{id}": {"post": operation}})).into_value();
    whole["components"] = json!({"securitySchemes": {
        "token": {"type": "oauth2"}, "key": {"type": "apiKey", "in": "header", "name": "x-key"},
        "lock": {"type": "apiKey", "in": "header", "name": "x-key"}, "basic": {"type": "http", "scheme": "basic"},
    }});
    Document::new(whole).unwrap()
}

/// What breaks when the operation is changed so: place and reason.
fn breaks(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let found = compare(&orders(|_| {}), &orders(change)).unwrap();
    found.breaking.into_iter().map(|change| format!("{}: {}", change.place, change.why)).collect()
}

fn one(change: impl FnOnce(&mut Value)) -> String {
    let all = breaks(change);
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

fn none(change: impl FnOnce(&mut Value)) {
    let all = breaks(change);
    assert!(all.is_empty(), "{all:?}");
}

fn set(operation: &mut Value, pointer: &str, value: Value) {
    *operation.pointer_mut(pointer).unwrap() = value;
}

#[test]
fn a_path_or_an_operation_that_is_gone_breaks() {
    let old = document(&json!({"/a": {"get": {}, "put": {}}, "/b/{x}": {"get": {}}}));
    let new = document(&json!({"/a": {"get": {}}, "/c": {"get": {}}}));
    let found = compare(&old, &new).unwrap();
    let told: Vec<_> =
        found.breaking.iter().map(|change| (change.pointer.as_str(), change.why.as_str())).collect();
    assert_eq!(
        told,
        [("/paths/~1a/put", "the operation is gone"), ("/paths/~1b~1{x}", "the path `/b/{x}` is gone")]
    );
    let listed: Vec<_> =
        found.compatible.iter().map(|change| (change.pointer.as_str(), change.why.as_str())).collect();
    assert_eq!(listed, [("/paths/~1c", "added")]);
}

#[test]
fn the_name_of_a_parameter_in_the_path_is_no_part_of_the_interface_and_its_type_is() {
    let path = |name: &str, kind: &str| {
        let parameter = json!({"name": name, "in": "path", "required": true, "schema": {"type": kind}});
        document(&json!({format!("/a/{{{name}}}"): {"parameters": [parameter], "get": {}}}))
    };
    assert!(compare(&path("id", "string"), &path("order", "string")).unwrap().is_compatible());
    let found = compare(&path("id", "string"), &path("order", "integer")).unwrap().breaking;
    assert_eq!(found[0].place, "GET /a/{id}, path parameter `id`");
    assert_eq!(found[0].why, "callers may send a string, which is not taken");
}

#[test]
fn parameters_may_become_fewer_demands_and_not_more() {
    let more = |parameter: Value| {
        move |operation: &mut Value| operation["parameters"].as_array_mut().unwrap().push(parameter)
    };
    none(more(json!({"name": "page", "in": "query"})));
    let required = json!({"name": "page", "in": "query", "required": true});
    assert_eq!(
        one(more(required)),
        "POST /orders/{id}, query parameter `page`: it is required, and callers don't send it"
    );
    none(more(json!({"name": "Authorization", "in": "header", "required": true})));
    let place = "POST /orders/{id}, query parameter `limit`: ";
    let gone = one(|operation| drop(operation["parameters"].as_array_mut().unwrap().pop()));
    assert_eq!(gone, format!("{place}callers may send it, and the service no longer knows it"));
    let now = one(|operation| operation["parameters"][1]["required"] = true.into());
    assert_eq!(now, format!("{place}it is required, and callers may leave it out"));
    none(|operation| set(operation, "/parameters/1/schema/maximum", 200.into()));
    let narrow = one(|operation| set(operation, "/parameters/1/schema/maximum", 50.into()));
    assert_eq!(narrow, format!("{place}callers may send more than 50 (maximum), which is not taken"));
    let style = one(|operation| operation["parameters"][1]["style"] = "pipeDelimited".into());
    assert_eq!(style, format!("{place}it is written another way"));
    none(|operation| operation["parameters"][1]["style"] = "form".into());
}

#[test]
fn a_body_may_become_optional_and_gain_media_types() {
    let place = "POST /orders/{id}, request body: ";
    none(|operation| operation["requestBody"]["content"]["text/csv"] = json!({}));
    none(|operation| operation["requestBody"]["content"] = json!({"application/*": {}}));
    let required = one(|operation| operation["requestBody"]["required"] = true.into());
    assert_eq!(required, format!("{place}it is required, and callers may leave it out"));
    let other = one(|operation| operation["requestBody"]["content"] = json!({"text/csv": {}}));
    assert_eq!(other, format!("{place}`application/json` is no longer taken"));
    let gone = one(|operation| drop(operation.as_object_mut().unwrap().remove("requestBody")));
    assert_eq!(gone, format!("{place}callers may send one, and the service no longer takes it"));
}

#[test]
fn successes_that_callers_know_stay_and_no_others_come() {
    let place = "POST /orders/{id}, answer ";
    none(|operation| operation["responses"]["404"] = json!({}));
    none(|operation| drop(operation["responses"].as_object_mut().unwrap().remove("409")));
    let added = one(|operation| operation["responses"]["202"] = json!({}));
    assert_eq!(added, format!("{place}202: callers don't know this answer"));
    let moved = breaks(|operation| {
        let answer = operation["responses"].as_object_mut().unwrap().remove("201").unwrap();
        operation["responses"]["200"] = answer;
    });
    assert_eq!(
        moved,
        [
            format!("{place}201: the service no longer answers so"),
            format!("{place}200: callers don't know this answer")
        ]
    );
    let header = one(|operation| set(operation, "/responses/201/headers", json!({})));
    assert_eq!(header, format!("{place}201, header `location`: it may be missing"));
    let kind = one(|operation| set(operation, "/responses/201/content", json!({"text/csv": {}})));
    assert_eq!(kind, format!("{place}201: `application/json` is no longer answered"));
    none(|operation| operation["responses"]["201"]["content"]["text/csv"] = json!({}));
}

#[test]
fn a_range_of_statuses_speaks_of_each_in_it() {
    let with = |responses: Value| document(&json!({"/a": {"get": {"responses": responses}}}));
    let answer = |kind: &str| json!({"content": {"application/json": {"schema": {"type": kind}}}});
    let old = with(json!({"2XX": answer("string")}));
    assert!(
        compare(&old, &with(json!({"200": answer("string"), "201": answer("string")})))
            .unwrap()
            .is_compatible()
    );
    let found = compare(&old, &with(json!({"200": answer("integer")}))).unwrap().breaking;
    assert_eq!(found[0].why, "the answer may be an integer, which callers don't expect");
    assert!(!compare(&old, &with(json!({"302": answer("string")}))).unwrap().is_compatible());
    let old = with(json!({"default": answer("string")}));
    assert!(compare(&old, &with(json!({"200": answer("string")}))).unwrap().is_compatible());
    assert!(!compare(&old, &with(json!({"200": answer("integer")}))).unwrap().is_compatible());
}

#[test]
fn who_could_call_still_can() {
    none(|operation| operation["security"] = json!([]));
    none(|operation| operation["security"] = json!([{"token": []}, {"key": []}, {"basic": []}]));
    // The same scheme under another name.
    none(|operation| operation["security"] = json!([{"token": ["read"]}, {"lock": []}]));
    for worse in [
        json!([{"token": ["read", "write"]}, {"key": []}]),
        json!([{"token": ["read"]}]),
        json!([{"basic": []}]),
    ] {
        let told = one(|operation| operation["security"] = worse);
        assert_eq!(
            told,
            "POST /orders/{id}, security: what callers identify themselves with is no longer enough"
        );
    }
}

#[test]
fn what_is_not_compared_must_not_differ() {
    let told = one(|operation| operation["callbacks"] = json!({"done": {}}));
    assert_eq!(told, "POST /orders/{id}: callbacks differ, and are not compared");
}

#[test]
fn texts_are_no_difference_and_a_property_of_such_a_name_is_one() {
    let with = |schema: Value| {
        document(&json!({"/a": {"get": {"responses": {"200": {
        "description": "x", "content": {"application/json": {"schema": schema}}}}}}}))
    };
    let old = with(json!({"type": "object", "description": "old"}));
    assert_eq!(
        compare(&old, &with(json!({"type": "object", "title": "new"}))).unwrap(),
        Comparison::default()
    );
    let found = compare(&old, &with(json!({"type": "object", "properties": {"title": {}}}))).unwrap();
    assert_eq!(found.compatible.len(), 1);
    let found = compare(
        &with(json!({"properties": {"title": {}}})),
        &with(json!({"properties": {"title": {}, "description": {}}})),
    )
    .unwrap();
    assert_eq!(
        found.compatible[0].pointer,
        "/paths/~1a/get/responses/200/content/application~1json/schema/properties/description"
    );
}

#[test]
fn a_break_has_its_pointer_both_values_and_a_reason() {
    let paths = json!({"/a": {"put": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Charge"}}}}}}});
    let with = |words: Value| {
        let charge =
            json!({"type": "object", "properties": {"lines": {"type": "array", "items": {"enum": words}}}});
        let mut whole = document(&paths).into_value();
        whole["components"] = json!({"schemas": {"Charge": charge}});
        Document::new(whole).unwrap()
    };
    let found = compare(&with(json!(["a", "b"])), &with(json!(["a", "c"]))).unwrap();
    let text = found.to_string();
    let expected = "BREAKING  PUT /a, request body application/json, `lines[]`: callers may send \"b\", which is not taken
    at  /components/schemas/Charge/properties/lines/items
    old {\"enum\":[\"a\",\"b\"]}
    new {\"enum\":[\"a\",\"c\"]}
1 breaking change, 0 compatible";
    assert_eq!(text, expected);
}

#[test]
fn hostile_documents_end_in_an_error() {
    let with = |schemas: Value| {
        let mut whole = document(&json!({"/a": {"put": {"requestBody": {"content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}}}}))
        .into_value();
        whole["components"] = json!({"schemas": schemas});
        Document::new(whole).unwrap()
    };
    let refused = |schemas: Value| {
        let document = with(schemas);
        compare(&document, &document).unwrap_err().to_string()
    };
    let circle = refused(
        json!({"A": {"$ref": "#/components/schemas/B"}, "B": {"allOf": [{"$ref": "#/components/schemas/A"}]}}),
    );
    assert!(circle.contains("made of itself"), "{circle}");
    let bomb: Vec<Value> =
        (0..10).map(|_| json!({"oneOf": [{"minLength": 1}, {"minLength": 2}, {"minLength": 3}]})).collect();
    assert!(refused(json!({"A": {"allOf": bomb}})).contains("alternatives"));
    // Twice as many ways into each level as into the one above: 2^60 without a bound.
    let deep = |kind: &str| {
        let mut schemas = json!({"L60": {"type": kind}, "A": {"$ref": "#/components/schemas/L0"}});
        for level in 0..60 {
            let next = json!({"$ref": format!("#/components/schemas/L{}", level + 1)});
            schemas[format!("L{level}")] = json!({"type": "object", "properties": {"a": next, "b": next}});
        }
        with(schemas)
    };
    assert!(compare(&deep("string"), &deep("string")).unwrap().is_compatible());
    assert!(compare(&deep("string"), &deep("null")).unwrap_err().to_string().contains("steps"));
    assert!(refused(json!({"A": {"$ref": "#/components/schemas/Gone"}})).contains("which is not there"));
    assert!(refused(json!({"A": 1})).contains("expected a schema"));
    assert!(refused(json!({"A": {"type": "text"}})).contains("the name of a type"));
    let paths = document(&json!({"/a": {"get": {"parameters": [{"in": "query"}]}}}));
    assert!(compare(&paths, &paths).unwrap_err().to_string().contains("expected a parameter"));
}

#[test]
fn a_recursive_schema_is_compared_to_its_end() {
    let with = |label: &str| {
        let tree = json!({"type": "object", "required": ["label"], "properties": {
            "label": {"type": label}, "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}});
        let mut whole =
            document(&json!({"/a": {"get": {"responses": {"200": {"content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/Tree"}}}}}}}}))
            .into_value();
        whole["components"] = json!({"schemas": {"Tree": tree}});
        Document::new(whole).unwrap()
    };
    assert!(compare(&with("string"), &with("string")).unwrap().is_compatible());
    let found = compare(&with("string"), &with("integer")).unwrap().breaking;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].place, "GET /a, answer 200 application/json, `label`");
}
