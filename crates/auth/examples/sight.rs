//! What a token costs at its first sight and at its second, beside `jsonwebtoken::decode` alone.
//!
//! ```text
//! cargo run --release -p mainstay-auth --example sight
//! ```
//! Nanoseconds, the median of rounds. With a number as argument it only looks at one remembered token so often: the
//! difference of two such runs under `valgrind` is what that allocates, give or take the making of the key.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{error::Error, hint::black_box, time::Duration};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use mainstay_auth::{Config, Issuer, Verifier};
use mainstay_core::task::Tasks;
use serde_json::{Value, json};
use tokio::time::Instant;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(150);

struct Signed {
    algorithm: Algorithm,
    jwk: Value,
    token: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let only = std::env::args().nth(1).map(|text| text.parse::<u64>()).transpose()?;
    let tasks = Tasks::new();
    println!("{:6} {:>6} {:>12} {:>12} {:>12} {:>12}", "", "bytes", "decode", "first", "second", "2 threads");
    for signed in [es256()?, rs256()?, eddsa()?] {
        let Signed { algorithm, jwk, token } = signed;
        let set = json!({ "keys": [jwk] }).to_string();
        let config = Config::new(["orders"])
            .with_issuer("main", Issuer::new("https://id.example").with_jwks(set.as_str()));
        let verifier = Verifier::open(&config, &tasks).await?;
        verifier.verify(&token).await?;
        if let Some(times) = only {
            for _ in 0..times {
                black_box(verifier.known(black_box(&token)));
            }
            return Ok(());
        }
        let mut forgetful = config.clone();
        forgetful.cache = 0;
        let forgetful = Verifier::open(&forgetful, &tasks).await?;

        let key = DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(jwk)?)?;
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["orders"]);
        let decode =
            median(|| black_box(jsonwebtoken::decode::<Value>(black_box(&token), &key, &validation)).is_ok());
        let mut firsts = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let (begin, mut count) = (Instant::now(), 0_u32);
            while begin.elapsed() < ROUND {
                for _ in 0..16 {
                    forgetful.verify(black_box(&token)).await?;
                }
                count += 16;
            }
            firsts.push(begin.elapsed().as_nanos() / u128::from(count));
        }
        firsts.sort_unstable();
        let second = median(|| black_box(verifier.known(black_box(&token))).is_some());
        let together = std::thread::scope(|scope| {
            let look = || median(|| black_box(verifier.known(black_box(&token))).is_some());
            let threads = [scope.spawn(look), scope.spawn(look)];
            threads.map(|thread| thread.join().unwrap_or_default()).into_iter().max()
        });
        let (first, length) = (firsts[ROUNDS / 2], token.len());
        let together = together.unwrap_or_default();
        let name = format!("{algorithm:?}");
        println!("{name:6} {length:6} {decode:12} {first:12} {second:12} {together:12}");
    }
    Ok(())
}

fn median(mut work: impl FnMut() -> bool) -> u128 {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let (begin, mut count) = (Instant::now(), 0_u32);
            while begin.elapsed() < ROUND {
                for _ in 0..64 {
                    assert!(work());
                }
                count += 64;
            }
            begin.elapsed().as_nanos() / u128::from(count)
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

fn es256() -> Result<Signed, Box<dyn Error>> {
    use aws_lc_rs::signature::KeyPair as _;
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = pair.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])});
    let message = message("ES256");
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes())?;
    Ok(signed(Algorithm::ES256, jwk, &message, signature.as_ref()))
}

fn eddsa() -> Result<Signed, Box<dyn Error>> {
    use aws_lc_rs::signature::KeyPair as _;
    let pair = Ed25519KeyPair::generate()?;
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())});
    let message = message("EdDSA");
    let signature = pair.sign(message.as_bytes());
    Ok(signed(Algorithm::EdDSA, jwk, &message, signature.as_ref()))
}

fn rs256() -> Result<Signed, Box<dyn Error>> {
    use aws_lc_rs::signature::{KeyPair as _, RsaPublicKeyComponents};
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048)?;
    let der: Pkcs8V1Der<'_> = pair.as_der()?;
    let pair = RsaKeyPair::from_pkcs8(der.as_ref())?;
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let jwk = json!({"kty": "RSA", "n": text(&public.n), "e": text(&public.e)});
    let message = message("RS256");
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)?;
    Ok(signed(Algorithm::RS256, jwk, &message, &signature))
}

/// About what real issuers write.
fn message(algorithm: &str) -> String {
    let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": "2026-11-a"});
    let claims = json!({
        "iss": "https://id.example", "aud": "orders", "sub": "5f0c7f3e-3a7e-4a57-9a34-1d3c5b1f9a10",
        "client_id": "web", "jti": "7c1f0b8e-8f0e-4c65-9c37-0d4f1f6e2b11", "iat": 1_700_000_000, "exp": 4_000_000_000_u64,
        "scope": "openid orders:read orders:write", "roles": ["clerk", "manager"], "tenant": "north",
    });
    format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()))
}

fn signed(algorithm: Algorithm, mut jwk: Value, message: &str, signature: &[u8]) -> Signed {
    jwk["kid"] = json!("2026-11-a");
    jwk["alg"] = json!(format!("{algorithm:?}"));
    Signed { algorithm, jwk, token: format!("{message}.{}", text(signature)) }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
