//! What callers with a valid token feel while strangers send made-up `kid`s, while keys rotate, and while the issuer is away.
//!
//! ```text
//! cargo run --release -p mainstay-auth --example storm
//! ```
//! 2,000 requests a second with one of 10,000 tokens, of which the cache remembers 8,192; the issuer is an HTTP server on loopback. A
//! number as argument is the seconds of each phase (10; six times that for the absence).

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mainstay_auth::{Config, Issuer, Refusal, Verifier};
use mainstay_core::task::Tasks;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

const TOKENS: usize = 10_000;
const VALID_A_MILLISECOND: u64 = 2;
const MADE_UP_A_MILLISECOND: u64 = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |text| text.parse::<u64>())?;
    let phase = Duration::from_secs(seconds);
    let tasks = Tasks::new();
    let (first, second, third) = (Key::new("first")?, Key::new("second")?, Key::new("third")?);
    let provider = Provider::start(&tasks).await?;
    provider.publish(&[&first]);

    let mut issuer = Issuer::new("https://id.example").with_jwks_url(provider.url.as_str());
    issuer.refresh = mainstay_core::config::Duration::from_secs(2);
    let verifier = Verifier::open(&Config::new(["orders"]).with_issuer("main", issuer), &tasks).await?;
    let load = Load { verifier, provider, tasks };

    println!(
        "| {:40} | valid | refused | p50 µs | p99 µs | p99.9 µs | made up | fetches |\n|---|---|---|---|---|---|---|---|",
        "phase"
    );
    let tokens = first.tokens()?;
    load.run("(first sights, not counted)", &tokens, phase / 2, false).await;
    load.run("quiet", &tokens, phase, false).await;
    load.run("10,000 made-up `kid`s a second", &tokens, phase, true).await;

    load.provider.publish(&[&first, &second]);
    let next = second.tokens()?;
    load.run("rotation, the new key known before", &tokens, phase / 2, false).await;
    load.run("rotation, first sights by the new key", &next, phase, false).await;
    load.provider.publish(&[&second, &third]);
    let last = third.tokens()?;
    load.run("rotation without notice", &last, phase, false).await;
    load.run("quiet again", &last, phase, false).await;

    load.provider.is_away.store(true, Ordering::Relaxed);
    load.run("the issuer away", &last, phase * 6, false).await;
    load.run("away, and 10,000 made-up `kid`s a second", &last, phase, true).await;
    Ok(())
}

struct Load {
    verifier: Verifier,
    provider: Provider,
    tasks: Tasks,
}

