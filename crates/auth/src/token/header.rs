use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use crate::{
    Refusal,
    json::{self, Fault},
};

/// What of the JOSE header is of use (RFC 7515 section 4.1).
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) kind: Option<String>,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let members = json::object(bytes).map_err(|fault| match fault {
            Fault::Malformed => Refusal::BadHeader,
            Fault::Duplicate => Refusal::DuplicateHeader,
        })?;
        let has = |name| members.contains_key(name);
        // What can't be right whatever the rest says comes first.
        if has("enc") || has("zip") {
            return Err(Refusal::Encrypted);
        }
        if has("crit") {
            return Err(Refusal::CriticalHeader);
        }
        if has("jwk") || has("x5c") {
            return Err(Refusal::EmbeddedKey);
        }
        if has("jku") || has("x5u") {
            return Err(Refusal::KeyUrl);
        }
        if let Some(content) = text(&members, "cty")? {
            let content = without_prefix(content);
            return Err(if content.eq_ignore_ascii_case("jwt") {
                Refusal::Nested
            } else {
                Refusal::BadHeader
            });
        }
        let algorithm = match text(&members, "alg")? {
            None => return Err(Refusal::BadHeader),
            Some(name) if name.trim().eq_ignore_ascii_case("none") => return Err(Refusal::Unsigned),
            Some(name) => algorithm(name).ok_or(Refusal::UnknownAlgorithm)?,
        };
        let key_id = text(&members, "kid")?.map(ToOwned::to_owned);
        let kind = text(&members, "typ")?.map(|kind| without_prefix(kind).to_ascii_lowercase());
        Ok(Self { algorithm, key_id, kind })
    }
}

/// Of the name as it stands, or the newer name of EdDSA over Ed25519 (RFC 9864).
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}

/// `application/` may be left out (RFC 7515 section 4.1.9).
fn without_prefix(media_type: &str) -> &str {
    match media_type.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => media_type,
    }
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    members.get(name).map(|value| value.as_str().ok_or(Refusal::BadHeader)).transpose()
}
