//! The provider as its clients see it: by its router, on a clock of the tests.

mod attacks;
mod browser;
mod clients;
#[cfg(all(feature = "issuer-sqlite", feature = "issuer-postgres"))]
pub(super) mod databases;
#[cfg(all(feature = "issuer-sqlite", feature = "issuer-postgres"))]
mod directory;
mod endpoints;
mod failures;
mod faults;
mod keys;
mod logins;
mod refresh;
#[cfg(all(feature = "issuer-sqlite", feature = "issuer-postgres"))]
mod stored;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Request, StatusCode, header};
use mainstay_core::task::Tasks;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::tests::{NOW, clock};

const ISSUER: &str = "http://127.0.0.1:9400";
const SECRET: &str = "a secret: with+%every&thing=";

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }

    /// The status, and `error`.
    fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.text("error"))
    }
}

fn config() -> Config {
    Config::new(ISSUER).with_client("orders", orders())
}

fn orders() -> Client {
    Client::with_secret(SECRET)
        .with_grants([Grant::ClientCredentials])
        .with_scopes(["stock:read", "stock:write", "openid"])
        .with_audiences(["stock", "https://prices.example/api"])
}

async fn opened(config: &Config) -> Provider {
    Provider::open_with(config, &Tasks::new(), clock()).await.unwrap()
}

impl Provider {
    async fn ask(&self, request: Request<Body>) -> Answer {
        let answer = self.router().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// As somebody of whom the provider knows only the fields.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask(posted(path, fields)).await
    }

    /// As this client, by `client_secret_basic`.
    async fn post_as(&self, client: &str, secret: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut request = posted(path, fields);
        request.headers_mut().insert(header::AUTHORIZATION, basic(client, secret).parse().unwrap());
        self.ask(request).await
    }

    /// What the claims of an access token are, by our own look at it.
    fn claims(&self, token: &str) -> Value {
        Value::Object(self.read("at+jwt", token).expect("it was signed here"))
    }
}

fn posted(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Request::post(path).header("content-type", "application/x-www-form-urlencoded").body(body.into()).unwrap()
}

fn basic(client: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client), encoded(secret))))
}

#[tokio::test]
async fn what_is_wrong_with_a_configuration_is_told_by_its_key() {
    for (key, change) in [
        ("issuer", Box::new(|config: &mut Config| config.issuer.clear()) as Box<dyn Fn(&mut Config)>),
        ("issuer", Box::new(|config| config.issuer.push('/'))),
        ("issuer", Box::new(|config| config.issuer.push_str("?a"))),
        ("issuer", Box::new(|config| config.issuer.push_str("/{a}"))),
        ("issuer", Box::new(|config| config.issuer = "http://id.example".to_owned())),
        (
            "faults",
            Box::new(|config| (config.issuer, config.faults) = ("https://id.example".to_owned(), true)),
        ),
        ("token", Box::new(|config| config.token = mainstay_core::config::Duration::from_secs(1))),
        ("keys.ahead", Box::new(|config| config.keys.ahead = config.keys.rotation)),
        ("failures_of_user", Box::new(|config| config.failures_of_user = 0)),
        ("clients.a b", Box::new(|config| drop(config.clients.insert("a b".to_owned(), orders())))),
        (
            "clients.x.secret",
            Box::new(|config| drop(config.clients.insert("x".to_owned(), Client::default()))),
        ),
        (
            "clients.x.secret",
            Box::new(|config| drop(config.clients.insert("x".to_owned(), Client::with_secret("short")))),
        ),
        (
            "clients.x.public",
            Box::new(|config| {
                config.clients.insert("x".to_owned(), Client { public: true, ..orders() });
            }),
        ),
        (
            "clients.x.grants",
            Box::new(|config| {
                config
                    .clients
                    .insert("x".to_owned(), Client::public().with_grants([Grant::ClientCredentials]));
            }),
        ),
        (
            "clients.x.redirect_uris",
            Box::new(|config| {
                config
                    .clients
                    .insert("x".to_owned(), Client::public().with_grants([Grant::AuthorizationCode]));
            }),
        ),
        (
            "clients.x.redirect_uris",
            Box::new(|config| {
                let client = Client::public()
                    .with_grants([Grant::AuthorizationCode])
                    .with_redirect_uri("javascript:alert(1)");
                config.clients.insert("x".to_owned(), client);
            }),
        ),
        (
            "clients.x.jwks",
            Box::new(|config| drop(config.clients.insert("x".to_owned(), Client::with_jwks("{}")))),
        ),
        (
            "clients.x.scopes",
            Box::new(|config| drop(config.clients.insert("x".to_owned(), orders().with_scopes(["a b"])))),
        ),
        (
            "users.ada.password",
            Box::new(|config| drop(config.users.insert("ada".to_owned(), User::with_password("short")))),
        ),
        (
            "users.ada.password_hash",
            Box::new(|config| {
                config.users.insert("ada".to_owned(), User::with_password_hash("$2b$12$x"));
            }),
        ),
        ("scopes.stock:raed", Box::new(|config| *config = config.clone().with_scope("stock:raed", "read"))),
        ("scopes.stock:read", Box::new(|config| *config = config.clone().with_scope("stock:read", "a\nb"))),
        (
            "users.bob.subject",
            Box::new(|config| {
                config.users.insert("ada".to_owned(), User::with_password("long enough"));
                let bob = User { subject: Some("ada".to_owned()), ..User::with_password("long enough") };
                config.users.insert("bob".to_owned(), bob);
            }),
        ),
    ] {
        let mut wrong = config();
        change(&mut wrong);
        let unusable = Provider::open(&wrong, &Tasks::new()).await.unwrap_err();
        assert_eq!(unusable.key, key, "{unusable}");
    }
}

#[tokio::test]
async fn a_provider_below_a_path_answers_there() {
    let mut config = config();
    config.issuer.push_str("/tenant/a");
    let provider = opened(&config).await;
    let openid = provider.get("/tenant/a/.well-known/openid-configuration").await;
    let oauth = provider.get("/.well-known/oauth-authorization-server/tenant/a").await;
    assert_eq!(openid.json(), oauth.json());
    assert_eq!(openid.text("issuer"), format!("{ISSUER}/tenant/a"));
    assert_eq!(openid.text("token_endpoint"), format!("{ISSUER}/tenant/a/token"));
    assert_eq!(provider.get("/tenant/a/jwks").await.status, StatusCode::OK);
}
