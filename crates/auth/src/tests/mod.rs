//! Tokens of an issuer that the tests own: its keys are made here, and what it says is up to the test.

mod accepted;
mod authorize;
#[cfg(feature = "tls")]
mod certified;
mod introspected;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only followed over `https`"))]
pub(crate) mod issuer;
mod keyed;
// Its issuer has an `https` URL.
#[cfg(feature = "tls")]
mod keys;
mod layer;
mod refused;
pub(crate) mod signer;

use std::time::Duration;

use mainstay_core::task::Tasks;
use tokio::time::Instant;

use self::{issuer::Script, signer::Signer};
use crate::{Config, Issuer, Principal, Refusal, Verifier, clock::Clock};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "orders";

/// When the tests begin, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn clock() -> Clock {
    Clock::Test { at: Duration::from_secs(NOW), since: Instant::now() }
}

pub(crate) fn config(issuer: Issuer) -> Config {
    Config::new([AUDIENCE]).with_issuer("main", issuer)
}

pub(crate) fn jwks(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    serde_json::json!({ "keys": keys }).to_string()
}

/// Takes tokens that one of `signers` has signed.
pub(crate) async fn trusting(signers: &[&Signer]) -> Verifier {
    opened(config(Issuer::new(ISSUER).with_jwks(jwks(signers)))).await
}

pub(crate) async fn opened(config: Config) -> Verifier {
    Verifier::open_with(&config, &Tasks::new(), clock(), |_| Ok(Script::default())).await.unwrap()
}

/// Why `token` is refused, at the first sight and at the second.
async fn refusal(verifier: &Verifier, token: &str) -> Refusal {
    let first = verifier.verify(token).await.map(|principal| principal.subject().map(ToOwned::to_owned));
    let first = first.expect_err("it is refused");
    assert_eq!(verifier.verify(token).await.unwrap_err(), first);
    assert!(verifier.known(token).is_none());
    first
}

async fn accepted(verifier: &Verifier, token: &str) -> Principal {
    let principal = verifier.verify(token).await.unwrap();
    assert_eq!(verifier.known(token).unwrap().subject(), principal.subject());
    principal
}
