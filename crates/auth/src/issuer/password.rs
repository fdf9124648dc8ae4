//! Passwords, which people choose: hashed with argon2id (RFC 9106).

use std::ops::RangeInclusive;

use argon2::{
    Algorithm, Argon2, Params, PasswordVerifier as _, Version,
    password_hash::{PasswordHasher as _, phc::PasswordHash},
};
use mainstay_core::config::Secret;

/// In bytes. Longer ones would be work for whoever sends rubbish.
pub(super) const LENGTHS: RangeInclusive<usize> = 8..=256;

/// In KiB; a hash that wants more is refused, since logins would eat the memory of the process.
const MOST_MEMORY: u32 = 256 << 10;

/// The least that OWASP's cheat sheet on password storage asks for; tests have no time for it.
const MEMORY: u32 = if cfg!(test) { 64 } else { 19 << 10 };
const PASSES: u32 = if cfg!(test) { 1 } else { 2 };

/// The argon2id hash of a password, as `password_hash` of a user wants it. Takes some tens of milliseconds; blocks.
///
/// # Errors
/// What is wrong with the password, or that there are no random numbers.
pub fn hash_password(password: &str) -> Result<String, &'static str> {
    if !LENGTHS.contains(&password.len()) {
        return Err("a password has 8 to 256 bytes");
    }
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| "there are no random numbers")?;
    let params = Params::new(MEMORY, PASSES, 1, None).map_err(|_| "argon2 refuses its parameters")?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = hasher.hash_password_with_salt(password.as_bytes(), &salt);
    Ok(hash.map_err(|_| "argon2 refuses the password")?.to_string())
}

/// As [`hash_password`], on a thread that may block.
pub(super) async fn hashed(password: Secret) -> Result<String, String> {
    let hash = tokio::task::spawn_blocking(move || hash_password(password.expose())).await;
    Ok(hash.map_err(|error| error.to_string())??)
}

/// Whether `password` is that of `hash`. Blocks.
pub(super) fn is_password(password: &str, hash: &str) -> bool {
    // Parameters come from the hash.
    LENGTHS.contains(&password.len()) && Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

/// Whether it is one of argon2id that is bearable to compute.
pub(super) fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| {
        let params = Params::try_from(&hash);
        hash.algorithm.as_str() == "argon2id"
            && hash.hash.is_some()
            && params.is_ok_and(|params| params.m_cost() <= MOST_MEMORY && params.t_cost() <= 32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_that_of_its_hash_alone() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$") && is_hash(&hash));
        assert!(is_password("correct horse", &hash));
        assert!(!is_password("correct horse ", &hash) && !is_password("", &hash));
        assert_ne!(hash, hash_password("correct horse").unwrap(), "each has its salt");
        assert!(hash_password("short").is_err() && hash_password(&"x".repeat(257)).is_err());
    }

    #[test]
    fn only_bearable_argon2id_is_a_hash() {
        for text in [
            "",
            "secret",
            "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$C7CZGRXAbBQYKEyxdBTR3Q",
            "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$C7CZGRXAbBQYKEyxdBTR3Q",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
            "$2b$12$abcdefghijklmnopqrstuv",
        ] {
            assert!(!is_hash(text), "{text}");
            assert!(!is_password("correct horse", text));
        }
    }
}
