//! A browser without scripts: it keeps cookies, fills in forms, and stops where it is sent elsewhere.

use std::{cell::RefCell, collections::BTreeMap};

use super::*;

pub(super) const PASSWORD: &str = "correct horse";
pub(super) const VERIFIER: &str = "a-verifier-of-43-to-128-characters-0123456789";
pub(super) const BACK: &str = "https://app.example/back";

pub(super) struct Browser<'a> {
    provider: &'a Provider,
    cookies: RefCell<BTreeMap<String, String>>,
    pub(super) headers: Vec<(&'static str, &'static str)>,
}

/// Somebody, and clients that people use.
pub(super) fn people() -> Config {
    let app = Client::public()
        .with_grants([Grant::AuthorizationCode, Grant::RefreshToken])
        .with_redirect_uri(BACK)
        .with_redirect_uri("http://127.0.0.1/back")
        .with_scopes(["openid", "profile", "email", "offline_access", "stock:read"])
        .with_audiences(["stock", "prices"]);
    let app = Client { post_logout_redirect_uris: vec!["https://app.example/bye?a=b".to_owned()], ..app };
    let ada = User {
        name: Some("Ada <b>Lovelace</b>".to_owned()),
        email: Some("ada@example.org".to_owned()),
        subject: Some("u-1".to_owned()),
        ..User::with_password(PASSWORD).with_roles(["clerk"])
    };
    config()
        .with_client("app", app.clone())
        .with_client("own", app.clone().without_consent())
        .with_client("web", Client { public: false, secret: Some(SECRET.into()), ..app.without_consent() })
        .with_user("ada", ada)
        .with_user("bob", User::with_password("another password"))
}

/// A request of the client, with these parameters in place of its own; empty ones are left out.
pub(super) fn request(changes: &[(&str, &str)]) -> String {
    let challenge = secret::hashed(VERIFIER);
    let mut fields = BTreeMap::from([
        ("response_type", "code"),
        ("client_id", "own"),
        ("redirect_uri", BACK),
        ("scope", "openid"),
        ("state", "a state & more"),
        ("nonce", "n-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    fields.extend(changes.iter().copied());
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    format!("/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
}

impl<'a> Browser<'a> {
    pub(super) fn new(provider: &'a Provider) -> Self {
        Self { provider, cookies: RefCell::default(), headers: Vec::new() }
    }

    /// One that was somewhere else before.
    #[cfg(all(feature = "issuer-sqlite", feature = "issuer-postgres"))]
    pub(super) fn with_cookies(provider: &'a Provider, cookies: BTreeMap<String, String>) -> Self {
        Self { provider, cookies: RefCell::new(cookies), headers: Vec::new() }
    }

    pub(super) async fn get(&self, url: &str) -> Answer {
        self.send(Request::get(url).body(Body::empty()).unwrap()).await
    }

    /// Fills in the form of `page`, which was found at `url`.
    pub(super) async fn submit(&self, url: &str, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let token = form_token(page);
        let fields = [&[("form_token", token.as_str())], fields].concat();
        self.send(posted(url, &fields)).await
    }

    pub(super) async fn log_in(&self, url: &str, page: &Answer, login: &str, password: &str) -> Answer {
        self.submit(url, page, &[("login", login), ("password", password), ("action", "login")]).await
    }

    /// Through a login to where it leads.
    pub(super) async fn back_with(&self, changes: &[(&str, &str)]) -> Back {
        let url = request(changes);
        let page = self.get(&url).await;
        Back::of(&self.log_in(&url, &page, "ada", PASSWORD).await)
    }

    /// A code for ada's login.
    pub(super) async fn code(&self, changes: &[(&str, &str)]) -> String {
        self.back_with(changes).await.field("code").to_owned()
    }

    pub(super) async fn send(&self, mut request: Request<Body>) -> Answer {
        for (name, value) in &self.cookies() {
            request.headers_mut().append(header::COOKIE, format!("{name}={value}").parse().unwrap());
        }
        for (name, value) in &self.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = self.provider.ask(request).await;
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let (pair, attributes) = set.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert_eq!(attributes.contains("Max-Age=0"), value.is_empty());
            let mut cookies = self.cookies.borrow_mut();
            if value.is_empty() {
                cookies.remove(name)
            } else {
                cookies.insert(name.to_owned(), value.to_owned())
            };
        }
        answer
    }

    pub(super) fn cookies(&self) -> BTreeMap<String, String> {
        self.cookies.borrow().clone()
    }

    pub(super) fn forget(&self, name: &str) {
        self.cookies.borrow_mut().remove(name);
    }
}

pub(super) fn form_token(page: &Answer) -> String {
    let (_, rest) =
        page.body.split_once("name=\"form_token\" value=\"").unwrap_or_else(|| panic!("no form: {page:?}"));
    rest.split('"').next().unwrap().to_owned()
}

/// Where somebody is sent back to.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) uri: String,
    fields: BTreeMap<String, String>,
}

impl Back {
    pub(super) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let location = answer.header("location");
        let (uri, query) = location.split_once('?').unwrap();
        let fields = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { uri: uri.to_owned(), fields }
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

impl Provider {
    /// As the client `own` redeems it.
    pub(super) async fn redeem(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let mut fields = BTreeMap::from([
            ("grant_type", "authorization_code"),
            ("client_id", "own"),
            ("code", code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ]);
        fields.extend(changes.iter().copied());
        let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        self.post("/token", &fields).await
    }

    pub(super) async fn refreshed(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        let fields =
            [&[("grant_type", "refresh_token"), ("client_id", "own"), ("refresh_token", token)], more]
                .concat();
        self.post("/token", &fields).await
    }

    pub(super) async fn userinfo(&self, token: &str) -> Answer {
        let request = Request::get("/userinfo").header("authorization", format!("Bearer {token}"));
        self.ask(request.body(Body::empty()).unwrap()).await
    }
}
