use proptest::prelude::{
    Just, ProptestConfig, Strategy, TestCaseError, any, prop, prop_assert, prop_oneof, proptest,
};
use serde_json::{Map, Value, json};

use super::*;
use crate::document::{Document, Unreadable};

fn document(schema: &Value) -> Document {
    Document::new(json!({"openapi": "3.1.0", "schema": schema})).unwrap()
}

/// The reasons why what is written by `writer` can't be read by `reader`, each with its field.
fn try_unread(direction: Direction, writer: &Value, reader: &Value) -> Result<Vec<String>, Unreadable> {
    let (writer, reader) = (document(writer), document(reader));
    let found = Fitting::new(direction, 0).fit(
        &[writer.root().get("schema").unwrap()],
        &reader.root().get("schema").unwrap(),
        "",
    );
    Ok(found?.into_iter().map(|found| format!("{}: {}", found.field, found.why)).collect())
}

fn unread(direction: Direction, writer: &Value, reader: &Value) -> Vec<String> {
    try_unread(direction, writer, reader).unwrap()
}

/// As `unread`, for schemas made at random: a few of them are larger than what is judged at all.
fn judged(direction: Direction, writer: &Value, reader: &Value) -> Result<Vec<String>, TestCaseError> {
    try_unread(direction, writer, reader).map_err(|refused| match refused {
        Unreadable::TooLarge { .. } => TestCaseError::reject(refused.to_string()),
        refused => TestCaseError::fail(refused.to_string()),
    })
}

fn fits(writer: &Value, reader: &Value) -> bool {
    unread(Direction::Answer, writer, reader).is_empty()
}

/// Each pair: everything of the first is read by the second, and not the other way round.
#[test]
fn the_narrower_fits_the_wider_and_not_the_other_way_round() {
    let pairs = [
        (json!({"type": "integer"}), json!({"type": "number"})),
        (json!({"type": "string"}), json!({"type": ["string", "null"]})),
        (json!({"type": "string"}), json!({"oneOf": [{"type": "null"}, {"type": "string"}]})),
        (json!({"enum": ["a"]}), json!({"enum": ["a", "b"]})),
        (json!({"const": "a"}), json!({"type": "string"})),
        (json!({"enum": [1, 2]}), json!({"type": "integer", "minimum": 1})),
        (json!({"type": "boolean"}), json!({"enum": [true, false, null]})),
        (json!({"type": "integer", "minimum": 5}), json!({"type": "integer", "exclusiveMinimum": 4.5})),
        (json!({"type": "number", "exclusiveMaximum": 5}), json!({"type": "number", "maximum": 5})),
        (json!({"type": "integer", "multipleOf": 6}), json!({"type": "integer", "multipleOf": 3})),
        (json!({"type": "integer", "format": "int32"}), json!({"type": "integer", "format": "int64"})),
        (json!({"type": "string", "format": "uuid"}), json!({"type": "string"})),
        (json!({"type": "string", "pattern": "^a"}), json!({"type": "string"})),
        (
            json!({"type": "string", "minLength": 2, "maxLength": 3}),
            json!({"type": "string", "maxLength": 4}),
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}}),
            json!({"type": "array", "items": {"type": "number"}}),
        ),
        (json!({"type": "array", "uniqueItems": true, "minItems": 1}), json!({"type": "array"})),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}], "items": false}),
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}}),
        ),
        (
            json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false}),
            json!({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"enum": ["x"]}}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
        ),
        (json!({"allOf": [{"type": "string"}, {"minLength": 1}]}), json!({"type": "string"})),
        (json!({"type": "string", "not": {"const": "x"}}), json!({"type": "string"})),
        (json!(false), json!({"type": "string"})),
        (json!({"type": "string"}), json!(true)),
        (json!({"type": "string"}), json!({})),
    ];
    for (narrow, wide) in pairs {
        assert!(
            fits(&narrow, &wide),
            "{narrow} into {wide}: {:?}",
            unread(Direction::Answer, &narrow, &wide)
        );
        assert!(!fits(&wide, &narrow), "{wide} into {narrow}");
        assert!(fits(&narrow, &narrow) && fits(&wide, &wide), "{narrow} or {wide} into itself");
    }
}

#[test]
fn what_is_not_understood_has_to_be_the_same() {
    let keywords = json!({"type": "object", "patternProperties": {"^a": {}}, "propertyNames": {"maxLength": 3},
        "if": {"required": ["a"]}, "then": {"required": ["b"]}, "dependentRequired": {"a": ["b"]}});
    assert!(fits(&keywords, &keywords));
    for (key, _) in keywords.as_object().unwrap().iter().filter(|(key, _)| *key != "type") {
        let mut other = keywords.clone();
        other[key] = json!({"changed": true});
        assert!(!fits(&keywords, &other), "{key}");
    }
}

