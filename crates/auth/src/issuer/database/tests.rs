//! How the database is reached, and by whom it is.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;
use crate::issuer::tests::databases::Postgres;

async fn refusal(url: &str) -> String {
    Database::open(&config::Store::new(url)).await.unwrap_err().to_string()
}

#[test]
fn what_is_no_url_of_a_database_is_refused_without_being_quoted() {
    for (url, key) in [
        ("", "begins with"),
        ("mysql://a:secret@b/c", "begins with"),
        ("/var/lib/idp.db", "begins with"),
        ("sqlite://", "path of a file"),
        ("sqlite::memory:", "path of a file"),
        ("sqlite:///a.db?mode=ro", "path of a file"),
    ] {
        let mut told = Vec::new();
        config::Store::new(url).wrong(&mut |key, expected| told.push(format!("{key}: {expected}")));
        assert!(told.len() == 1 && told[0].starts_with("url: ") && told[0].contains(key), "{url}: {told:?}");
    }
    for url in
        ["postgres://a:secret@b:port/c", "postgres://a:secret@b/c?sslmode=secret", "postgres://[secret"]
    {
        let told = Address::parse(url).err().unwrap().to_string();
        assert!(told.contains("expected `postgres://") && !told.contains("secret"), "{told}");
    }
    let mut store = config::Store::new("sqlite:///a.db");
    (store.connections, store.timeout) = (0, mainstay_core::config::Duration::from_millis(99));
    let mut told = Vec::new();
    store.wrong(&mut |key, _| told.push(key.to_owned()));
    assert_eq!(told, ["connections", "timeout"]);
    assert!(!format!("{:?}", config::Store::new("postgres://a:secret@b/c")).contains("secret"));
}

#[tokio::test]
async fn a_server_on_another_machine_shows_who_it_is_unless_something_else_is_said() {
    let mode = |url: &str| match Address::parse(url).unwrap() {
        Address::Postgres(options) => format!("{:?}", address::encrypted(*options).get_ssl_mode()),
        Address::Sqlite(_) => unreachable!(),
    };
    for (url, expected) in [
        ("postgres://db.example/x", "VerifyFull"),
        ("postgres://10.0.0.9/x", "VerifyFull"),
        ("postgres://127.0.0.1.example/x", "VerifyFull"),
        ("postgres://db.example/x?sslmode=verify-ca", "VerifyCa"),
        ("postgres://db.example/x?sslmode=require", "Require"),
        ("postgres://db.example/x?sslmode=disable", "Disable"),
        ("postgres://127.0.0.1/x", "Disable"),
        ("postgres://[::1]/x", "Disable"),
        ("postgres://localhost/x", "Disable"),
        ("postgres:///x?host=/var/run/postgresql", "Disable"),
        ("postgres://localhost/x?sslmode=verify-full", "VerifyFull"),
    ] {
        assert_eq!(mode(url), expected, "{url}");
    }
}

#[tokio::test]
async fn connections_that_hear_nothing_in_the_middle_of_a_statement_are_replaced() {
    let server = Postgres::start().await;
    let mut config = config::Store::new(server.url("postgres"));
    (config.connections, config.timeout) = (2, mainstay_core::config::Duration::from_secs(10));
    let database = Database::open(&config).await.unwrap();
    let frozen = async {
        const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(77)%' \
                               AND state = 'active' AND pid <> pg_backend_pid()";
        while server.sql("postgres", RUNNING) != "2" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.freeze_connections();
    };
    const SLEEP: &str = "SELECT CAST(pg_sleep(77) AS TEXT)";
    let frozen = async { tokio::time::timeout(Duration::from_secs(9), frozen).await.unwrap() };
    let (one, other, ()) = tokio::join!(database.rows(SLEEP, &[]), database.rows(SLEEP, &[]), frozen);
    for told in [one.unwrap_err(), other.unwrap_err()] {
        assert!(told.to_string().contains("did not answer within 10s"), "{told}");
    }
    // Both that it may have hang for ever, and it does not wait for them.
    let answer = database.rows("SELECT 'here'", &[]).await;
    server.thaw();
    assert_eq!(answer.unwrap(), [["here"]]);
}

#[tokio::test]
async fn over_tls_it_is_the_server_of_that_name_with_a_certificate_that_is_trusted() {
    let server = Postgres::start().await;
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let authority = rcgen::Issuer::new(authority, authority_key);
    let own = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, certificate).unwrap();

    let at = |host: &str, more: &str| {
        format!("postgres://mainstay@{host}:{}/postgres?sslmode=verify-full{more}", server.port())
    };
    let trusted = format!("&sslrootcert={}", root.display());
    let told = refusal(&at("localhost", &trusted)).await;
    assert!(told.contains("does not support TLS"), "nobody falls back: {told}");
    server.encrypt(&own.pem(), &key.serialize_pem());
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    let database = loop {
        // It takes a moment to take up its new settings.
        match Database::open(&config::Store::new(at("localhost", &trusted))).await {
            Ok(database) => break database,
            Err(error) => assert!(tokio::time::Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    const IS_ENCRYPTED: &str =
        "SELECT CAST(ssl AS TEXT) || version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(database.rows(IS_ENCRYPTED, &[]).await.unwrap(), [["trueTLSv1.3"]]);

    let told = refusal(&at("localhost", "")).await;
    assert!(told.contains("UnknownIssuer"), "{told}");
    let told = refusal(&at("127.0.0.1", &trusted)).await;
    assert!(told.contains("not valid for name"), "{told}");
}
