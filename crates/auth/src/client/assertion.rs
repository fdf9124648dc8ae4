//! A client that proves itself with a key (`private_key_jwt`; RFC 7523 section 2.2, OpenID Connect Core section 9).

use std::path::Path;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::json;

/// The value of `client_assertion_type`.
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long one is good: it is used at once.
const LIFETIME: u64 = 60;
/// No key is larger, as PEM.
const LARGEST: u64 = 64 << 10;

/// Signs assertions with one key.
pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// Reads the key in the file at `path`; blocks.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        use std::io::Read as _;

        let mut pem = String::new();
        let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        file.take(LARGEST).read_to_string(&mut pem).map_err(|error| error.to_string())?;
        Self::of_pem(&pem)
    }

    fn of_pem(pem: &str) -> Result<Self, String> {
        const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
        let expected = || "expected a private key in PKCS#8 as PEM (`BEGIN PRIVATE KEY`)".to_owned();
        let (_, rest) = pem.split_once(BEGIN).ok_or_else(expected)?;
        let (text, _) = rest.split_once("-----END PRIVATE KEY-----").ok_or_else(expected)?;
        let text: String = text.split_ascii_whitespace().collect();
        let der = STANDARD.decode(text).map_err(|_| expected())?;
        if let Ok(key) = Ed25519KeyPair::from_pkcs8(&der) {
            return Ok(Self::Ed25519(key));
        }
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der) {
            return Ok(Self::P256(key));
        }
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &der) {
            return Ok(Self::P384(key));
        }
        match RsaKeyPair::from_pkcs8(&der) {
            Ok(key) => Ok(Self::Rsa(Box::new(key))),
            Err(_) => Err("expected a key of RSA (2048 bits or more), P-256, P-384 or Ed25519".to_owned()),
        }
    }

    /// That `client` is who asks `audience`, at `now` (seconds since 1970).
    pub(super) fn assertion(
        &self,
        key_id: Option<&str>,
        client: &str,
        audience: &str,
        now: u64,
    ) -> Result<String, String> {
        let mut header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        if let Some(key_id) = key_id {
            header["kid"] = json!(key_id);
        }
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| "no random numbers".to_owned())?;
        let claims = json!({
            "iss": client, "sub": client, "aud": audience, "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now, "exp": now.saturating_add(LIFETIME),
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.sign(message.as_bytes()).ok_or("the key can't sign")?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::P256(key) | Self::P384(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
        }
    }
}
