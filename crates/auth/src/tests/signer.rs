use std::sync::{Arc, OnceLock};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    hmac, rand, rsa,
    signature::{
        self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{AUDIENCE, ISSUER, NOW};

/// Signs tokens with a key of its own.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    pub(crate) algorithm: Algorithm,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Rsa(Arc<RsaKeyPair>),
    Ec(Arc<EcdsaKeyPair>),
    Ed(Arc<Ed25519KeyPair>),
    Secret(Vec<u8>),
}

impl Signer {
    pub(crate) fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let ec = |signing| Key::Ec(Arc::new(EcdsaKeyPair::generate(signing).unwrap()));
        let key = match algorithm {
            Algorithm::ES256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDSA => Key::Ed(Arc::new(Ed25519KeyPair::generate().unwrap())),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Key::Secret(vec![b'k'; 64]),
            _ => {
                // One for all tests: it takes long to make.
                static MADE: OnceLock<Arc<RsaKeyPair>> = OnceLock::new();
                Key::Rsa(Arc::clone(MADE.get_or_init(|| Arc::new(rsa_key(rsa::KeySize::Rsa2048)))))
            }
        };
        Self { id, algorithm, key }
    }

    /// With this as the secret, as somebody signs who takes a public key for one.
    pub(crate) fn with_secret(id: &'static str, secret: &[u8]) -> Self {
        Self { id, algorithm: Algorithm::HS256, key: Key::Secret(secret.to_vec()) }
    }

    /// The same key for another algorithm.
    pub(crate) fn with(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    pub(crate) fn secret(&self) -> String {
        let Key::Secret(secret) = &self.key else { panic!("no secret") };
        String::from_utf8(secret.clone()).unwrap()
    }

    pub(crate) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let name = format!("{:?}", self.algorithm);
        match &self.key {
            Key::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "kid": self.id, "alg": name, "use": "sig", "n": text(&n), "e": text(&e)})
            }
            Key::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
                let curve = if self.algorithm == Algorithm::ES256 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "kid": self.id, "alg": name, "crv": curve, "x": text(x), "y": text(y)})
            }
            Key::Ed(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({"kty": "OKP", "kid": self.id, "alg": name, "crv": "Ed25519", "x": x})
            }
            Key::Secret(secret) => json!({"kty": "oct", "kid": self.id, "alg": name, "k": text(secret)}),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = rand::SystemRandom::new();
        match &self.key {
            Key::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match self.algorithm {
                    Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signed).unwrap();
                signed
            }
            Key::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Key::Secret(secret) => {
                let algorithm = match self.algorithm {
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
            }
        }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "kid": self.id, "typ": "at+jwt"})
    }

    /// A token with nothing wrong.
    pub(crate) fn token(&self) -> String {
        self.token_with(|_, _| {})
    }

    /// The same, after `change` of its header and its claims.
    pub(crate) fn token_with(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.header(), claims());
        change(&mut header, &mut claims);
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// Of whatever texts.
    pub(crate) fn token_of(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

pub(crate) fn encoded(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Those that RFC 9068 section 2.2 asks for.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "web", "jti": "1",
        "iat": NOW, "exp": NOW + 600, "scope": "orders:read orders:write", "roles": ["clerk"],
    })
}

fn rsa_key(size: rsa::KeySize) -> RsaKeyPair {
    let pair = rsa::KeyPair::generate(size).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    RsaKeyPair::from_pkcs8(der.as_ref()).unwrap()
}
