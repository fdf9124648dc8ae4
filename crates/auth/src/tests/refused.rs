//! What is known of attacks on JOSE, each by its name and with its reason.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{
    signer::{claims, encoded},
    *,
};

/// Why a token is refused that was changed like this and then signed well.
async fn signed(change: impl FnOnce(&mut Value, &mut Value)) -> Refusal {
    let signer = Signer::new("k", Algorithm::ES256);
    refusal(&trusting(&[&signer]).await, &signer.token_with(change)).await
}

async fn header(name: &str, value: Value) -> Refusal {
    signed(|header, _| header[name] = value).await
}

async fn claim(name: &str, value: Value) -> Refusal {
    signed(|_, claims| claims[name] = value).await
}

async fn missing(name: &str) -> Refusal {
    signed(|_, claims| drop(claims.as_object_mut().unwrap().remove(name))).await
}

#[tokio::test]
async fn alg_none_in_every_spelling() {
    let signer = Signer::new("k", Algorithm::ES256);
    let verifier = trusting(&[&signer]).await;
    for none in ["none", "None", "NONE", "nOnE", " none", "none "] {
        let mut header = signer.header();
        header["alg"] = json!(none);
        let unsigned = format!("{}.{}.", encoded(header.to_string()), encoded(claims().to_string()));
        for signature in ["", "AA", &encoded([0; 64])] {
            assert_eq!(refusal(&verifier, &format!("{unsigned}{signature}")).await, Refusal::Unsigned);
        }
    }
}

#[tokio::test]
async fn unknown_algorithms_and_none_at_all() {
    for name in ["", "HS1", "ES256K", "RSA-OAEP", "dir", "es256", "RS256\0"] {
        assert_eq!(header("alg", json!(name)).await, Refusal::UnknownAlgorithm, "{name}");
    }
    for value in [json!(null), json!(256), json!(["ES256"])] {
        assert_eq!(header("alg", value).await, Refusal::BadHeader);
    }
    let removed = signed(|header, _| drop(header.as_object_mut().unwrap().remove("alg"))).await;
    assert_eq!(removed, Refusal::BadHeader);
}

#[tokio::test]
async fn a_public_key_taken_for_a_secret() {
    let signer = Signer::new("k", Algorithm::RS256);
    let verifier = trusting(&[&signer]).await;
    let jwk = signer.jwk();
    let set = jwks(&[&signer]);
    for public in [jwk["n"].as_str().unwrap(), &jwk.to_string(), &set] {
        let confused = Signer::with_secret("k", public.as_bytes());
        assert_eq!(refusal(&verifier, &confused.token()).await, Refusal::SymmetricAlgorithm);
    }
}

#[tokio::test]
async fn a_secret_in_a_key_set() {
    let (signer, secret) = (Signer::new("k", Algorithm::ES256), Signer::new("s", Algorithm::HS256));
    let verifier = trusting(&[&signer, &secret]).await;
    assert_eq!(refusal(&verifier, &secret.token()).await, Refusal::SymmetricAlgorithm);
    let only = config(Issuer::new(ISSUER).with_jwks(jwks(&[&secret])));
    let error = Verifier::open(&only, &Tasks::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "`auth.issuers.main.jwks`: it has no key that can be used");
}

#[tokio::test]
async fn the_algorithm_of_another_key() {
    let (rsa, ec) = (Signer::new("r", Algorithm::RS256), Signer::new("e", Algorithm::ES256));
    let verifier = trusting(&[&rsa, &ec]).await;
    for (signer, id) in [(&rsa, "e"), (&ec, "r")] {
        let token = signer.token_with(|header, _| header["kid"] = json!(id));
        assert_eq!(refusal(&verifier, &token).await, Refusal::WrongAlgorithm);
    }
    assert_eq!(refusal(&verifier, &rsa.with(Algorithm::PS256).token()).await, Refusal::WrongAlgorithm);
    assert_eq!(refusal(&verifier, &rsa.with(Algorithm::RS512).token()).await, Refusal::WrongAlgorithm);
}

#[tokio::test]
async fn an_embedded_jwk_and_an_embedded_certificate() {
    let attacker = Signer::new("k", Algorithm::ES256);
    let verifier = trusting(&[&Signer::new("k", Algorithm::ES256)]).await;
    let token = attacker.token_with(|header, _| header["jwk"] = attacker.jwk());
    assert_eq!(refusal(&verifier, &token).await, Refusal::EmbeddedKey);
    assert_eq!(header("x5c", json!(["MIIB"])).await, Refusal::EmbeddedKey);
}

