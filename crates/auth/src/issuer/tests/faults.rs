//! A provider that misbehaves, and services that have to bear it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    keys::{token, trust},
    *,
};
use crate::{Refusal, Verifier};

async fn faulty() -> (Provider, Faults) {
    let provider = opened(&Config { faults: true, ..config() }).await;
    let faults = provider.faults().unwrap();
    (provider, faults)
}

#[tokio::test]
async fn nobody_makes_a_provider_misbehave_that_is_not_configured_so() {
    let provider = opened(&config()).await;
    assert!(provider.faults().is_none());
    assert_eq!(provider.post("/faults", &[("fault", "down")]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_down_or_slow_until_it_is_told_otherwise() {
    let (provider, faults) = faulty().await;
    let jwks = async || provider.get("/jwks").await.status;
    let tell = async |fault: &str| provider.post("/faults", &[("fault", fault)]).await.status;
    assert_eq!(tell("down").await, StatusCode::NO_CONTENT);
    assert_eq!((jwks().await, faults.current()), (StatusCode::SERVICE_UNAVAILABLE, Fault::Down));
    assert_eq!(tell("slow:3s").await, StatusCode::NO_CONTENT);
    let began = Instant::now();
    assert_eq!((jwks().await, began.elapsed()), (StatusCode::OK, Duration::from_secs(3)));
    for wrong in ["", "slow", "slow:soon", "up"] {
        assert_eq!(tell(wrong).await, StatusCode::BAD_REQUEST, "{wrong}");
    }
    faults.set(Fault::None);
    let began = Instant::now();
    assert_eq!((jwks().await, began.elapsed()), (StatusCode::OK, Duration::ZERO));
    let before = provider.jwks();
    assert_eq!(tell("rotate").await, StatusCode::NO_CONTENT);
    assert_ne!(provider.jwks(), before);
}

#[tokio::test(start_paused = true)]
async fn services_outlive_a_provider_that_is_down_and_refuse_what_wrong_keys_have_not_signed() {
    let ((provider, faults), clock) = (faulty().await, clock());
    let open = async || {
        Verifier::open_with(&trust(ISSUER), &Tasks::new(), clock, |_| Ok(provider.clone())).await.unwrap()
    };
    let verifier = open().await;
    let first = token(&provider).await;
    assert!(verifier.verify(&first).await.is_ok());
    faults.set(Fault::Down);
    tokio::time::sleep(Duration::from_secs(540)).await;
    assert!(verifier.verify(&first).await.is_ok(), "its keys are known");
    assert_eq!(open().await.verify(&first).await.unwrap_err(), Refusal::KeysUnavailable);
    faults.set(Fault::WrongKeys);
    assert_eq!(open().await.verify(&first).await.unwrap_err(), Refusal::BadSignature);
    faults.set(Fault::None);
    assert!(open().await.verify(&token(&provider).await).await.is_ok());
}
