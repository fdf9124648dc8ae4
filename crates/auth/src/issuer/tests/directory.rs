//! Users and clients in the database, changed while a provider runs.

use std::time::Duration;

use super::{browser::*, databases::Databases, *};
use crate::issuer::directory::Refused;

const OFFLINE: [(&str, &str); 2] = [("scope", "openid offline_access stock:read"), ("prompt", "login")];
const BOB: &str = "another password";

async fn all() -> [Databases; 2] {
    [Databases::sqlite(), Databases::postgres().await]
}

/// A provider that knows clients and `ada` by its configuration, and the directory of its database.
async fn beginning(databases: &Databases) -> (Provider, Directory) {
    let mut config = people().with_store(databases.new_url());
    config.users.remove("bob");
    let clock = clock();
    let provider = Provider::open_with(&config, &Tasks::new(), clock).await.unwrap();
    let database = Database::open(&config.store).await.unwrap();
    (provider, Directory::new(database, clock))
}

fn bob() -> User {
    User { email: Some("bob@example.org".to_owned()), ..User::with_password(BOB).with_roles(["clerk"]) }
}

async fn logs_in<'a>(provider: &'a Provider, login: &str, password: &str) -> (Browser<'a>, Answer) {
    let browser = Browser::new(provider);
    let url = request(&OFFLINE);
    let page = browser.get(&url).await;
    let answer = browser.log_in(&url, &page, login, password).await;
    (browser, answer)
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < end, "it never comes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn somebody_who_is_added_logs_in_and_is_out_when_removed() {
    for databases in all().await {
        let (provider, directory) = beginning(&databases).await;
        assert_eq!(logs_in(&provider, "bob", BOB).await.1.status, StatusCode::FORBIDDEN);
        directory.add_user("bob", &bob()).await.unwrap();
        let (browser, answer) = logs_in(&provider, "bob", BOB).await;
        let tokens = provider.redeem(Back::of(&answer).field("code"), &[]).await;
        let (access, refresh) = (tokens.text("access_token"), tokens.text("refresh_token"));
        let claims = provider.claims(&access);
        assert_eq!(claims["roles"], serde_json::json!(["clerk"]));
        let subject = claims["sub"].as_str().unwrap();
        assert!(subject.len() == 43 && !subject.contains("bob"), "it is nobody else's, ever: {subject}");
        let listed = directory.users().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].0.as_str(), listed[0].1.subject.as_deref()), ("bob", Some(subject)));
        assert_eq!((&listed[0].1.password, &listed[0].1.password_hash), (&None, &None));

        directory.remove_user("bob").await.unwrap();
        until(async || provider.userinfo(&access).await.status == StatusCode::UNAUTHORIZED).await;
        assert_eq!(provider.refreshed(&refresh, &[]).await.refusal(), (400, "invalid_grant".to_owned()));
        let page = browser.get(&request(&[])).await;
        assert!(page.body.contains("name=\"password\""), "they are logged in no more: {page:?}");
        // Somebody else of the same name is somebody else.
        directory.add_user("bob", &bob()).await.unwrap();
        assert_eq!(provider.refreshed(&refresh, &[]).await.refusal(), (400, "invalid_grant".to_owned()));
        let (_, answer) = logs_in(&provider, "bob", BOB).await;
        let tokens = provider.redeem(Back::of(&answer).field("code"), &[]).await;
        assert_ne!(provider.claims(&tokens.text("access_token"))["sub"], claims["sub"]);
    }
}

#[tokio::test]
async fn another_password_ends_all_logins_of_before() {
    for databases in all().await {
        let (provider, directory) = beginning(&databases).await;
        directory.add_user("bob", &bob()).await.unwrap();
        let (browser, answer) = logs_in(&provider, "bob", BOB).await;
        let tokens = provider.redeem(Back::of(&answer).field("code"), &[]).await;
        let (access, refresh) = (tokens.text("access_token"), tokens.text("refresh_token"));
        // A login of the same second is one of after.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        directory.set_password("bob", &"a third password".into()).await.unwrap();
        assert_eq!(logs_in(&provider, "bob", BOB).await.1.status, StatusCode::FORBIDDEN, "at once");
        let (_, answer) = logs_in(&provider, "bob", "a third password").await;
        Back::of(&answer).field("code");
        until(async || provider.userinfo(&access).await.status == StatusCode::UNAUTHORIZED).await;
        let says = provider.post_as("web", SECRET, "/introspect", &[("token", &access)]).await;
        assert_eq!(says.json()["active"], false);
        assert_eq!(provider.refreshed(&refresh, &[]).await.refusal(), (400, "invalid_grant".to_owned()));
        let page = browser.get(&request(&[])).await;
        assert!(page.body.contains("name=\"password\""), "{page:?}");
    }
}

