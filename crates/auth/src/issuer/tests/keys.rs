//! Signing keys over time, seen by the verifier that services have.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    Config as Trust, Issuer, Verifier,
    fetch::{Document, Failure, Fetch, Post, Reply, Url},
};

/// Asks a provider without a network, so that time can stand still.
impl Fetch for Provider {
    async fn get(&self, url: &Url) -> Result<Document, Failure> {
        let answer = Provider::get(self, url.path()).await;
        if answer.status != StatusCode::OK {
            return Err(Failure(answer.status.to_string()));
        }
        let max_age =
            answer.header("cache-control").split("max-age=").nth(1).and_then(|age| age.parse().ok());
        Ok(Document { max_age: max_age.map(Duration::from_secs), body: answer.body.into() })
    }
}

/// Documents are all that is asked for here.
impl Post for Provider {
    async fn post(&self, url: &Url, _: Option<&http::HeaderValue>, _: String) -> Result<Reply, Failure> {
        Err(Failure(format!("{url}: no forms")))
    }
}

pub(super) async fn token(provider: &Provider) -> String {
    provider
        .post_as("orders", SECRET, "/token", &[("grant_type", "client_credentials")])
        .await
        .text("access_token")
}

fn kids(provider: &Provider) -> BTreeSet<String> {
    let set: Value = serde_json::from_str(&provider.jwks()).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

pub(super) fn trust(issuer: &str) -> Trust {
    Trust::new(["stock"]).with_issuer("main", Issuer::new(issuer))
}

#[tokio::test]
async fn our_verifier_takes_its_tokens_over_http_through_a_rotation() {
    #![allow(clippy::disallowed_methods, reason = "the server of the test ends with it")]
    for algorithm in Algorithm::ALL {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let mut config = Config { issuer: issuer.clone(), ..config() };
        config.keys.algorithm = algorithm;
        let tasks = Tasks::new();
        let provider = Provider::open(&config, &tasks).await.unwrap();
        let server = tokio::spawn(axum::serve(listener, provider.router()).into_future());
        let verifier = Verifier::open(&trust(&issuer), &tasks).await.unwrap();
        let first = token(&provider).await;
        let principal = verifier.verify(&first).await.unwrap();
        assert_eq!((principal.subject(), principal.client()), (Some("orders"), Some("orders")));
        assert!(principal.has_scope("stock:write") && !principal.has_scope("openid"));
        // The verifier asks at most once in its cool-down of 5 s; another one knows nothing yet.
        provider.rotate().await.unwrap();
        let second = token(&provider).await;
        assert_ne!(kid(&first), kid(&second));
        let verifier = Verifier::open(&trust(&issuer), &tasks).await.unwrap();
        for token in [&first, &second] {
            assert!(verifier.verify(token).await.is_ok(), "{}", algorithm.name());
        }
        server.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_fortnight_of_daily_rotations_refuses_no_valid_token() {
    let mut config = config();
    config.keys.rotation = mainstay_core::config::Duration::from_secs(24 * 3600);
    let provider = opened(&config).await;
    let verifier =
        Verifier::open_with(
            &trust("http://127.0.0.1:9400"),
            &Tasks::new(),
            clock(),
            |_| Ok(provider.clone()),
        )
        .await
        .unwrap();
    let mut signed_by = BTreeSet::new();
    let mut earlier: Option<String> = None;
    for _ in 0..(14 * 24 * 60 / 9) {
        let new = token(&provider).await;
        for token in [Some(&new), earlier.as_ref()].into_iter().flatten() {
            verifier.verify(token).await.unwrap();
        }
        if signed_by.insert(kid(&new)) && signed_by.len() > 1 {
            assert!(kids(&provider).len() >= 2, "the last one is published still");
        }
        assert!((1..=3).contains(&kids(&provider).len()));
        earlier = Some(new);
        // Tokens are good for 10 minutes.
        tokio::time::sleep(Duration::from_secs(9 * 60)).await;
    }
    assert_eq!(signed_by.len(), 14, "one a day");
}

#[tokio::test(start_paused = true)]
async fn the_next_key_is_published_before_it_signs_and_the_last_until_its_tokens_are_gone() {
    let provider = opened(&config()).await;
    let first = kid(&token(&provider).await);
    let day = Duration::from_secs(24 * 3600);
    tokio::time::sleep(30 * day - Duration::from_secs(3500)).await;
    let published = kids(&provider);
    assert_eq!(published.len(), 2);
    assert_eq!(kid(&token(&provider).await), first, "it is not used yet");
    tokio::time::sleep(Duration::from_secs(3500)).await;
    let second = kid(&token(&provider).await);
    assert!(second != first && published.contains(&second));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(
        kids(&provider).contains(&first),
        "its last token is good until now, on clocks that are late longer"
    );
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(kids(&provider), BTreeSet::from([second]));
}

#[tokio::test(start_paused = true)]
async fn keys_end_with_the_provider_that_keeps_them_nowhere() {
    let tasks = Tasks::new();
    let provider = Provider::open_with(&config(), &tasks, clock()).await.unwrap();
    assert_eq!(tasks.len(), 1);
    drop(provider);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(tasks.is_empty(), "its task too");
}

#[tokio::test]
async fn keys_in_a_file_outlive_the_process_and_are_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    // One clock for both: making RSA keys takes seconds of it.
    let clock = clock();
    let open = async |config: &Config| Provider::open_with(config, &Tasks::new(), clock).await.unwrap();
    for algorithm in Algorithm::ALL {
        let mut config = config();
        (config.keys.file, config.keys.algorithm) = (Some(path.clone()), algorithm);
        let before = open(&config).await;
        let old = token(&before).await;
        before.rotate().await.unwrap();
        let after = open(&config).await;
        assert_eq!(kids(&after), kids(&before));
        assert_eq!(kid(&token(&after).await), kid(&token(&before).await));
        after.claims(&old);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(SECRET));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            let refused = Provider::open(&config, &Tasks::new()).await.unwrap_err();
            assert_eq!(refused.key, "keys.file");
            assert!(refused.what.contains("mode 640"), "{refused}");
        }
        std::fs::remove_file(&path).unwrap();
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(names.is_empty(), "nothing is left beside it: {names:?}");
}

#[tokio::test]
async fn a_file_that_is_none_of_keys_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let mut config = config();
    config.keys.file = Some(path.clone());
    for content in [
        "",
        "{}",
        "{\"keys\": []}",
        r#"{"keys": [{"algorithm": "ES256", "signs_from": 1, "pkcs8": "AAAA"}]}"#,
    ] {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, content).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let refused = Provider::open(&config, &Tasks::new()).await.unwrap_err();
        assert!(refused.what.contains("keys.json"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    config.keys.file = Some(folder.path().join("missing/keys.json"));
    assert_eq!(Provider::open(&config, &Tasks::new()).await.unwrap_err().key, "keys.file");
}

#[tokio::test(start_paused = true)]
async fn another_algorithm_is_taken_up_with_notice() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.keys.file = Some(folder.path().join("keys.json"));
    drop(opened(&config).await);
    config.keys.algorithm = Algorithm::EdDSA;
    let provider = opened(&config).await;
    let algorithm = async || jsonwebtoken::decode_header(&token(&provider).await).unwrap().alg;
    assert_eq!((algorithm().await, kids(&provider).len()), (jsonwebtoken::Algorithm::ES256, 2));
    tokio::time::sleep(Duration::from_secs(3601)).await;
    assert_eq!(algorithm().await, jsonwebtoken::Algorithm::EdDSA);
}

#[tokio::test]
async fn a_token_that_was_changed_or_is_of_another_type_is_not_ours() {
    let provider = opened(&config()).await;
    let token = token(&provider).await;
    assert!(provider.read("at+jwt", &token).is_some() && provider.read("jwt", &token).is_none());
    let mut other = token.clone();
    let last = other.pop().unwrap();
    other.insert(other.len() - 10, if last == 'A' { 'B' } else { 'A' });
    assert!(provider.read("at+jwt", &other).is_none());
    assert!(opened(&config()).await.read("at+jwt", &token).is_none(), "of another with the same name");
}
