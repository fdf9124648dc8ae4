//! Values that nobody can guess, and what is kept of them.

use aws_lc_rs::{constant_time, digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::refused::Refused;

/// 256 bits, which nobody guesses (RFC 6749 section 10.10).
pub(super) fn random() -> Result<String, Refused> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Refused::broken("no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a random value: it can't be guessed from it, so that nothing slower is needed.
pub(super) fn hashed(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Whether they are the same, in a time that depends on their lengths only.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}
