//! Whatever is wrong, each wrong value is reported once, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU8;

use mainstay_core::config::figment::providers::{Format as _, Serialized, Toml};
use mainstay_core::config::figment::value::{Dict, Tag, Value};
use mainstay_core::config::{Duration, Loader, Problem, Secret, Section};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::settings::{Orders, Settings};

/// Nothing but required keys, of types with different ideas of what is right.
#[derive(Deserialize, Serialize)]
struct Strict {
    #[serde(rename = "duration")]
    _duration: Duration,
    #[serde(rename = "address")]
    _address: SocketAddr,
    #[serde(rename = "number")]
    _number: NonZeroU8,
    #[serde(rename = "secret")]
    _secret: Secret<u64>,
    #[serde(rename = "choice")]
    _choice: Choice,
    #[serde(rename = "pair")]
    _pair: (u8, bool),
    #[serde(rename = "inner")]
    _inner: Inner,
}

#[derive(Deserialize, Serialize)]
struct Inner {
    #[serde(rename = "text")]
    _text: String,
    #[serde(rename = "flag")]
    _flag: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Nested(Box<Choice>),
    Leaf,
}

impl Section for Strict {}

/// Key, a right value, a wrong value, and the key of the error.
const KEYS: [(&str, &str, &str, &str); 8] = [
    ("duration", "'1s'", "30", "duration"),
    ("address", "'127.0.0.1:1'", "'x'", "address"),
    ("number", "3", "0", "number"),
    ("secret", "7", "'x'", "secret"),
    ("choice", "{ nested = 'leaf' }", "{ nested = 'leaves' }", "choice.nested"),
    ("pair", "[1, true]", "[1, 2]", "pair[1]"),
    ("inner.text", "'a'", "[]", "inner.text"),
    ("inner.flag", "true", "'yes'", "inner.flag"),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Right,
    Wrong,
    Absent,
}

fn state() -> impl Strategy<Value = State> + Clone {
    prop_oneof![Just(State::Right), Just(State::Wrong), Just(State::Absent)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_wrong_and_each_missing_key_is_reported_once_and_no_other(
        states in proptest::array::uniform8(state()),
        strays in proptest::collection::btree_set("z[a-z]{1,5}", 0..4),
    ) {
        let mut text = String::new();
        let mut expected = BTreeMap::new();
        for stray in &strays {
            text.push_str(&format!("{stray} = 1\n"));
            expected.insert(stray.clone(), Problem::UnknownKey);
        }
        for ((key, right, wrong, told), state) in KEYS.iter().zip(states) {
            match state {
                State::Right => text.push_str(&format!("{key} = {right}\n")),
                State::Wrong => {
                    text.push_str(&format!("{key} = {wrong}\n"));
                    expected.insert((*told).to_owned(), Problem::InvalidValue);
                }
                State::Absent => {
                    expected.insert((*key).to_owned(), Problem::MissingKey);
                }
            }
        }
        // Where the whole table is missing that is one error.
        if states[6] == State::Absent && states[7] == State::Absent {
            expected.retain(|key, _| !key.starts_with("inner."));
            expected.insert("inner".to_owned(), Problem::MissingKey);
        }
        let loader = Loader::new().directory("/nonexistent").tree::<Strict>("").source(Toml::string(&text));
        match loader.load() {
            Ok(_) => prop_assert!(expected.is_empty()),
            Err(errors) => {
                let told: Vec<_> = errors.findings().iter().map(|finding| (finding.key.to_string(), finding.problem)).collect();
                prop_assert_eq!(told.len(), expected.len(), "{}", errors);
                prop_assert_eq!(told.into_iter().collect::<BTreeMap<_, _>>(), expected, "{}", errors);
            }
        }
    }

    #[test]
    fn no_value_whatever_makes_the_loader_loop_panic_or_repeat_itself(values in any_table()) {
        let value = Value::Dict(Tag::Default, values);
        let loader = Loader::new()
            .directory("/nonexistent")
            .source(Serialized::globals(value))
            .tree::<Settings>("")
            .tree::<Orders>("app.orders")
            .tree::<Strict>("app.strict");
        let errors = loader.load().expect_err("the trees have keys without defaults");
        let mut seen = BTreeSet::new();
        for finding in errors.findings() {
            prop_assert!(seen.insert((finding.key.clone(), finding.problem == Problem::UnknownKey)), "{}", errors);
        }
    }
}

/// Tables that often have the keys of the trees.
fn any_table() -> impl Strategy<Value = Dict> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9:.\\[\\]{}=,' ]{0,12}".prop_map(Value::from),
        Just(Value::from("1s")),
        Just(Value::from("127.0.0.1:80")),
        Just(Value::Empty(Tag::Default, mainstay_core::config::figment::value::Empty::None)),
    ];
    let name = prop_oneof![
        proptest::sample::select(vec![
            "server",
            "address",
            "header_timeout",
            "drain",
            "delay",
            "log",
            "level",
            "targets",
            "host",
            "ports",
            "tls",
            "key",
            "clients",
            "required",
            "upstreams",
            "name",
            "weight",
            "labels",
            "tokens",
            "app",
            "orders",
            "strict",
            "choice",
            "nested",
            "inner",
            "pair",
            "number",
            "currency",
        ])
        .prop_map(str::to_owned),
        "[a-z_.-]{0,6}",
    ];
    let value = scalar.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| Value::Array(Tag::Default, list)),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|dict| Value::Dict(Tag::Default, dict)),
        ]
    });
    proptest::collection::btree_map(
        proptest::sample::select(vec![
            "server",
            "drain",
            "log",
            "host",
            "tls",
            "upstreams",
            "labels",
            "app",
            "x",
        ])
        .prop_map(str::to_owned),
        value,
        0..8,
    )
}

