//! The shop with an identity provider of somebody else in the place of its own: by configuration alone, and as `docs/auth.md`
//! says.

mod provider;

use std::{fs, time::Duration};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::{moving::ask_with, process::set, shop::Shop};
use provider::{Kind, Provider};

macro_rules! with_every_provider {
    ($($provider:ident = $is:expr),* ; $tests:tt) => { $( with_every_provider!(@ $provider $is; $tests); )* };
    (@ $provider:ident $is:expr; { $($test:ident)* }) => {
        mod $provider {
            use super::Kind;

            $(
                #[tokio::test]
                async fn $test() {
                    super::$test($is).await;
                }
            )*
        }
    };
}

with_every_provider! {
    oidc_provider_of_npm = Kind::OidcProvider, glewlwyd_of_debian = Kind::Glewlwyd;
    {
        a_program_may_what_its_token_says
        somebody_who_logs_in_there_may_order
        a_new_key_is_followed_and_a_provider_that_is_gone_is_not_missed
        a_key_that_is_withdrawn_takes_its_tokens_with_it
    }
}

with_every_provider! {
    oidc_provider_of_npm_with_opaque_tokens = Kind::OpaqueOidcProvider;
    {
        a_program_may_what_its_token_says
        somebody_who_logs_in_there_may_order
        a_token_that_is_revoked_is_refused_soon
    }
}

const ORDER: &str = r#"{"items":[{"sku":"mug","quantity":1}],"payment_token":"tok_visa"}"#;

/// A shop, and the provider that it trusts.
struct Setting {
    shop: Shop,
    provider: Provider,
    _folder: TempDir,
}

impl Setting {
    /// The provider with these keys, and the shop that takes its tokens and no other.
    async fn open(kind: Kind, keys: &[&str]) -> Self {
        let provider = Provider::start(kind, keys).await;
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("shop.toml");
        let shop = include_str!("shop.toml").replace("https://id.example", &provider.issuer());
        let documented = documented(kind).replace("https://id.example", provider.url());
        let text = shop + &documented.replace("\u{2026}", "secretOfOrders");
        fs::write(&file, text).expect("it is written");
        // Where nothing is relaxed, and no secret known.
        let production = ["--profile", "production", "--config", file.to_str().expect("it is text")];
        let mut arguments = production.map(str::to_owned).to_vec();
        if kind == Kind::OpaqueOidcProvider {
            arguments.extend(set(&[("auth.issuers.main.introspection.max_age", "1s")]));
        }
        let shop = Shop::with(&arguments);
        Self { shop, provider, _folder: folder }
    }

    /// The status of an order with this token.
    async fn order(&self, token: &str) -> u16 {
        self.shop.showing(token).order("mug", 1, "tok_visa").await.status
    }

    /// The status of looking at the orders, which nobody but the shop's door and orders has to do with.
    async fn look(&self, token: &str) -> u16 {
        self.shop.showing(token).get("/orders?limit=1").await.status
    }
}

/// The configuration that the documentation has for it.
fn documented(kind: Kind) -> &'static str {
    let page = include_str!("../../../../../docs/auth.md");
    let (_, rest) = page.split_once(&format!("```toml\n# {}\n", kind.name())).expect("it is documented");
    rest.split("```").next().expect("it ends")
}

