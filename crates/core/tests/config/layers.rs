//! Where values come from, and which one holds.

use std::ffi::OsString;

use mainstay_core::config::figment::Profile;
use mainstay_core::config::figment::providers::{Format as _, Serialized, Toml};
use mainstay_core::config::{
    ByteSize, CommandLine, Duration, Key, Loaded, Loader, Origin, Section, Translated,
};
use serde::{Deserialize, Serialize};

use crate::settings::{Directory, Level, Orders, Settings};

fn settings(loader: &Loader) -> std::sync::Arc<Settings> {
    loader.load().unwrap_or_else(|errors| panic!("{errors}")).get::<Settings>("")
}

fn source(directory: &Directory, loaded: &Loaded, key: &str) -> String {
    directory.neutral(&loaded.origin(key).to_string())
}

#[test]
fn each_layer_is_stronger_than_the_one_before_it() {
    let directory = Directory::with(&[
        ("mainstay.toml", "[server]\nname = \"file\"\n"),
        ("mainstay.dev.toml", "[server]\nname = \"profile\"\n"),
    ]);
    let base = Loader::new().directory(directory.path()).tree::<Settings>("");
    let name = |loader: &Loader| {
        let loaded = loader.load().unwrap();
        (loaded.get::<Settings>("").server.name.clone(), source(&directory, &loaded, "server.name"))
    };
    let pair = |name: &str, source: &str| (name.to_owned(), source.to_owned());

    let base = base.profile_default("dev", "server.name", "relaxed");
    let bare = base.clone().directory("/nonexistent");
    assert_eq!(name(&bare), pair("mainstay", "the default"));
    assert_eq!(name(&bare.profile("dev")), pair("relaxed", "the default of the profile dev"));
    assert_eq!(name(&base), pair("file", "mainstay.toml:2"));
    let loader = base.profile("dev");
    assert_eq!(name(&loader), pair("profile", "mainstay.dev.toml:2"));
    let loader = loader.named_source("vault", Serialized::global("server.name", "vault"));
    assert_eq!(name(&loader), pair("vault", "vault"));
    let loader = loader.translate(|variables| {
        let key = Key::parse("server.name").unwrap();
        variables.get("HOSTNAME").map(|name| Translated::new("HOSTNAME", key, name)).into_iter().collect()
    });
    let loader = loader.environment([("HOSTNAME", "foreign")]);
    assert_eq!(name(&loader), pair("foreign", "environment variable HOSTNAME"));
    let loader = loader.environment([("HOSTNAME", "foreign"), ("MAINSTAY_SERVER__NAME", "variable")]);
    assert_eq!(name(&loader), pair("variable", "environment variable MAINSTAY_SERVER__NAME"));
    let loader = loader.set("server.name=first").set("server.name=argument");
    assert_eq!(name(&loader), pair("argument", "--set on the command line"));
}

#[test]
fn a_table_is_merged_key_by_key_whatever_layer_sets_it() {
    let directory = Directory::with(&[("mainstay.toml", "[server]\nname = \"file\"\nconnections = 1\n")]);
    let loader = directory
        .loader()
        .environment([("MAINSTAY_SERVER", "{ connections = 2, http2 = false }")])
        .set("log={ level = \"debug\" }");
    let settings = settings(&loader);
    assert_eq!(settings.server.name, "file");
    assert_eq!(settings.server.connections, 2);
    assert!(!settings.server.http2);
    assert_eq!(settings.log.level, Level::Debug);
}