/// A type that no stand-in pleases.
#[derive(Serialize)]
struct Picky;

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "exactly this" => Ok(Self),
            _ => Err(serde::de::Error::custom("not exactly this")),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct WithPicky {
    picky: Picky,
    table: PickyTable,
    number: u8,
    list: Vec<PickyTable>,
}

#[derive(Serialize, Deserialize)]
struct PickyTable {
    picky: Picky,
    zone: u8,
}

impl Section for WithPicky {}

#[test]
fn a_type_that_no_stand_in_pleases_hides_no_other_wrong_value() {
    let loader = Loader::new().directory("/nonexistent").tree::<WithPicky>("");
    let right = ["picky=exactly this", "table={ picky = 'exactly this', zone = 1 }", "number=1", "list=[]"];
    let loaded = right.iter().fold(loader.clone(), |loader, set| loader.set(*set)).load();
    assert!(loaded.is_ok(), "{}", loaded.err().unwrap());
    let wrong = [
        "picky=a",
        "table={ picky = 'b', zone = 256 }",
        "number=c",
        "list=[{ picky = 'd', zone = 1 }, { picky = 'exactly this', zone = -1 }]",
        "stray=1",
    ];
    let errors = wrong.iter().fold(loader, |loader, set| loader.set(*set)).load().unwrap_err();
    let keys: BTreeSet<_> = errors.findings().iter().map(|finding| finding.key.to_string()).collect();
    let expected = ["list[0].picky", "list[1].zone", "number", "picky", "stray", "table.picky", "table.zone"];
    assert_eq!(keys, expected.map(str::to_owned).into());
    assert_eq!(errors.findings().len(), expected.len());
}

/// Refuses values that are each right.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "Range")]
struct Ordered(Range);

#[derive(Serialize, Deserialize)]
struct Range {
    from: u8,
    to: u8,
}

impl TryFrom<Range> for Ordered {
    type Error = String;

    fn try_from(range: Range) -> Result<Self, String> {
        if range.from < range.to { Ok(Self(range)) } else { Err("`from` must be less than `to`".to_owned()) }
    }
}

#[derive(Serialize, Deserialize)]
struct Ranges {
    range: Ordered,
    other: u8,
}

impl Section for Ranges {}

#[test]
fn a_type_that_checks_itself_is_not_blamed_for_values_that_were_taken_out() {
    let told = |settings: &[&str]| -> Vec<String> {
        let loader = Loader::new().directory("/nonexistent").tree::<Ranges>("");
        let loader = settings.iter().fold(loader, |loader, set| loader.set(*set));
        let errors = loader.load().unwrap_err();
        errors.findings().iter().map(|finding| finding.key.to_string()).collect()
    };
    assert_eq!(told(&["range.from=5", "range.to=2", "other=x"]), ["other", "range"]);
    assert_eq!(told(&["range.from=x", "range.to=0", "other=x"]), ["other", "range.from"]);
}