impl Load {
    async fn run(&self, name: &str, tokens: &Arc<Vec<String>>, time: Duration, is_stormy: bool) {
        let fetches = self.provider.fetches.load(Ordering::Relaxed);
        let made_up = Arc::new(AtomicU64::new(0));
        let storm = is_stormy.then(|| self.storm(&made_up));
        let felt = self.callers(tokens, time).await;
        drop(storm);
        let fetches = self.provider.fetches.load(Ordering::Relaxed) - fetches;
        let Felt { mut took, refused } = felt;
        took.sort_unstable();
        let at = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let index = (took.len() as f64 * share) as usize;
            took.get(index.min(took.len().saturating_sub(1))).copied().unwrap_or_default().as_nanos() as f64
                / 1e3
        };
        println!(
            "| {name:40} | {} | {refused} | {:.1} | {:.1} | {:.1} | {} | {fetches} |",
            took.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            made_up.load(Ordering::Relaxed),
        );
    }

    /// Callers with valid tokens, and how long each was held up.
    async fn callers(&self, tokens: &Arc<Vec<String>>, time: Duration) -> Felt {
        let felt = Arc::new(Mutex::new(Felt::default()));
        let end = Instant::now() + time;
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let mut calls = Vec::new();
        while Instant::now() < end {
            tick.tick().await;
            for _ in 0..VALID_A_MILLISECOND {
                let (verifier, tokens, felt) = (self.verifier.clone(), Arc::clone(tokens), Arc::clone(&felt));
                calls.push(self.tasks.spawn(async move {
                    let Some(token) = tokens.get(fastrand::usize(..tokens.len())) else { return };
                    let begin = Instant::now();
                    let is_good = verifier.known(token).is_some() || verifier.verify(token).await.is_ok();
                    let took = begin.elapsed();
                    let mut felt = felt.lock().unwrap_or_else(PoisonError::into_inner);
                    felt.took.push(took);
                    felt.refused += u64::from(!is_good);
                }));
            }
        }
        for call in calls {
            let _ = call.await;
        }
        std::mem::take(&mut *felt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Strangers, until what is returned is dropped.
    fn storm(&self, count: &Arc<AtomicU64>) -> impl Drop + use<> {
        let (verifier, tasks, count) = (self.verifier.clone(), self.tasks.clone(), Arc::clone(count));
        let stop = tokio_util::sync::CancellationToken::new();
        let stopped = stop.clone();
        self.tasks.spawn_detached(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            while !stopped.is_cancelled() {
                tick.tick().await;
                for _ in 0..MADE_UP_A_MILLISECOND {
                    let (verifier, count) = (verifier.clone(), Arc::clone(&count));
                    tasks.spawn_detached(async move {
                        let refusal = verifier.verify(&made_up()).await;
                        assert!(refusal.is_err_and(|refusal| refusal != Refusal::NotAToken));
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
        });
        stop.drop_guard()
    }
}

#[derive(Default)]
struct Felt {
    took: Vec<Duration>,
    refused: u64,
}

/// An issuer that gives out its keys, or nothing at all.
struct Provider {
    url: String,
    keys: Arc<Mutex<String>>,
    fetches: Arc<AtomicU64>,
    is_away: Arc<AtomicBool>,
}

impl Provider {
    async fn start(tasks: &Tasks) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/keys", listener.local_addr()?);
        let provider = Self { url, keys: Arc::default(), fetches: Arc::default(), is_away: Arc::default() };
        let (keys, fetches, is_away) =
            (Arc::clone(&provider.keys), Arc::clone(&provider.fetches), Arc::clone(&provider.is_away));
        let answer = async move || {
            fetches.fetch_add(1, Ordering::Relaxed);
            if is_away.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let routes = Router::new().route("/keys", get(answer));
        tasks.spawn_detached(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(provider)
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
        let set = json!({ "keys": keys }).to_string();
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = set;
    }
}

struct Key {
    id: &'static str,
    pair: EcdsaKeyPair,
    jwk: Value,
}

impl Key {
    fn new(id: &'static str) -> Result<Self, Box<dyn Error>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let point = pair.public_key().as_ref();
        let (x, y) = (text(&point[1..33]), text(&point[33..]));
        let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": id, "x": x, "y": y});
        Ok(Self { id, pair, jwk })
    }

    fn tokens(&self) -> Result<Arc<Vec<String>>, Box<dyn Error>> {
        let random = SystemRandom::new();
        let mut tokens = Vec::with_capacity(TOKENS);
        for number in 0..TOKENS {
            let message = message(self.id, &number.to_string());
            let signature = self.pair.sign(&random, message.as_bytes())?;
            tokens.push(format!("{message}.{}", text(signature.as_ref())));
        }
        Ok(Arc::new(tokens))
    }
}

fn made_up() -> String {
    let message = message(&format!("{:016x}", fastrand::u64(..)), "nobody");
    let signature: [u8; 64] = std::array::from_fn(|_| fastrand::u8(..));
    format!("{message}.{}", text(&signature))
}

fn message(key: &str, id: &str) -> String {
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": key});
    let claims = json!({
        "iss": "https://id.example", "aud": "orders", "sub": "5f0c7f3e-3a7e-4a57-9a34-1d3c5b1f9a10", "client_id": "web",
        "jti": id, "iat": 1_700_000_000, "exp": 4_000_000_000_u64, "scope": "orders:read orders:write",
    });
    format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()))
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