#[tokio::test]
async fn a_password_that_was_set_by_a_clock_that_is_ahead_is_good_at_once() {
    let databases = Databases::sqlite();
    let (provider, _) = beginning(&databases).await;
    let ahead = crate::clock::Clock::Test {
        at: Duration::from_secs(crate::tests::NOW + 600),
        since: tokio::time::Instant::now(),
    };
    let database = Database::open(&provider.0.config.store).await.unwrap();
    Directory::new(database, ahead).add_user("bob", &bob()).await.unwrap();
    let (_, answer) = logs_in(&provider, "bob", BOB).await;
    let tokens = provider.redeem(Back::of(&answer).field("code"), &[]).await;
    assert_eq!(provider.userinfo(&tokens.text("access_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_configuration_counts_where_both_have_a_name_or_a_subject() {
    for databases in all().await {
        let (provider, directory) = beginning(&databases).await;
        directory.add_user("ada", &User::with_password("not that of the configuration")).await.unwrap();
        let thief = User { subject: Some("u-1".to_owned()), ..User::with_password("a thief's password") };
        directory.add_user("eve", &thief).await.unwrap();
        directory.add_client("orders", &Client::with_secret("not that of the configuration")).await.unwrap();
        let refused = [("ada", "not that of the configuration"), ("eve", "a thief's password")];
        for (login, password) in refused {
            assert_eq!(logs_in(&provider, login, password).await.1.status, StatusCode::FORBIDDEN, "{login}");
        }
        Back::of(&logs_in(&provider, "ada", PASSWORD).await.1).field("code");
        let token = [("grant_type", "client_credentials")];
        let answer = provider.post_as("orders", "not that of the configuration", "/token", &token).await;
        assert_eq!(answer.refusal(), (401, "invalid_client".to_owned()));
        assert_eq!(provider.post_as("orders", SECRET, "/token", &token).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_that_is_added_gets_tokens_by_the_secret_that_it_has_now() {
    for databases in all().await {
        let (provider, directory) = beginning(&databases).await;
        let token = [("grant_type", "client_credentials")];
        let answers = async |secret: &str| provider.post_as("billing", secret, "/token", &token).await.status;
        assert_eq!(answers(SECRET).await, StatusCode::UNAUTHORIZED);
        directory.add_client("billing", &orders()).await.unwrap();
        until(async || answers(SECRET).await == StatusCode::OK).await;
        let other = "another secret of some length";
        directory.set_client_secret("billing", &other.into()).await.unwrap();
        until(async || answers(other).await == StatusCode::OK).await;
        assert_eq!(answers(SECRET).await, StatusCode::UNAUTHORIZED);
        let listed = directory.clients().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].1.secret, &listed[0].1.scopes), (&None, &orders().scopes));
        directory.remove_client("billing").await.unwrap();
        until(async || answers(other).await == StatusCode::UNAUTHORIZED).await;

        // And one that people use.
        let app = people().clients["own"].clone();
        directory.add_client("shop", &app).await.unwrap();
        let browser = Browser::new(&provider);
        let code = browser.code(&[("client_id", "shop")]).await;
        assert_eq!(provider.redeem(&code, &[("client_id", "shop")]).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_its_name_and_nothing_is_written() {
    for databases in all().await {
        let (_provider, directory) = beginning(&databases).await;
        let key = |refused: Refused| match refused {
            Refused::Wrong { key, .. } => key,
            other => panic!("{other}"),
        };
        for (login, user, wrong) in [
            ("", bob(), "user"),
            ("a\0b", bob(), "user"),
            ("a\nb", bob(), "user"),
            ("bob", User::with_password("short"), "password"),
            ("bob", User::with_password_hash("$2b$12$x"), "password_hash"),
            ("bob", User { subject: Some("\u{e9}".to_owned()), ..bob() }, "subject"),
            ("bob", User::default(), "password_hash"),
        ] {
            assert_eq!(key(directory.add_user(login, &user).await.unwrap_err()), wrong);
        }
        for (id, client, wrong) in [
            ("a b", orders(), "client"),
            ("x", Client::with_secret("short"), "secret"),
            ("x", Client::default(), "secret"),
            ("x", Client::with_jwks("{}"), "jwks"),
            ("x", Client::public().with_grants([Grant::ClientCredentials]), "grants"),
        ] {
            assert_eq!(key(directory.add_client(id, &client).await.unwrap_err()), wrong);
        }
        assert_eq!(
            (directory.users().await.unwrap().len(), directory.clients().await.unwrap().len()),
            (0, 0)
        );

        let unknown = |name: &str| Err(Refused::Unknown(name.to_owned()));
        assert_eq!(directory.set_password("bob", &BOB.into()).await, unknown("bob"));
        assert_eq!(directory.remove_user("bob").await, unknown("bob"));
        assert_eq!(directory.set_client_secret("x", &SECRET.into()).await, unknown("x"));
        assert_eq!(directory.remove_client("x").await, unknown("x"));

        directory.add_user("bob", &User { subject: Some("u-2".to_owned()), ..bob() }).await.unwrap();
        directory.add_client("x", &Client::public()).await.unwrap();
        let exists = |name: &str| Err(Refused::Exists(name.to_owned()));
        assert_eq!(directory.add_user("bob", &bob()).await, exists("bob"));
        let same_subject = User { subject: Some("u-2".to_owned()), ..bob() };
        assert_eq!(directory.add_user("bobby", &same_subject).await, exists("bobby"));
        assert_eq!(directory.add_client("x", &orders()).await, exists("x"));
        let refused = directory.set_client_secret("x", &SECRET.into()).await.unwrap_err();
        assert_eq!(key(refused), "public", "it has no secret");
        assert_eq!(key(directory.set_password("bob", &"short".into()).await.unwrap_err()), "password");
    }
}

#[tokio::test]
async fn names_that_nobody_has_are_unknown_whatever_is_in_them() {
    for databases in all().await {
        let (provider, _directory) = beginning(&databases).await;
        let long = "x".repeat(5000);
        for name in ["a\0b", "' OR 1=1 --", "\u{1f511}", long.as_str(), " "] {
            assert_eq!(logs_in(&provider, name, BOB).await.1.status, StatusCode::FORBIDDEN, "{name:?}");
            let token =
                [("grant_type", "client_credentials"), ("client_id", name), ("client_secret", SECRET)];
            assert_eq!(provider.post("/token", &token).await.refusal(), (401, "invalid_client".to_owned()));
            let page = provider.get(&request(&[("client_id", name)])).await;
            assert_eq!(page.status, StatusCode::BAD_REQUEST, "{name:?}");
        }
    }
}

#[tokio::test]
async fn in_the_database_there_are_hashes_of_secrets_and_of_nothing_else_that_lets_in() {
    let databases = Databases::postgres().await;
    let Databases::Postgres(server) = &databases else { unreachable!() };
    let config = people().with_store(server.url("postgres"));
    let provider = opened(&config).await;
    let directory = Directory::open(&config.store).await.unwrap();
    directory.add_user("carol", &User::with_password("carol's password")).await.unwrap();
    directory.add_client("billing", &orders()).await.unwrap();
    let browser = Browser::new(&provider);
    let code = browser.code(&OFFLINE).await;
    let tokens = provider.redeem(&browser.code(&OFFLINE).await, &[]).await;
    let dump = ["records", "users", "clients"].map(|table| {
        server
            .sql("postgres", &format!("SELECT * FROM mainstay_idp_{table} WHERE content NOT LIKE '%pkcs8%'"))
    });
    let dump = dump.concat();
    assert!(dump.contains("$argon2id$") && dump.contains("billing") && dump.contains("refresh"), "{dump}");
    let cookies: Vec<_> = browser.cookies().into_values().collect();
    assert!(cookies.len() >= 2);
    let secrets = ["carol's password".to_owned(), SECRET.to_owned(), code, tokens.text("refresh_token")];
    for secret in secrets.into_iter().chain(cookies) {
        assert!(!dump.contains(&secret), "{secret}");
    }
    // While it is down nobody is told that they are unknown.
    server.kill();
    let page = provider.get(&request(&[("client_id", "billing")])).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.body.contains("Please try again later"), "{page:?}");
    let url = request(&[]);
    let browser = Browser::new(&provider);
    let page = browser.get(&url).await;
    let answer = browser.log_in(&url, &page, "carol", "carol's password").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
