//! Keys over time: rotation, blackouts, and whoever tries to make us hammer the issuer.

use std::io::Write as _;

use jsonwebtoken::Algorithm;
use mainstay_core::context::{Deadline, RequestContext};
use serde_json::json;

use super::{
    issuer::{KEYS, OAUTH, OPENID},
    *,
};
use crate::{
    Answered, Services,
    fetch::{Fetch as _, Http, Url},
};

const DAY: u64 = 24 * 3600;

async fn following(script: &Script) -> Verifier {
    with(script, Issuer { cool_down: Duration::from_secs(5).into(), ..Issuer::new(ISSUER) }).await
}

async fn with(script: &Script, issuer: Issuer) -> Verifier {
    // Without a cache, unless a test is about it: each sight of a token asks for its key.
    let config = Config { cache: 0, ..config(issuer) };
    Verifier::open_with(&config, &Tasks::new(), clock(), |_| Ok(script.clone())).await.unwrap()
}

fn signer(id: &'static str) -> Signer {
    Signer::new(id, Algorithm::EdDSA)
}

/// Good for a year.
fn lasting(signer: &Signer) -> String {
    signer.token_with(|_, claims| claims["exp"] = json!(NOW + 365 * DAY))
}

async fn within(timeout: Duration, verifier: &Verifier, token: &str) -> Result<Principal, Refusal> {
    RequestContext::new().with_deadline(Deadline::after(timeout)).scope(verifier.verify(token)).await
}

#[tokio::test(start_paused = true)]
async fn keys_are_found_through_the_metadata_of_openid() {
    let (key, began) = (signer("1"), Instant::now());
    let script = Script::of(&[&key]);
    script.takes(Duration::from_millis(300));
    let verifier = following(&script).await;
    assert!(verifier.verify(&key.token()).await.is_ok(), "the first request waits for the first fetch");
    assert_eq!(began.elapsed(), Duration::from_millis(600));
    assert_eq!((script.fetched(OPENID).len(), script.fetched(KEYS).len()), (1, 1));
    assert!(script.fetched(OAUTH).is_empty());
}