#[test]
fn an_enum_of_types_as_serde_writes_it_may_gain_variants_in_requests_and_lose_them_in_answers() {
    let variant = |name: &str| {
        json!({"type": "object", "required": ["kind", "at"], "properties": {
        "kind": {"type": "string", "enum": [name]}, "at": {"type": "integer"}}})
    };
    let two = json!({"oneOf": [variant("a"), variant("b")]});
    let three = json!({"oneOf": [variant("a"), variant("b"), variant("c")]});
    for direction in [Direction::Request, Direction::Answer] {
        assert!(unread(direction, &two, &three).is_empty());
    }
    let told = unread(Direction::Answer, &three, &two);
    assert_eq!(told, ["kind: the answer may be \"c\", which callers don't expect"]);
}

#[test]
fn callers_are_told_what_they_send_in_vain_and_not_what_they_need_not_read() {
    let one = json!({"type": "object", "properties": {"a": {}}});
    let two = json!({"type": "object", "properties": {"a": {}, "b": {}}});
    assert_eq!(
        unread(Direction::Request, &two, &one),
        ["b: callers may send `b`, which the service no longer knows"]
    );
    assert!(unread(Direction::Answer, &two, &one).is_empty());
    assert!(unread(Direction::Request, &one, &two).is_empty());
    let closed = json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false});
    assert_eq!(
        unread(Direction::Answer, &two, &closed),
        ["b: the answer may be the property `b`, which callers don't expect"]
    );
}

#[test]
fn what_the_other_side_makes_is_not_asked_for() {
    let reader =
        json!({"type": "object", "required": ["id", "a"], "properties": {"id": {"readOnly": true}, "a": {}}});
    let writer = json!({"type": "object", "required": ["a"], "properties": {"id": {}, "a": {}}});
    assert!(unread(Direction::Request, &writer, &reader).is_empty());
    assert_eq!(unread(Direction::Answer, &writer, &reader), ["id: `id` may be missing"]);
}

#[test]
fn the_dialect_of_openapi_3_0_is_read() {
    let document = |schema: Value| Document::new(json!({"openapi": "3.0.3", "schema": schema})).unwrap();
    let fits = |writer: Value, reader: Value| {
        let (writer, reader) = (document(writer), document(reader));
        let found = Fitting::new(Direction::Answer, 0).fit(
            &[writer.root().get("schema").unwrap()],
            &reader.root().get("schema").unwrap(),
            "",
        );
        found.unwrap().is_empty()
    };
    let nullable = json!({"type": "string", "nullable": true});
    assert!(fits(json!({"type": "string"}), nullable.clone()));
    assert!(!fits(nullable, json!({"type": "string"})));
    let above = json!({"type": "number", "minimum": 1, "exclusiveMinimum": true});
    assert!(fits(above.clone(), json!({"type": "number", "minimum": 1})));
    assert!(!fits(json!({"type": "number", "minimum": 1}), above));
}

/// Schemas of the kinds that tools write, small enough that two of them often have to do with each other.
fn schemas() -> impl Strategy<Value = Value> {
    let bounds = (0i64..4, 0i64..4, any::<bool>());
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "null"})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": ["integer", "null"]})),
        Just(json!({})),
        bounds.prop_map(|(low, more, whole)| {
            let kind = if whole { "integer" } else { "number" };
            json!({"type": kind, "minimum": low, "maximum": low + more})
        }),
        (0i64..3, 0i64..3).prop_map(
            |(low, high)| json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high})
        ),
        (1i64..4).prop_map(|of| json!({"type": "integer", "multipleOf": of})),
        (0usize..3, 0usize..3)
            .prop_map(|(low, more)| json!({"type": "string", "minLength": low, "maxLength": low + more})),
        prop::collection::vec(leaves(), 1..4).prop_map(|values| json!({"enum": values})),
        leaves().prop_map(|value| json!({"const": value})),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let named = prop::collection::btree_map("[abc]", inner.clone(), 0..3);
        let object =
            (named, prop::collection::vec("[abc]", 0..2), prop::option::of(inner.clone()), any::<bool>());
        prop_oneof![
            object.prop_map(|(properties, required, additional, is_closed)| {
                let mut schema = json!({"type": "object", "properties": properties, "required": required});
                match additional {
                    _ if is_closed => schema["additionalProperties"] = false.into(),
                    Some(additional) => schema["additionalProperties"] = additional,
                    None => {}
                }
                schema
            }),
            (inner.clone(), 0usize..3, any::<bool>()).prop_map(|(items, most, unique)| {
                json!({"type": "array", "items": items, "maxItems": most, "uniqueItems": unique})
            }),
            (prop::collection::vec(inner.clone(), 1..3), inner.clone())
                .prop_map(|(first, items)| json!({"type": "array", "prefixItems": first, "items": items})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"anyOf": parts})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"allOf": parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

