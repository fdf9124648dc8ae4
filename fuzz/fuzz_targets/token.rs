//! Tokens: as they come, and signed with the right secret whatever they say.

#![no_main]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use mainstay_auth::{Config, Hmac, Issuer, Verifier};
use mainstay_core::task::Tasks;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "orders";
const SECRET: &str = "a secret of thirty-two characters";

struct Bench {
    runtime: Runtime,
    verifier: Verifier,
    key: hmac::Key,
}

impl Bench {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let issuer = Issuer::new(ISSUER).with_secret(SECRET, Hmac::HS256);
        let config = Config::new([AUDIENCE]).with_issuer("main", issuer);
        let verifier =
            runtime.block_on(Verifier::open(&config, &Tasks::new())).expect("a configuration of use");
        Self { runtime, verifier, key: hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()) }
    }

    fn is_accepted(&self, token: &str) -> bool {
        self.runtime.block_on(self.verifier.verify(token)).is_ok()
    }

    fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }
}

thread_local! {
    static BENCH: Bench = Bench::new();
}

fuzz_target!(|input: &[u8]| {
    BENCH.with(|bench| {
        if let Ok(token) = std::str::from_utf8(input) {
            // Who guesses the signature has guessed 256 bits.
            assert!(!bench.is_accepted(token), "accepted without the secret: {token}");
        }
        let mut parts = input.splitn(2, |byte| *byte == 0);
        let (Some(header), Some(claims)) = (parts.next(), parts.next()) else { return };
        if bench.is_accepted(&bench.sign(header, claims)) {
            keeps_its_promises(header, claims);
        }
    });
});

/// What was accepted, looked at by serde_json alone.
fn keeps_its_promises(header: &[u8], claims: &[u8]) {
    let header: Value = serde_json::from_slice(header).expect("a header is JSON");
    assert_eq!(header["alg"], "HS256");
    let typ = header["typ"].as_str().expect("a type").to_ascii_lowercase();
    assert!(typ == "at+jwt" || typ == "application/at+jwt", "{typ}");
    for member in ["crit", "jwk", "jku", "x5u", "x5c"] {
        assert!(header.get(member).is_none(), "{member}");
    }
    let claims: Value = serde_json::from_slice(claims).expect("claims are JSON");
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    let is_for_us =
        audience == AUDIENCE || audience.as_array().is_some_and(|all| all.iter().any(|one| one == AUDIENCE));
    assert!(is_for_us, "{audience}");
    for member in ["sub", "client_id", "jti"] {
        assert!(claims[member].is_string(), "{member}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(claims["exp"].as_f64().expect("a date") > now - 31.0);
    assert!(claims["iat"].as_f64().expect("a date") < now + 31.0);
    if let Some(not_before) = claims.get("nbf") {
        assert!(not_before.as_f64().expect("a date") < now + 31.0);
    }
    assert!(claims.get("cnf").is_none());
}