#[tokio::test(start_paused = true)]
async fn keys_are_found_through_the_metadata_of_oauth() {
    let key = signer("1");
    let script = Script::of(&[&key]);
    script.forgets(OPENID);
    script.says(OAUTH, &json!({"issuer": ISSUER, "jwks_uri": KEYS}).to_string());
    assert!(following(&script).await.verify(&key.token()).await.is_ok());
    assert_eq!(script.fetched(OAUTH).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_of_somebody_else_or_without_tls_is_not_followed() {
    let key = signer("1");
    for metadata in [
        json!({"issuer": "https://id.example/", "jwks_uri": KEYS}),
        json!({"issuer": [ISSUER], "jwks_uri": KEYS}),
        json!({"jwks_uri": KEYS}),
        json!({"issuer": ISSUER, "jwks_uri": "http://id.example/keys"}),
        json!({"issuer": ISSUER, "jwks_uri": "/keys"}),
        json!({"issuer": ISSUER}),
        json!([]),
    ] {
        let script = Script::of(&[&key]);
        script.says(OPENID, &metadata.to_string());
        script.says("http://id.example/keys", &jwks(&[&key]));
        let refused = following(&script).await.verify(&key.token()).await.unwrap_err();
        assert_eq!(refused, Refusal::KeysUnavailable, "{metadata}");
        assert!(refused.is_unavailable());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_costs_one_fetch_and_no_valid_token() {
    let (old, new) = (signer("old"), signer("new"));
    let script = Script::of(&[&old]);
    let verifier = following(&script).await;
    assert!(verifier.verify(&old.token()).await.is_ok());
    tokio::time::sleep(Duration::from_secs(20)).await;
    script.has(&[&old, &new]);
    script.takes(Duration::from_millis(500));
    let tokens = (0..100).map(|number| if number % 2 == 0 { old.token() } else { new.token() });
    let mut all = tokio::task::JoinSet::new();
    for token in tokens {
        let verifier = verifier.clone();
        all.spawn(async move { verifier.verify(&token).await.is_ok() });
    }
    assert!(all.join_all().await.into_iter().all(|is_good| is_good));
    assert_eq!(script.fetched(KEYS).len(), 2);
    assert_eq!(script.most_under_way(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_with_a_key_is_forgotten_when_it_goes() {
    let (old, new) = (signer("old"), signer("new"));
    let script = Script::of(&[&old, &new]);
    let config = config(Issuer::new(ISSUER));
    let verifier =
        Verifier::open_with(&config, &Tasks::new(), clock(), |_| Ok(script.clone())).await.unwrap();
    let (with_old, with_new) = (lasting(&old), lasting(&new));
    accepted(&verifier, &with_old).await;
    accepted(&verifier, &with_new).await;
    script.has(&[&new]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(verifier.known(&with_old).is_none());
    assert!(verifier.known(&with_new).is_some(), "its key is the same after a fetch");
    assert_eq!(verifier.verify(&with_old).await.unwrap_err(), Refusal::UnknownKey);
    // The same name, another key.
    script.has(&[&signer("new")]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(verifier.verify(&with_new).await.unwrap_err(), Refusal::BadSignature);
}

#[tokio::test(start_paused = true)]
async fn a_blackout_refuses_no_valid_token_and_makes_none_wait_until_the_limit() {
    let key = signer("1");
    let script = Script::of(&[&key]);
    let verifier = following(&script).await;
    let token = lasting(&key);
    assert!(verifier.verify(&token).await.is_ok());
    let begin = Instant::now();
    script.is_down(true);
    while begin.elapsed() < Duration::from_secs(DAY - 400) {
        let before = Instant::now();
        assert!(verifier.verify(&token).await.is_ok());
        assert_eq!(before, Instant::now(), "nobody waits");
        tokio::time::sleep(Duration::from_secs(97)).await;
    }
    let tries = script.fetched(OPENID).len();
    assert!((240..=320).contains(&tries), "{tries} tries in a day");
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(verifier.verify(&token).await.unwrap_err(), Refusal::KeysUnavailable);
    script.is_down(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(verifier.verify(&token).await.is_ok(), "whoever wants the keys has them fetched");
}

#[tokio::test(start_paused = true)]
async fn a_key_set_that_is_no_use_changes_nothing() {
    let key = signer("1");
    let script = Script::of(&[&key]);
    let verifier = following(&script).await;
    let token = lasting(&key);
    assert!(verifier.verify(&token).await.is_ok());
    let many: Vec<_> = (0..101).map(|_| key.jwk()).collect();
    for document in
        ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[7,{}]}"#, &json!({ "keys": many }).to_string()]
    {
        script.says(KEYS, document);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(verifier.verify(&token).await.is_ok(), "{document:.20}");
    }
}

#[tokio::test(start_paused = true)]
async fn random_kids_cost_one_fetch_a_cool_down_and_nobody_elses_time() {
    let key = signer("1");
    let script = Script::of(&[&key]);
    script.takes(Duration::from_millis(50));
    let verifier = following(&script).await;
    let valid = key.token();
    assert!(verifier.verify(&valid).await.is_ok());
    let begin = Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..10_000 {
        let random = key.token_with(|header, _| header["kid"] = json!(format!("random-{number}")));
        let (verifier, valid) = (verifier.clone(), valid.clone());
        waiting.spawn(async move {
            assert_eq!(verifier.verify(&random).await.unwrap_err(), Refusal::UnknownKey);
            let before = Instant::now();
            assert!(verifier.verify(&valid).await.is_ok());
            assert_eq!(before, Instant::now());
        });
        if number % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    while let Some(ended) = waiting.join_next().await {
        ended.unwrap();
    }
    assert!(begin.elapsed() >= Duration::from_secs(60));
    let fetched = script.fetched(KEYS);
    assert!(fetched.len() <= 15, "{} fetches in {:?}", fetched.len(), begin.elapsed());
    assert!(fetched.len() >= 10, "the keys are still looked for: {}", fetched.len());
    // Before the first the metadata was fetched.
    assert!(fetched.windows(2).skip(1).all(|pair| pair[1] - pair[0] >= Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_amid_random_kids() {
    let (old, new) = (signer("old"), signer("new"));
    let script = Script::of(&[&old]);
    let verifier = following(&script).await;
    assert!(verifier.verify(&old.token()).await.is_ok());
    let random = old.token_with(|header, _| header["kid"] = json!("random"));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(verifier.verify(&random).await.unwrap_err(), Refusal::UnknownKey);
    script.has(&[&old, &new]);
    // The cool-down has just begun: it is not waited for longer than `wait`.
    let before = Instant::now();
    assert_eq!(verifier.verify(&new.token()).await.unwrap_err(), Refusal::UnknownKey);
    assert_eq!(before, Instant::now());
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert!(verifier.verify(&new.token()).await.is_ok(), "what is left of it is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_without_notice_amid_random_kids_refuses_no_valid_token() {
    let (old, new) = (signer("old"), signer("new"));
    let script = Script::of(&[&old]);
    script.takes(Duration::from_millis(50));
    let verifier = with(&script, Issuer::new(ISSUER)).await;
    assert!(verifier.verify(&old.token()).await.is_ok());
    let mut all = tokio::task::JoinSet::new();
    for number in 0..1000 {
        if number == 500 {
            script.has(&[&new]);
        }
        let random = old.token_with(|header, _| header["kid"] = json!(format!("random-{number}")));
        let valid = if number < 500 { old.token() } else { new.token() };
        for (token, is_good) in [(random, false), (valid, true)] {
            let verifier = verifier.clone();
            all.spawn(async move { assert_eq!(verifier.verify(&token).await.is_ok(), is_good, "{number}") });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    let fetched = script.fetched(KEYS);
    assert!(fetched.windows(2).skip(1).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_fetch_beyond_the_deadline_or_the_bound() {
    let key = signer("1");
    let script = Script::of(&[&key]);
    script.takes(Duration::from_secs(60));
    let verifier = following(&script).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    for (timeout, expected) in [(100, 100), (1500, 1500), (10_000, 2000)] {
        let before = Instant::now();
        let refused = within(Duration::from_millis(timeout), &verifier, &key.token()).await.unwrap_err();
        assert_eq!(refused, Refusal::KeysUnavailable);
        assert_eq!(before.elapsed().as_millis(), expected);
    }
    assert_eq!((script.fetched(OPENID).len(), script.most_under_way()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_and_no_more() {
    let key = signer("1");
    let script = Script::of(&[&key]);
    script.takes(Duration::from_millis(500));
    let verifier = following(&script).await;
    let (token, mut all) = (key.token(), tokio::task::JoinSet::new());
    for _ in 0..300 {
        let (verifier, token) = (verifier.clone(), token.clone());
        all.spawn(async move { verifier.verify(&token).await.is_ok() });
    }
    let accepted = all.join_all().await.into_iter().filter(|is_good| *is_good).count();
    assert_eq!(accepted, 256);
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_ahead_of_their_end() {
    let key = signer("1");
    for (promised, least, most) in
        [(Some(60), 42, 54), (Some(100_000), 210, 270), (None, 210, 270), (Some(0), 5, 5)]
    {
        let script = Script::of(&[&key]);
        if let Some(seconds) = promised {
            script.promises(Duration::from_secs(seconds));
        }
        let _verifier = following(&script).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let fetched = script.fetched(KEYS);
        assert!(fetched.len() > 10);
        for pair in fetched.windows(2) {
            let between = (pair[1] - pair[0]).as_secs();
            assert!((least..=most).contains(&between), "{promised:?}: {between}");
        }
        assert_eq!(script.fetched(OPENID).len(), 1, "the metadata is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn fetching_ends_with_the_verifier_and_with_its_tasks() {
    let script = Script::of(&[&signer("1")]);
    let tasks = Tasks::new();
    let config = config(Issuer::new(ISSUER));
    let open = || Verifier::open_with(&config, &tasks, clock(), |_| Ok(script.clone()));
    drop(open().await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tasks.is_empty());
    let verifier = open().await.unwrap();
    tasks.stop(Duration::from_secs(1)).await.unwrap();
    drop(verifier);
}

/// Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_file_of_keys_is_followed() {
    let (old, new) = (signer("old"), signer("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, jwks(&[&old])).unwrap();
    let issuer = Issuer { jwks_file: Some(path.clone()), ..Issuer::new(ISSUER) };
    let verifier = opened(config(issuer.clone())).await;
    let (with_old, with_new) = (old.token(), new.token());
    accepted(&verifier, &with_old).await;
    std::fs::write(&path, "{").unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    accepted(&verifier, &with_old).await;
    let next = folder.path().join("next.json");
    std::fs::write(&next, jwks(&[&new])).unwrap();
    std::fs::rename(&next, &path).unwrap();
    let taken_over = async {
        while verifier.verify(&with_new).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, taken_over).await.unwrap();
    assert_eq!(verifier.verify(&with_old).await.unwrap_err(), Refusal::UnknownKey);

    std::fs::remove_file(&path).unwrap();
    let error = Verifier::open(&config(issuer), &Tasks::new()).await.unwrap_err();
    assert_eq!(error.key, "issuers.main.jwks_file");
}

/// A server on loopback that answers each connection with these bytes, and its URL.
fn answering(bytes: Vec<u8>) -> Url {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // Ends with the test process.
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let _ = stream.write_all(&bytes);
            if bytes.is_empty() {
                std::thread::sleep(SOON);
            }
        }
    });
    Url::parse(&format!("http://127.0.0.1:{port}/keys?x=y")).unwrap()
}

fn http(timeout: Duration) -> Http {
    Http::new(Tasks::new(), timeout, None)
}

#[tokio::test]
async fn a_document_is_fetched_over_http() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncache-control: max-age=60\r\n\r\n{}";
    let document = http(SOON).get(&answering(head.into())).await.unwrap();
    assert_eq!((&document.body[..], document.max_age), (&b"{}"[..], Some(Duration::from_secs(60))));
}

#[tokio::test]
async fn what_is_no_bounded_answer_is_a_failure_that_says_so() {
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_owned() + &"x".repeat(1_000_000);
    for (answer, part) in [
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n", "302"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404"),
        (&long, "length limit exceeded"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "the answer"),
        ("garbage\r\n\r\n", "the request"),
    ] {
        let error = http(SOON).get(&answering(answer.into())).await.unwrap_err().0;
        assert!(error.contains(part), "{error}");
    }
    let error = http(Duration::from_millis(200)).get(&answering(Vec::new())).await.unwrap_err().0;
    assert!(error.contains("no answer within 200ms"), "{error}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{nobody}/")).unwrap();
    assert!(http(SOON).get(&url).await.unwrap_err().0.contains("connecting"));
}

#[tokio::test]
async fn keys_of_an_issuer_on_loopback_are_fetched_over_http_by_the_clock_of_the_system() {
    let key = signer("1");
    let set = jwks(&[&key]);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len());
    let mut issuer = Issuer::new(ISSUER).with_jwks_url(answering(answer.into()).to_string());
    issuer.wait = mainstay_core::config::Duration::from_secs(30);
    issuer.timeout = issuer.wait;
    let verifier = Verifier::open(&config(issuer), &Tasks::new()).await.unwrap();
    let token = key.token_with(|_, claims| {
        claims["iat"] = json!(1_700_000_000);
        claims["exp"] = json!(10_000_000_000_u64);
    });
    assert_eq!(accepted(&verifier, &token).await.subject(), Some("alice"));
    let expired = key.token_with(|_, claims| claims["exp"] = json!(1_700_000_000));
    assert_eq!(refusal(&verifier, &expired).await, Refusal::Expired);
}

/// The service `identity`, which serves what an issuer does at the path of its URL.
struct Identity(Signer);

impl Services for Identity {
    fn send(&self, service: &str, request: http::Request<bytes::Bytes>, most: usize) -> Answered {
        assert_eq!((service, most), ("identity", 512 << 10));
        let body = match request.uri().path() {
            "/id/.well-known/openid-configuration" => {
                // Nobody listens there.
                let keys = "http://203.0.113.1/id/keys";
                json!({"issuer": "http://203.0.113.1/id", "jwks_uri": keys}).to_string()
            }
            "/id/keys" => jwks(&[&self.0]),
            other => panic!("asked for {other}"),
        };
        Box::pin(async { Ok(http::Response::new(body.into())) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_a_service_is_asked_by_its_name() {
    let signer = signer("1");
    let issuer = Issuer::new("http://203.0.113.1/id").at_service("identity");
    let config = config(issuer);
    let unusable = Verifier::open(&config, &Tasks::new()).await.unwrap_err();
    assert_eq!(unusable.key, "issuers.main.service");
    let identity: std::sync::Arc<dyn Services> = std::sync::Arc::new(Identity(signer.clone()));
    let verifier = Verifier::open_among(&config, &Tasks::new(), &identity).await.unwrap();
    // It goes by the clock of the system.
    let token = signer.token_with(|_, claims| {
        claims["iss"] = json!("http://203.0.113.1/id");
        claims["iat"] = json!(NOW - 10 * 365 * DAY);
        claims["exp"] = json!(NOW + 100 * 365 * DAY);
    });
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn while_no_key_is_known_at_all_the_issuer_is_asked_soon_again() {
    let key = signer("1");
    let script = Script::of(&[&key]);
    script.is_down(true);
    let verifier = with(&script, Issuer::new(ISSUER)).await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    script.is_down(false);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = Instant::now();
    assert!(verifier.verify(&key.token()).await.is_ok());
    assert_eq!(before, Instant::now(), "it was there already");
}