#[tokio::test]
async fn jku_and_x5u() {
    for name in ["jku", "x5u"] {
        for url in ["https://attacker.example/jwks.json", "https://id.example/jwks.json", ""] {
            assert_eq!(header(name, json!(url)).await, Refusal::KeyUrl);
        }
    }
}

#[tokio::test]
async fn kid_injection_and_traversal() {
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "k' UNION SELECT 'secret",
        "k\0",
        "k;id",
        "https://attacker.example/key",
        "K",
        "",
        " k",
    ] {
        assert_eq!(header("kid", json!(kid)).await, Refusal::UnknownKey, "{kid:?}");
    }
    for kid in [json!(7), json!(null), json!(["k"]), json!({"k": "k"})] {
        assert_eq!(header("kid", kid).await, Refusal::BadHeader);
    }
}

#[tokio::test]
async fn no_kid_where_several_keys_can_be_meant() {
    let signers = [Signer::new("1", Algorithm::ES256), Signer::new("2", Algorithm::ES256)];
    let verifier = trusting(&[&signers[0], &signers[1]]).await;
    let nameless = |header: &mut Value, _: &mut Value| drop(header.as_object_mut().unwrap().remove("kid"));
    assert_eq!(refusal(&verifier, &signers[0].token_with(nameless)).await, Refusal::MissingKeyId);
}

#[tokio::test]
async fn unknown_critical_members() {
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp"), json!(null)] {
        assert_eq!(header("crit", crit).await, Refusal::CriticalHeader);
    }
}

#[tokio::test]
async fn a_key_that_is_for_encryption() {
    let (good, other) = (Signer::new("good", Algorithm::EdDSA), Signer::new("k", Algorithm::ES256));
    for (name, value) in
        [("use", json!("enc")), ("use", json!("x")), ("key_ops", json!(["encrypt"])), ("key_ops", json!([]))]
    {
        let mut jwk = other.jwk();
        jwk[name] = value;
        let set = json!({ "keys": [jwk, good.jwk()] }).to_string();
        let verifier = opened(config(Issuer::new(ISSUER).with_jwks(set))).await;
        assert_eq!(refusal(&verifier, &other.token()).await, Refusal::KeyUse);
        accepted(&verifier, &good.token()).await;
    }
}

#[tokio::test]
async fn a_key_that_is_weak_or_not_on_its_curve() {
    let (good, ec, rsa) = (
        Signer::new("good", Algorithm::EdDSA),
        Signer::new("k", Algorithm::ES256),
        Signer::new("k", Algorithm::RS256),
    );
    let changed = |signer: &Signer, name: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk[name] = value;
        jwk
    };
    for (signer, jwk) in [
        (&ec, changed(&ec, "x", json!(encoded([1; 32])))),
        (&ec, changed(&ec, "x", json!(encoded([1; 31])))),
        (&ec, changed(&ec, "crv", json!("P-384"))),
        (&ec, changed(&ec, "alg", json!("RS256"))),
        (&ec, changed(&ec, "kty", json!("RSA"))),
        (&rsa, changed(&rsa, "n", json!(encoded([255; 128])))),
        (&rsa, changed(&rsa, "alg", json!("RSA-OAEP"))),
        (&rsa, changed(&rsa, "e", json!("!"))),
    ] {
        let set = json!({ "keys": [jwk, good.jwk()] }).to_string();
        let verifier = opened(config(Issuer::new(ISSUER).with_jwks(set))).await;
        assert_eq!(refusal(&verifier, &signer.token()).await, Refusal::UnknownKey, "{jwk}");
    }
}