async fn a_program_may_what_its_token_says(kind: Kind) {
    let setting = Setting::open(kind, &kind.keys()[..1]).await;
    let (writes, reads) = (setting.provider.token("orders:write"), setting.provider.token("orders:read"));
    let answer = setting.shop.showing(&writes).order("mug", 1, "tok_visa").await;
    assert_eq!((answer.status, &answer.json["status"]), (201, &"paid".into()), "{answer}");
    assert_eq!(setting.look(&reads).await, 200);

    let answer = setting.shop.showing(&reads).order("mug", 1, "tok_visa").await;
    answer.is_problem(403, "");
    let challenge = answer.head["www-authenticate"].to_str().expect("it is text");
    assert!(
        challenge.contains(r#"error="insufficient_scope""#) && challenge.contains("orders:write"),
        "{challenge}"
    );
    assert_eq!(setting.look(&writes).await, 403);
    let door = setting.shop.door;
    let (status, answer) =
        ask_with(door, "POST", "/orders", "application/json", "", ORDER).await.expect("an answer");
    assert_eq!(status, 401, "{answer}");
    // One letter is another: of the signature, if there is one.
    let (head, rest) = writes.split_at(writes.rfind('.').map_or(0, |dot| dot + 1));
    let changed = if rest.starts_with('A') { "B" } else { "A" };
    assert_eq!(setting.order(&format!("{head}{changed}{}", &rest[1..])).await, 401);
    setting.shop.close();
}

async fn somebody_who_logs_in_there_may_order(kind: Kind) {
    let setting = Setting::open(kind, &kind.keys()[..1]).await;
    let token = setting.provider.log_in("orders:write");
    assert_eq!(setting.order(&token).await, 201);
    assert_eq!(setting.look(&token).await, 403, "it was not asked for");
    setting.shop.close();
}

async fn a_new_key_is_followed_and_a_provider_that_is_gone_is_not_missed(kind: Kind) {
    let [first, second, _] = kind.keys();
    let mut setting = Setting::open(kind, &[first]).await;
    let old = [(); 3].map(|()| setting.provider.token("orders:write"));
    assert_eq!(setting.order(&old[0]).await, 201);

    setting.provider.rotate(&[second, first]);
    let new = [(); 2].map(|()| setting.provider.token("orders:write"));
    assert_ne!(header(&old[0]), header(&new[0]), "another key signs");
    assert_eq!(setting.order(&new[0]).await, 201, "its key was not known before");
    assert_eq!(setting.order(&old[1]).await, 201, "its key is still published");

    let Setting { shop, provider, _folder } = setting;
    provider.kill();
    for token in [&old[0], &old[2], &new[0], &new[1]] {
        let answer = shop.showing(token).order("mug", 1, "tok_visa").await;
        assert_eq!(answer.status, 201, "{answer}");
    }
    shop.close();
}

async fn a_key_that_is_withdrawn_takes_its_tokens_with_it(kind: Kind) {
    let [first, second, third] = kind.keys();
    let mut setting = Setting::open(kind, &[first]).await;
    let all = "orders:read orders:write";
    let old = [(); 2].map(|()| setting.provider.token(all));
    assert_eq!(setting.order(&old[0]).await, 201);
    setting.provider.rotate(&[second, first]);
    let between = setting.provider.token(all);
    assert_eq!(setting.order(&between).await, 201);

    setting.provider.rotate(&[third, second]);
    let new = setting.provider.token(all);
    assert_eq!(setting.look(&new).await, 200, "its key was not known before");
    assert_eq!(setting.look(&between).await, 200, "its key is still published");
    for token in &old {
        assert_eq!(setting.look(token).await, 401, "its key is published no longer");
    }
    // The token by which orders calls the others is as old. It is replaced, and nobody is told that they are not known.
    let mut tries = 0;
    loop {
        let answer = setting.shop.showing(&new).order("mug", 1, "tok_visa").await;
        if answer.status == 201 {
            break;
        }
        // Refused by the stock, or by payments.
        assert!(matches!(answer.status, 502 | 503), "{answer}");
        tries += 1;
        assert!(tries < 200, "orders is refused for good");
        sleep(Duration::from_millis(100)).await;
    }
    setting.shop.close();
}

async fn a_token_that_is_revoked_is_refused_soon(kind: Kind) {
    let setting = Setting::open(kind, &kind.keys()[..1]).await;
    let (revoked, other) = (setting.provider.token("orders:read"), setting.provider.token("orders:read"));
    assert_eq!(setting.look(&revoked).await, 200);
    setting.provider.revoke(&revoked);
    // For `max_age` what is known of it is believed.
    let mut tries = 0;
    while setting.look(&revoked).await == 200 {
        tries += 1;
        assert!(tries < 200, "it is good for ever");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(setting.look(&revoked).await, 401);
    assert_eq!(setting.look(&other).await, 200);
    setting.shop.close();
}

/// What a token says about its key.
fn header(token: &str) -> &str {
    token.split('.').next().expect("it is text")
}
