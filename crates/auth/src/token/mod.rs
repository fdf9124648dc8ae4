//! One token: its form, its header, its claims. What is in here trusts nothing and decides nothing by a key.

mod claims;
mod header;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

#[cfg(feature = "policy")]
pub(crate) use self::claims::value_at;
pub(crate) use self::{
    claims::{Claims, at_path},
    header::{Header, algorithm},
};
use crate::Refusal;

/// A JWT in compact form (RFC 7515 section 3.1), taken apart.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) header: Header,
    pub(crate) claims: Claims,
    /// What the signature is of.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads a token whose length was found bearable.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::NotAToken);
        };
        match parts.count() {
            0 => {}
            // RFC 7516 section 3.1.
            2 => return Err(Refusal::Encrypted),
            _ => return Err(Refusal::NotAToken),
        }
        let header = Header::parse(&decoded(header)?)?;
        let claims = Claims::parse(&decoded(claims)?)?;
        let signed = text.len().saturating_sub(signature.len() + 1);
        let signed = text.as_bytes().get(..signed).ok_or(Refusal::NotAToken)?;
        Ok(Self { header, claims, signed, signature: decoded(signature)? })
    }
}

/// No padding, no other alphabet, no white space, no bits that say nothing: one text for the same bytes.
fn decoded(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::BadBase64)
}