fn leaves() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1i64..5).prop_map(Value::from),
        (0i64..4).prop_map(|half| json!(half as f64 + 0.5)),
        "[ab]{0,3}".prop_map(Value::from),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    leaves().prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Schemas that are a change of one another more often than two random ones are.
fn pairs() -> impl Strategy<Value = (Value, Value)> {
    prop_oneof![
        (schemas(), schemas()),
        (schemas(), schemas()).prop_map(|(one, other)| (one.clone(), json!({"anyOf": [one, other]}))),
        (schemas(), schemas()).prop_map(|(one, other)| (json!({"allOf": [one.clone(), other]}), one)),
        (schemas(), schemas(), schemas()).prop_map(|(one, left, right)| {
            let with = |other: &Value| json!({"type": "object", "properties": {"a": one, "b": other}});
            (with(&left), with(&right))
        }),
    ]
}

/// `schema` with a title in it and in each part that the rules look into: it means the same, and nothing of it is
/// written as it was.
fn titled(schema: &Value) -> Value {
    let Value::Object(keywords) = schema else { return schema.clone() };
    let mut titled = keywords.clone();
    for (keyword, value) in &mut titled {
        match (keyword.as_str(), value) {
            ("items" | "additionalProperties", value) => *value = self::titled(value),
            ("anyOf" | "prefixItems", Value::Array(parts)) => {
                parts.iter_mut().for_each(|part| *part = self::titled(part));
            }
            ("properties", Value::Object(parts)) => {
                parts.values_mut().for_each(|part| *part = self::titled(part));
            }
            _ => {}
        }
    }
    titled.insert("title".to_owned(), "the same".into());
    Value::Object(titled)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The one that counts: what is said to fit does.
    #[test]
    fn a_value_that_the_writer_may_write_is_read_where_the_schemas_fit(
        (writer, reader) in pairs(),
        values in prop::collection::vec(values(), 40),
    ) {
        if judged(Direction::Answer, &writer, &reader)?.is_empty() {
            let (writes, reads) = (document(&writer), document(&reader));
            for value in values {
                let mut closed = Reading::new();
                closed.is_closed = true;
                let written = closed.read(&writes.root().get("schema").unwrap(), &value).unwrap().is_none();
                if written {
                    let invalid = Reading::new().read(&reads.root().get("schema").unwrap(), &value).unwrap();
                    prop_assert!(invalid.is_none(), "{writer}\n{reader}\n{value}: {invalid:?}");
                }
            }
        }
    }

    /// Also where the rules can't decide.
    #[test]
    fn what_did_not_change_fits(schema in schemas()) {
        for direction in [Direction::Request, Direction::Answer] {
            let told = judged(direction, &schema, &schema)?;
            prop_assert!(told.is_empty(), "{schema}: {told:?}");
        }
    }

    /// By the rules: no part of one is written as the other's.
    #[test]
    fn a_schema_fits_itself_with_other_words(
        schema in schemas().prop_filter("what all of several say can't be told", |schema| !schema.to_string().contains("allOf")),
    ) {
        let titled = titled(&schema);
        for direction in [Direction::Request, Direction::Answer] {
            for (writer, reader) in [(&schema, &titled), (&titled, &schema)] {
                let told = judged(direction, writer, reader)?;
                prop_assert!(told.is_empty(), "{writer} and {reader}: {told:?}");
            }
        }
    }

    #[test]
    fn an_optional_property_more_is_read_by_those_who_know_none_and_a_required_one_is_missed(
        schema in schemas(), property in schemas(),
    ) {
        let old = json!({"type": "object", "properties": {"had": schema}});
        let mut new = json!({"type": "object", "properties": {"had": schema, "new": property}});
        for direction in [Direction::Request, Direction::Answer] {
            prop_assert!(judged(direction, &old, &new)?.is_empty());
        }
        new["required"] = json!(["new"]);
        let told = judged(Direction::Request, &old, &new)?;
        prop_assert!(told == ["new: `new` is required, and callers may leave it out"], "{told:?}");
    }
}
