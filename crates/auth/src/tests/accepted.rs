use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Hmac, Means, Relaxation, Rsa};

const PUBLIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[tokio::test]
async fn a_valid_token_of_every_public_algorithm_is_accepted_here_and_by_jsonwebtoken() {
    for algorithm in PUBLIC {
        let signer = Signer::new("k", algorithm);
        let verifier = trusting(&[&signer]).await;
        let token = signer.token();
        assert_eq!(accepted(&verifier, &token).await.subject(), Some("alice"), "{algorithm:?}");

        let key = DecodingKey::from_jwk(&serde_json::from_value(signer.jwk()).unwrap()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[AUDIENCE]);
        let theirs = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        assert_eq!(theirs.claims["sub"], "alice", "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_token_that_jsonwebtoken_has_signed_is_accepted() {
    let secret = Signer::new("k", Algorithm::HS256).secret();
    let verifier = opened(config(Issuer::new(ISSUER).with_secret(secret.as_str(), Hmac::HS256))).await;
    let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
    header.typ = Some("application/AT+JWT".to_owned());
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&header, &signer::claims(), &key).unwrap();
    accepted(&verifier, &token).await;
}

#[tokio::test]
async fn hmac_is_accepted_where_a_secret_is_configured() {
    for (algorithm, hmac) in
        [(Algorithm::HS256, Hmac::HS256), (Algorithm::HS384, Hmac::HS384), (Algorithm::HS512, Hmac::HS512)]
    {
        let signer = Signer::new("whatever", algorithm);
        let verifier = opened(config(Issuer::new(ISSUER).with_secret(signer.secret(), hmac))).await;
        accepted(&verifier, &signer.token()).await;
        for other in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            if other != algorithm {
                let refused = refusal(&verifier, &signer.with(other).token()).await;
                assert_eq!(refused, Refusal::WrongAlgorithm, "{other:?} for {algorithm:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_principal_is_what_the_token_says() {
    #[derive(serde::Deserialize)]
    struct Own<'a> {
        tenant: &'a str,
        level: u8,
    }

    let signer = Signer::new("k", Algorithm::ES256);
    let verifier = trusting(&[&signer]).await;
    let token = signer.token_with(|_, claims| {
        claims["tenant"] = json!("north");
        claims["level"] = json!(7);
        claims["aud"] = json!(["payments", AUDIENCE]);
    });
    let principal = accepted(&verifier, &token).await;
    assert_eq!((principal.subject(), principal.client()), (Some("alice"), Some("web")));
    assert_eq!((principal.issuer(), principal.means()), (ISSUER, Means::Bearer));
    assert!(principal.has_scope("orders:write") && principal.has_role("clerk"));
    assert!(!principal.has_scope("orders") && !principal.has_role("admin"));
    let own: Own<'_> = principal.claims().unwrap();
    assert_eq!((own.tenant, own.level), ("north", 7));
    assert!(principal.claims::<Vec<u8>>().is_err());
    let shown = format!("{principal:?}");
    assert!(shown.contains("alice") && !shown.contains("north"), "{shown}");
}

#[tokio::test]
async fn roles_are_where_the_issuer_has_them() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    for (path, claim) in [
        ("realm_access.roles", json!({"realm_access": {"roles": ["clerk", 7]}})),
        ("https://id.example/roles", json!({"https://id.example/roles": "clerk guest"})),
    ] {
        let issuer = Issuer { roles: path.to_owned(), ..Issuer::new(ISSUER).with_jwks(jwks(&[&signer])) };
        let verifier = opened(config(issuer)).await;
        let token = signer.token_with(|_, claims| {
            claims.as_object_mut().unwrap().extend(claim.as_object().unwrap().clone());
        });
        assert!(accepted(&verifier, &token).await.has_role("clerk"), "{path}");
    }
}

#[tokio::test]
async fn each_relaxation_relaxes_its_rule_alone() {
    let signer = Signer::new("k", Algorithm::ES256);
    type Change = fn(&mut Value, &mut Value);
    let cases: [(Relaxation, Refusal, Change); 7] = [
        (Relaxation::Typ, Refusal::WrongType, |header, _| header["typ"] = json!("JWT")),
        (Relaxation::Typ, Refusal::WrongType, |header, _| {
            drop(header.as_object_mut().unwrap().remove("typ"))
        }),
        (Relaxation::Sub, Refusal::MissingSubject, |_, claims| without(claims, "sub")),
        (Relaxation::ClientId, Refusal::MissingClient, |_, claims| without(claims, "client_id")),
        (Relaxation::Iat, Refusal::MissingIssuedAt, |_, claims| without(claims, "iat")),
        (Relaxation::Jti, Refusal::MissingTokenId, |_, claims| without(claims, "jti")),
        (Relaxation::Cnf, Refusal::SenderConstrained, |_, claims| claims["cnf"] = json!({"jkt": "x"})),
    ];
    let strict = trusting(&[&signer]).await;
    for (rule, expected, change) in cases {
        let token = signer.token_with(change);
        assert_eq!(refusal(&strict, &token).await, expected);
        for other in [
            Relaxation::Typ,
            Relaxation::Sub,
            Relaxation::ClientId,
            Relaxation::Iat,
            Relaxation::Jti,
            Relaxation::Cnf,
        ] {
            let issuer = Issuer::new(ISSUER).with_jwks(jwks(&[&signer])).relaxed([other]);
            let verdict = opened(config(issuer)).await.verify(&token).await;
            match verdict {
                Ok(principal) => assert_eq!((other, principal.is_bound()), (rule, rule == Relaxation::Cnf)),
                Err(refusal) => assert_eq!((other != rule, refusal), (true, expected)),
            }
        }
    }
}

fn without(claims: &mut Value, name: &str) {
    claims.as_object_mut().unwrap().remove(name);
}

#[tokio::test]
async fn each_of_several_issuers_has_its_own_keys_audience_and_rules() {
    let (first, second) = (Signer::new("k", Algorithm::ES256), Signer::new("k", Algorithm::ES256));
    let other = Issuer {
        audience: vec!["stock".to_owned()],
        ..Issuer::new("https://other.example").with_jwks(jwks(&[&second]))
    };
    let config = config(Issuer::new(ISSUER).with_jwks(jwks(&[&first]))).with_issuer("other", other);
    let verifier = opened(config).await;
    let of_other = |aud: &'static str| {
        move |_: &mut Value, claims: &mut Value| {
            claims["iss"] = json!("https://other.example");
            claims["aud"] = json!(aud);
        }
    };
    accepted(&verifier, &first.token()).await;
    accepted(&verifier, &second.token_with(of_other("stock"))).await;
    assert_eq!(refusal(&verifier, &second.token_with(of_other(AUDIENCE))).await, Refusal::WrongAudience);
    assert_eq!(refusal(&verifier, &first.token_with(of_other("stock"))).await, Refusal::BadSignature);
    assert_eq!(refusal(&verifier, &second.token()).await, Refusal::BadSignature);
}

#[tokio::test]
async fn an_rsa_key_that_names_no_algorithm_is_for_the_configured_one_alone() {
    let signer = Signer::new("k", Algorithm::RS256);
    let mut jwk = signer.jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let set = json!({ "keys": [jwk] }).to_string();
    for (rsa, algorithm, other) in
        [(Rsa::RS256, Algorithm::RS256, Algorithm::PS256), (Rsa::PS256, Algorithm::PS256, Algorithm::RS256)]
    {
        let verifier = opened(config(Issuer { rsa, ..Issuer::new(ISSUER).with_jwks(set.as_str()) })).await;
        accepted(&verifier, &signer.with(algorithm).token()).await;
        assert_eq!(refusal(&verifier, &signer.with(other).token()).await, Refusal::WrongAlgorithm);
    }
}

#[tokio::test]
async fn a_token_without_kid_is_accepted_where_one_key_alone_can_be_meant() {
    let (first, second) = (Signer::new("1", Algorithm::ES256), Signer::new("2", Algorithm::EdDSA));
    let verifier = trusting(&[&first, &second]).await;
    let nameless = |header: &mut Value, _: &mut Value| drop(header.as_object_mut().unwrap().remove("kid"));
    accepted(&verifier, &first.token_with(nameless)).await;
    accepted(&verifier, &second.token_with(nameless)).await;
}

#[tokio::test(start_paused = true)]
async fn leeway_is_given_at_both_ends_and_no_more() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    let token = signer.token_with(|_, claims| {
        claims["nbf"] = json!(NOW as f64 + 29.5);
        claims["iat"] = json!(NOW + 30);
        claims["exp"] = json!(NOW + 100);
    });
    accepted(&verifier, &token).await;
    tokio::time::advance(Duration::from_secs(99)).await;
    assert!(verifier.known(&token).is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(verifier.known(&token).is_none(), "nothing is remembered beyond `exp`");
    tokio::time::advance(Duration::from_millis(29_900)).await;
    assert!(verifier.verify(&token).await.is_ok());
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!(verifier.verify(&token).await.unwrap_err(), Refusal::Expired);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_token_with_one_changed_byte_is_accepted(
        which in 0..5_usize, at in any::<prop::sample::Index>(), byte in 0..128_u8, is_cached in any::<bool>(),
    ) {
        use std::sync::OnceLock;
        static MADE: OnceLock<Vec<(Signer, String)>> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let algorithms =
                [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
            algorithms.map(|algorithm| {
                let signer = Signer::new("k", algorithm);
                let token = signer.token();
                (signer, token)
            }).into()
        });
        let (signer, token) = &made[which];
        let mut changed = token.clone().into_bytes();
        let at = at.index(changed.len());
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let verifier = trusting(&[signer]).await;
            if is_cached {
                accepted(&verifier, token).await;
            }
            refusal(&verifier, &changed).await;
        });
    }

    #[test]
    fn no_text_is_more_than_refused(text in r"[ -~]{0,40}(\.[ -~]{0,40}){0,5}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let signer = Signer::with_secret("k", &[b'k'; 32]);
            let verifier =
                opened(config(Issuer::new(ISSUER).with_secret(signer.secret(), Hmac::HS256))).await;
            refusal(&verifier, &text).await;
            // The same as what is signed.
            refusal(&verifier, &signer.token_of(&text, &signer::claims().to_string())).await;
            refusal(&verifier, &signer.token_of(&signer.header().to_string(), &text)).await;
        });
    }
}