#[test]
fn text_from_outside_is_read_as_the_type_that_is_asked_for() {
    let loader = Directory::new()
        .loader()
        .environment([
            ("MAINSTAY_SERVER__NAME", "123"),
            ("MAINSTAY_SERVER__CONNECTIONS", " 7 "),
            ("MAINSTAY_SERVER__HTTP2", "false"),
            ("MAINSTAY_SERVER__FACTOR", "2"),
            ("MAINSTAY_SERVER__BODY_LIMIT", "1024"),
            ("MAINSTAY_SERVER__HEADER_TIMEOUT", "1m30s"),
            ("MAINSTAY_HOST__SERVICES", "orders, 8,true"),
            ("MAINSTAY_HOST__PORTS", "[80, 443]"),
            ("MAINSTAY_LABELS__ZONE", "true"),
            ("MAINSTAY_LOG__TARGETS__HYPER", "warn"),
            ("HOME", "/root"),
        ])
        .set("log.level=error");
    let settings = settings(&loader);
    assert_eq!(settings.server.name, "123");
    assert_eq!(settings.server.connections, 7);
    assert!(!settings.server.http2);
    assert_eq!(settings.server.factor, 2.0);
    assert_eq!(settings.server.body_limit, ByteSize::from_kib(1));
    assert_eq!(settings.server.header_timeout, Duration::from_secs(90));
    assert_eq!(settings.host.services, ["orders", "8", "true"]);
    assert_eq!(settings.host.ports, [80, 443]);
    assert_eq!(settings.labels["zone"], "true");
    assert_eq!(settings.log.targets["hyper"], Level::Warn);
    assert_eq!(settings.log.level, Level::Error);
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
enum Loose {
    Pair { first: String, second: u8 },
    Text(String),
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Store {
    Memory,
    Disk { path: String, limit: Option<ByteSize> },
}

#[derive(Debug, Deserialize, Serialize)]
struct Buffered {
    loose: Loose,
    store: Store,
}

impl Section for Buffered {}

#[test]
fn types_that_serde_buffers_take_text_from_outside_too() {
    let loader = Loader::new().directory("/nonexistent").tree::<Buffered>("");
    let loaded = loader
        .environment([
            ("MAINSTAY_LOOSE", "42"),
            ("MAINSTAY_STORE__KIND", "disk"),
            ("MAINSTAY_STORE__PATH", "7"),
            ("MAINSTAY_STORE__LIMIT", "1MiB"),
        ])
        .load()
        .unwrap_or_else(|errors| panic!("{errors}"));
    let buffered = loaded.get::<Buffered>("");
    assert_eq!(buffered.loose, Loose::Text("42".to_owned()));
    assert_eq!(buffered.store, Store::Disk { path: "7".to_owned(), limit: Some(ByteSize::from_mib(1)) });
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Underscores {
    address: String,
    address_book: String,
    #[serde(rename = "a__b")]
    double: String,
    #[serde(rename = "dashed-key")]
    dashed: String,
    #[serde(rename = "camelCase")]
    camel: String,
    certificate: String,
    certificate_file: String,
    tables: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
}

impl Section for Underscores {}

#[test]
fn underscores_of_keys_and_of_nesting_do_not_meet() {
    let directory = Directory::with(&[
        ("secret", "from the file\n"),
        ("mainstay.toml", "[tables.Order-History]\nMixed_Key = \"\"\n"),
    ]);
    let loaded = Loader::new()
        .directory(directory.path())
        .tree::<Underscores>("")
        .environment([
            ("MAINSTAY_ADDRESS", "address"),
            ("MAINSTAY_ADDRESS_BOOK", "book"),
            ("MAINSTAY_A__B", "a__b"),
            ("MAINSTAY_DASHED_KEY", "dashed"),
            ("MAINSTAY_CAMEL_CASE", "camel"),
            // A key that ends like the suffix is that key; the other one is read from the file.
            ("MAINSTAY_CERTIFICATE_FILE", "not read"),
            ("MAINSTAY_TABLES__ORDER_HISTORY__MIXED_KEY", "mixed"),
            ("MAINSTAY_TABLES__NEW__KEY", "new"),
        ])
        .load()
        .unwrap_or_else(|errors| panic!("{errors}"));
    let read = loaded.get::<Underscores>("");
    assert_eq!(
        [&read.address, &read.address_book, &read.double, &read.dashed, &read.camel, &read.certificate_file],
        ["address", "book", "a__b", "dashed", "camel", "not read"]
    );
    assert_eq!(read.certificate, "");
    assert_eq!(read.tables["Order-History"]["Mixed_Key"], "mixed");
    assert_eq!(read.tables["new"]["key"], "new");
}

#[test]
fn a_file_variable_gives_any_key_its_value_without_the_last_line_break() {
    let directory = Directory::with(&[("key", "hunter2\r\n"), ("name", " a\n\n"), ("token", "t0ken")]);
    let loaded = directory
        .loader()
        .environment([
            ("MAINSTAY_TLS__CERTIFICATE_FILE", "chain.pem"),
            ("MAINSTAY_TLS__KEY_FILE", "key"),
            ("MAINSTAY_SERVER__NAME_FILE", "name"),
            ("MAINSTAY_TOKENS__CI_FILE", "token"),
            ("MAINSTAY_LABELS__SOME_FILE", "a label"),
        ])
        .load()
        .unwrap_or_else(|errors| panic!("{errors}"));
    let settings = loaded.get::<Settings>("");
    let tls = settings.tls.as_ref().unwrap();
    assert_eq!(tls.key.expose(), "hunter2");
    assert_eq!(tls.certificate_file.to_str(), Some("chain.pem"));
    assert_eq!(settings.server.name, " a\n");
    assert_eq!(settings.tokens["ci"].expose(), "t0ken");
    assert_eq!(settings.labels["some_file"], "a label");
    assert!(matches!(loaded.origin("tls.key"), Origin::VariableFile { .. }));
}

#[test]
fn an_empty_variable_unsets_an_optional_key() {
    let directory = Directory::with(&[(
        "mainstay.toml",
        "[[upstreams]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[tls]\ncertificate_file = \"a\"\nkey = \"k\"\n",
    )]);
    assert!(settings(&directory.loader()).tls.is_some());
    assert!(settings(&directory.loader().environment([("MAINSTAY_TLS", "")])).tls.is_none());
}

#[test]
fn the_profile_is_dev_under_cargo_and_production_elsewhere_unless_somebody_says() {
    let loader = Directory::new().loader();
    let profile = |variables: &[(&str, &str)], arguments: &[&str]| {
        let arguments = CommandLine::parse(arguments.iter().map(OsString::from)).unwrap();
        let loader = loader.clone().environment(variables.iter().copied()).command_line(&arguments);
        loader.load().unwrap().profile()
    };
    let cargo = ("CARGO", "/usr/bin/cargo");
    assert_eq!(profile(&[], &[]), "production");
    assert_eq!(profile(&[cargo], &[]), "dev");
    assert_eq!(profile(&[cargo, ("MAINSTAY_PROFILE", "staging")], &[]), "staging");
    assert_eq!(profile(&[cargo, ("MAINSTAY_PROFILE", "")], &[]), "dev");
    assert_eq!(profile(&[("MAINSTAY_PROFILE", "staging")], &["--profile", "load-test"]), "load-test");
}

#[test]
fn a_named_file_replaces_the_default_one_and_brings_its_profiles() {
    let directory = Directory::with(&[
        ("mainstay.toml", "[server]\nname = \"default\"\n"),
        ("shop.toml", "[server]\nname = \"shop\"\nconnections = 1\n"),
        ("shop.production.toml", "[server]\nconnections = 2\n"),
    ]);
    let read = settings(&directory.loader().file("shop.toml"));
    assert_eq!((read.server.name.as_str(), read.server.connections), ("shop", 2));
    let read = settings(&directory.loader().environment([("MAINSTAY_CONFIG", "shop.toml")]));
    assert_eq!(read.server.name, "shop");
}

#[test]
fn services_are_kept_apart_by_name() {
    let directory = Directory::with(&[(
        "mainstay.toml",
        "[app.orders]\ncurrency = \"EUR\"\n[app.order-history]\ncurrency = \"USD\"\n[app.idle]\nanything = 1\n",
    )]);
    let loaded = directory
        .loader()
        .tree::<Orders>("app.orders")
        .tree::<Orders>("app.order-history")
        .ignore("app.idle")
        .environment([
            ("MAINSTAY_APP__ORDERS__DATABASE_PASSWORD", "hunter2hunter2"),
            ("MAINSTAY_APP__ORDER_HISTORY__DATABASE_PASSWORD", "hunter3hunter3"),
            ("MAINSTAY_APP__IDLE__KEY", "x"),
        ])
        .load()
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.get::<Orders>("app.orders").currency, "EUR");
    let history = loaded.get::<Orders>("app.order-history");
    assert_eq!(history.currency, "USD");
    assert!(history.database_password.equals("hunter3hunter3"));
    assert!(loaded.try_watch::<Settings>("app.orders").is_none());
}

#[test]
fn a_key_can_be_read_before_the_rest() {
    let directory = Directory::with(&[("mainstay.toml", "[host]\nservices = [\"a\"]\n[sever]\n")]);
    assert_eq!(directory.loader().peek::<Vec<String>>("host.services").unwrap(), ["a"]);
    let arguments = CommandLine::parse(["--services", "b, c"].map(OsString::from)).unwrap();
    let loader = directory.loader().command_line(&arguments);
    assert_eq!(loader.peek::<Vec<String>>("host.services").unwrap(), ["b", "c"]);
    assert_eq!(loader.peek::<u8>("host.services"), None);
}

#[test]
fn a_programs_source_keeps_its_file_and_line_and_never_beats_the_environment() {
    let directory = Directory::with(&[("extra.toml", "\n[server]\nname = \"extra\"\nconnections = \"x\"\n")]);
    let extra = || Toml::file_exact(directory.path().join("extra.toml")).profile(Profile::Global);
    let errors = directory.loader().source(extra()).load().unwrap_err();
    let origin = errors.findings()[0].origin.clone().unwrap();
    assert_eq!(directory.neutral(&origin.to_string()), "extra.toml:4");

    let loaded = directory
        .loader()
        .source(extra())
        .environment([("MAINSTAY_SERVER__CONNECTIONS", "3"), ("MAINSTAY_SERVER__NAME", "b")])
        .load()
        .unwrap();
    assert_eq!(loaded.get::<Settings>("").server.connections, 3);
    assert_eq!(loaded.get::<Settings>("").server.name, "b");
}

#[test]
fn a_programs_source_that_fails_is_reported_with_the_rest_and_without_its_secrets() {
    let directory = Directory::with(&[("mainstay.toml", "[server]\nconnections = -1\n")]);
    let errors =
        directory.loader().named_source("vault", Toml::string("key = \"hunter2")).load().unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.findings().len(), 2, "{text}");
    assert!(text.contains("vault: cannot be used") && !text.contains("hunter2"), "{text}");
}

#[cfg(feature = "config-rs")]
#[test]
fn a_config_rs_configuration_is_a_source() {
    use mainstay_core::config::ConfigRs;

    let config = config::Config::builder()
        .set_override("server.connections", "12")
        .unwrap()
        .set_override("server.name", 7)
        .unwrap()
        .set_override("host.ports", vec![80, 443])
        .unwrap()
        .build()
        .unwrap();
    let loaded = Directory::new().loader().source(ConfigRs::new(&config).unwrap()).load().unwrap();
    let settings = loaded.get::<Settings>("");
    assert_eq!(settings.server.connections, 12);
    assert_eq!(settings.server.name, "7");
    assert_eq!(settings.host.ports, [80, 443]);
    assert_eq!(loaded.origin("server.name").to_string(), "config-rs");
}

#[test]
fn the_printed_configuration_shows_defaults_and_origins_and_no_secret() {
    let directory = Directory::with(&[
        (
            "mainstay.toml",
            "[server]\nname = \"shop\"\n[tls]\ncertificate_file = \"chain.pem\"\nkey = \"hunter2\"\n\
             [tokens]\nci = \"hunter2\"\n[labels]\n\"a.b\" = \"c\"\n\
             [[upstreams]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n",
        ),
        ("currency", "hunter2"),
    ]);
    let loaded = directory
        .loader()
        .tree::<Orders>("app.orders")
        .environment([
            ("MAINSTAY_APP__ORDERS__CURRENCY_FILE", "currency"),
            ("MAINSTAY_SERVER__HEADER_TIMEOUT", "1500ms"),
        ])
        .set("app.orders.database_password=hunter2hunter2")
        .load()
        .unwrap_or_else(|errors| panic!("{errors}"));
    let toml = directory.neutral(&loaded.view().to_toml());
    let mut json = loaded.view().to_json();
    json.sort_all_objects();
    let json = directory.neutral(&serde_json::to_string_pretty(&json).unwrap());
    for text in [&toml, &json, &format!("{loaded:?} {:?}", loaded.view())] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    insta::assert_snapshot!("printed_toml", toml);
    insta::assert_snapshot!("printed_json", json);

    // What is printed can be read again, and says the same.
    let again = Directory::with(&[("mainstay.toml", &toml)]);
    let again =
        again.loader().tree::<Orders>("app.orders").load().unwrap_or_else(|errors| panic!("{errors}"));
    let values = |loaded: &Loaded| -> Vec<_> {
        loaded.view().entries().into_iter().map(|entry| (entry.key.to_string(), entry.value)).collect()
    };
    assert_eq!(values(&again), values(&loaded));
}

#[derive(Debug, Deserialize, Serialize)]
struct Renamed {
    #[serde(alias = "addr", alias = "listen")]
    address: String,
    #[serde(flatten)]
    shared: Shared,
    tree: Option<Box<Renamed>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Shared {
    zone: String,
    password: mainstay_core::config::Secret,
}

impl Section for Renamed {}

#[test]
fn aliases_flattened_and_recursive_types_are_read_from_outside_too() {
    let loader = Loader::new().directory("/nonexistent").tree::<Renamed>("").environment([
        ("MAINSTAY_ZONE", "1"),
        ("MAINSTAY_PASSWORD", "hunter2"),
        ("MAINSTAY_TREE__ADDRESS", "b"),
        ("MAINSTAY_TREE__ZONE", "c"),
        ("MAINSTAY_TREE__PASSWORD", "d"),
    ]);
    let loaded = loader.clone().set("addr=a").load().unwrap_or_else(|errors| panic!("{errors}"));
    let read = loaded.get::<Renamed>("");
    assert_eq!((read.address.as_str(), read.shared.zone.as_str()), ("a", "1"));
    assert_eq!(read.tree.as_ref().unwrap().shared.zone, "c");

    // Where serde buffers, the type of a key is not known before it is read: what sounds secret is not shown.
    let errors = loader.set("address=a").set("listen=b").set("password=[\"hunter2\"]").load().unwrap_err();
    let text = errors.to_string();
    assert!(text.contains("`address` once"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_foreign_variable_that_is_wrong_is_told_by_its_own_name() {
    let loader = Loader::new().directory("/nonexistent").tree::<Settings>("").translate(|variables| {
        let key = Key::parse("server.connections").unwrap();
        let wrong = |_| Translated::wrong("LIMIT", key, "a number and nothing else");
        variables.get("LIMIT").map(wrong).into_iter().collect()
    });
    let errors = loader.clone().environment([("LIMIT", "12ish")]).load().unwrap_err().to_string();
    for part in ["environment variable LIMIT", "server.connections", "12ish", "a number and nothing else"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(loader.environment([("LIMIT", " ")]).load().is_ok());
}