#[tokio::test]
async fn psychic_signatures_and_others_that_are_none() {
    for (algorithm, lengths) in [
        (Algorithm::ES256, [0, 1, 63, 64, 65, 72]),
        (Algorithm::ES384, [0, 1, 64, 95, 96, 97]),
        (Algorithm::EdDSA, [0, 1, 32, 63, 64, 65]),
        (Algorithm::RS256, [0, 1, 255, 256, 257, 512]),
        (Algorithm::PS256, [0, 1, 255, 256, 257, 512]),
    ] {
        let signer = Signer::new("k", algorithm);
        let verifier = trusting(&[&signer]).await;
        let token = signer.token();
        let message = token.rsplit_once('.').unwrap().0;
        for byte in [0, 1, 255] {
            for length in lengths {
                let forged = format!("{message}.{}", encoded(vec![byte; length]));
                assert_eq!(
                    refusal(&verifier, &forged).await,
                    Refusal::BadSignature,
                    "{algorithm:?} {length}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_signature_in_the_wrong_form() {
    // ASN.1 DER in place of r and s (RFC 7515 appendix A.3.1).
    let signer = Signer::new("k", Algorithm::ES256);
    let verifier = trusting(&[&signer]).await;
    let token = signer.token();
    let message = token.rsplit_once('.').unwrap().0;
    let fixed = signer.sign(message.as_bytes());
    let mut der = vec![0x30, 70];
    for half in fixed.chunks(32) {
        der.extend([2, 33, 0]);
        der.extend(half);
    }
    assert_eq!(refusal(&verifier, &format!("{message}.{}", encoded(der))).await, Refusal::BadSignature);
}

#[tokio::test]
async fn somebody_elses_key_under_the_same_name() {
    let verifier = trusting(&[&Signer::new("k", Algorithm::EdDSA)]).await;
    assert_eq!(refusal(&verifier, &Signer::new("k", Algorithm::EdDSA).token()).await, Refusal::BadSignature);
}

#[tokio::test]
async fn claims_of_one_token_under_the_signature_of_another() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    let (mine, other) = (signer.token(), signer.token_with(|_, claims| claims["sub"] = json!("root")));
    accepted(&verifier, &mine).await;
    let (mine, other): (Vec<_>, Vec<_>) = (mine.split('.').collect(), other.split('.').collect());
    let mixed = format!("{}.{}.{}", mine[0], other[1], mine[2]);
    assert_eq!(refusal(&verifier, &mixed).await, Refusal::BadSignature);
}

#[tokio::test]
async fn a_token_of_one_megabyte() {
    assert_eq!(claim("padding", json!("x".repeat(1 << 20))).await, Refusal::TooLong);
    // Of points alone: it is not even taken apart.
    let verifier = trusting(&[&Signer::new("k", Algorithm::EdDSA)]).await;
    assert_eq!(refusal(&verifier, &".".repeat(1 << 20)).await, Refusal::TooLong);
}

#[tokio::test]
async fn deeply_nested_json() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    let deep = format!(r#"{{"iss":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let token = signer.token_of(&signer.header().to_string(), &deep);
    assert_eq!(refusal(&verifier, &token).await, Refusal::BadClaims);
}

#[tokio::test]
async fn too_few_and_too_many_parts() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    let token = signer.token();
    for text in ["", ".", "a", "a.b", &format!("{token}."), &format!("{token}.a.b.c")] {
        assert_eq!(refusal(&verifier, text).await, Refusal::NotAToken, "{text}");
    }
    assert_eq!(refusal(&verifier, "..").await, Refusal::BadHeader);
}

#[tokio::test]
async fn padded_truncated_and_stray_base64() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    let token = signer.token();
    let parts: Vec<_> = token.split('.').collect();
    for part in 0..3 {
        for stray in ["=", "==", "\n", " ", "+", "/", "%3D", "\u{e4}", "\0"] {
            let mut changed = parts.clone();
            let with = format!("{}{stray}", parts[part]);
            changed[part] = &with;
            assert_eq!(refusal(&verifier, &changed.join(".")).await, Refusal::BadBase64, "{part} {stray:?}");
        }
    }
    // 64 bytes end in 4 bits that say nothing; they have to be 0.
    let (start, last) = token.split_at(token.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    assert_eq!(refusal(&verifier, &format!("{start}{next}")).await, Refusal::BadBase64);
    let mut truncated = token.clone();
    truncated.truncate(token.len() - 2);
    assert_eq!(refusal(&verifier, &truncated).await, Refusal::BadSignature);
    truncated.truncate(token.len() - 1);
}

#[tokio::test]
async fn encrypted_tokens() {
    let verifier = trusting(&[&Signer::new("k", Algorithm::EdDSA)]).await;
    let header = encoded(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#);
    assert_eq!(refusal(&verifier, &format!("{header}.a.b.c.d")).await, Refusal::Encrypted);
    assert_eq!(self::header("enc", json!("A256GCM")).await, Refusal::Encrypted);
    assert_eq!(self::header("zip", json!("DEF")).await, Refusal::Encrypted);
}

#[tokio::test]
async fn nested_tokens() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    for kind in ["JWT", "jwt", "application/jwt"] {
        let mut header = signer.header();
        header["cty"] = json!(kind);
        let token = signer.token_of(&header.to_string(), &signer.token());
        // The claims are not read: the header said enough.
        assert_eq!(refusal(&verifier, &token).await, Refusal::Nested);
    }
    let token = signer.token_of(&signer.header().to_string(), &signer.token());
    assert_eq!(refusal(&verifier, &token).await, Refusal::BadClaims);
    assert_eq!(header("cty", json!("text/plain")).await, Refusal::BadHeader);
}

#[tokio::test]
async fn other_kinds_of_jwt() {
    for kind in ["JWT", "logout+jwt", "dpop+jwt", "secevent+jwt", "at+jwt ", "at+jwt; a=b", "", "text/at+jwt"]
    {
        assert_eq!(header("typ", json!(kind)).await, Refusal::WrongType, "{kind}");
    }
    assert_eq!(header("typ", json!(["at+jwt"])).await, Refusal::BadHeader);
    // Relaxed, other kinds still don't pass.
    let signer = Signer::new("k", Algorithm::EdDSA);
    let issuer = Issuer::new(ISSUER).with_jwks(jwks(&[&signer])).relaxed([crate::Relaxation::Typ]);
    let verifier = opened(config(issuer)).await;
    for kind in ["logout+jwt", "dpop+jwt", ""] {
        let token = signer.token_with(|header, _| header["typ"] = json!(kind));
        assert_eq!(refusal(&verifier, &token).await, Refusal::WrongType, "{kind}");
    }
}

#[tokio::test]
async fn names_that_stand_twice() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    let (header, claims) = (signer.header().to_string(), claims().to_string());
    let twice = |text: &str, member: &str| format!("{},{member}}}", &text[..text.len() - 1]);
    for member in [r#""alg":"none""#, r#""alg":"EdDSA""#, r#""\u0061lg":"EdDSA""#] {
        let token = signer.token_of(&twice(&header, member), &claims);
        assert_eq!(refusal(&verifier, &token).await, Refusal::DuplicateHeader);
    }
    for member in [r#""sub":"root""#, r#""exp":9999999999"#, r#""x":{"y":1,"y":2}"#] {
        let token = signer.token_of(&header, &twice(&claims, member));
        assert_eq!(refusal(&verifier, &token).await, Refusal::DuplicateClaim);
    }
}

#[tokio::test]
async fn claims_of_the_wrong_type() {
    for value in [json!("9999999999"), json!([9_999_999_999_u64]), json!(null), json!(true), json!({})] {
        for name in ["exp", "nbf", "iat"] {
            assert_eq!(claim(name, value.clone()).await, Refusal::ClaimType, "{name} {value}");
        }
    }
    for value in [json!(7), json!(null), json!(true), json!({"0": "x"}), json!([7])] {
        for name in ["sub", "aud", "client_id", "jti", "azp", "scope", "scp"] {
            // `azp` is only looked at where there is no `client_id`.
            let wrong = signed(|_, claims| {
                claims[name] = value.clone();
                if name == "azp" {
                    claims.as_object_mut().unwrap().remove("client_id");
                }
            });
            assert_eq!(wrong.await, Refusal::ClaimType, "{name} {value}");
        }
    }
    assert_eq!(claim("cnf", json!("x")).await, Refusal::ClaimType);
}

#[tokio::test]
async fn claims_that_are_no_object() {
    let signer = Signer::new("k", Algorithm::EdDSA);
    let verifier = trusting(&[&signer]).await;
    for text in ["", "[]", "null", "\"x\"", "{", "{}x", "\u{feff}{}", r#"{"exp":NaN}"#, r#"{"exp":1e999}"#] {
        let token = signer.token_of(&signer.header().to_string(), text);
        assert_eq!(refusal(&verifier, &token).await, Refusal::BadClaims, "{text}");
        let token = signer.token_of(text, &claims().to_string());
        assert_eq!(refusal(&verifier, &token).await, Refusal::BadHeader, "{text}");
    }
}

#[tokio::test]
async fn dates_that_are_not_a_number_or_huge() {
    assert_eq!(claim("exp", json!("NaN")).await, Refusal::ClaimType);
    for value in
        [json!(1e300), json!(u64::MAX), json!(-1), json!(i64::MIN), json!(-0.5), json!(253_402_300_800_u64)]
    {
        for name in ["exp", "nbf", "iat"] {
            assert_eq!(claim(name, value.clone()).await, Refusal::DateRange, "{name} {value}");
        }
    }
    // In milliseconds, as many get it wrong.
    assert_eq!(claim("exp", json!((NOW + 600) * 1000)).await, Refusal::DateRange);
}

#[tokio::test]
async fn expired_not_yet_valid_and_issued_in_the_future() {
    assert_eq!(claim("exp", json!(NOW - 30)).await, Refusal::Expired);
    assert_eq!(claim("exp", json!(0)).await, Refusal::Expired);
    assert_eq!(claim("nbf", json!(NOW + 60)).await, Refusal::NotYetValid);
    assert_eq!(claim("iat", json!(NOW + 60)).await, Refusal::IssuedInFuture);
    assert_eq!(missing("exp").await, Refusal::MissingExpiry);
    assert_eq!(missing("iat").await, Refusal::MissingIssuedAt);
}

#[tokio::test]
async fn another_issuer_and_issuers_in_a_list() {
    for issuer in
        ["https://id.example/", "https://ID.example", "https://evil.example", "", "https://id.example\0"]
    {
        assert_eq!(claim("iss", json!(issuer)).await, Refusal::UnknownIssuer, "{issuer:?}");
    }
    for issuer in [json!([ISSUER]), json!([ISSUER, "https://evil.example"]), json!(null), json!({})] {
        assert_eq!(claim("iss", issuer).await, Refusal::IssuerType);
    }
    assert_eq!(missing("iss").await, Refusal::MissingIssuer);
}

#[tokio::test]
async fn another_audience_and_none() {
    for audience in [json!("Orders"), json!(["payments", "orders "]), json!("orders,payments"), json!([""])] {
        assert_eq!(claim("aud", audience).await, Refusal::WrongAudience);
    }
    assert_eq!(claim("aud", json!([])).await, Refusal::MissingAudience);
    assert_eq!(missing("aud").await, Refusal::MissingAudience);
}

#[tokio::test]
async fn nobody_and_nothing() {
    assert_eq!(missing("sub").await, Refusal::MissingSubject);
    assert_eq!(claim("sub", json!("")).await, Refusal::MissingSubject);
    assert_eq!(missing("client_id").await, Refusal::MissingClient);
    assert_eq!(missing("jti").await, Refusal::MissingTokenId);
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key() {
    for confirmation in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({})] {
        assert_eq!(claim("cnf", confirmation).await, Refusal::SenderConstrained);
    }
}

#[tokio::test]
async fn what_is_configured_wrongly_is_told_by_its_key() {
    let cases = [
        (Config::default().with_issuer("main", Issuer::new(ISSUER).with_jwks("{}")), "issuers.main.audience"),
        (config(Issuer::new("")), "issuers.main.issuer"),
        (config(Issuer::new("id.example")), "issuers.main.issuer"),
        (config(Issuer::new("http://id.example")), "issuers.main.issuer"),
        (config(Issuer::new("x").with_jwks_url("http://id.example/keys")), "issuers.main.jwks_url"),
        (
            config(Issuer::new("x").with_jwks("{}").with_jwks_url("https://id.example")),
            "issuers.main.jwks_url",
        ),
        (config(Issuer::new("x").with_secret("short", crate::Hmac::HS256)), "issuers.main.secret"),
        (
            config(Issuer::new("x").with_secret("x".repeat(63).as_str(), crate::Hmac::HS512)),
            "issuers.main.secret",
        ),
        (config(Issuer::new("x").with_jwks("{}")), "issuers.main.jwks"),
        (config(Issuer::new("x").with_jwks(r#"{"keys":[],"keys":[]}"#)), "issuers.main.jwks"),
        (
            config(Issuer::new("x").with_secret("x".repeat(32), crate::Hmac::HS256))
                .with_issuer("other", Issuer::new("x").with_secret("x".repeat(32), crate::Hmac::HS256)),
            "issuers.other.issuer",
        ),
    ];
    for (config, key) in cases {
        assert_eq!(Verifier::open(&config, &Tasks::new()).await.unwrap_err().key, key);
    }
}
