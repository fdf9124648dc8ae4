//! What a consistent hash is made of.

/// Requests with equal keys go to the same endpoint, where the policy is
/// [`Policy::Hash`](super::Policy::Hash). Given by [`RequestBuilder::hash_key`](crate::RequestBuilder::hash_key) or as an
/// extension of a request, tonic's as well, or taken from the header that [`hash_header`](super::Config::hash_header)
/// names.
///
/// ```
/// # use mainstay_client::balance::Key;
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(Key::of("user-7"));
/// ```
///
/// The hash is the same in every process and every version of this crate: clients that know the same endpoints agree.
/// It is not secret. Who can choose keys can choose keys of one endpoint; the bound on its load is what protects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// Of these bytes, such as the id of a user.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(hash(bytes.as_ref()))
    }

    pub(super) fn hash(self) -> u64 {
        self.0
    }
}

/// FNV-1a, 64 bits (RFC 9923), and a finaliser: FNV alone leaves neighbours near each other.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash)
}

/// Of two hashes, one.
pub(super) fn join(one: u64, other: u64) -> u64 {
    mix(one.rotate_left(32) ^ other.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Every bit of the input changes each bit of the output with a probability of one half (the finaliser of MurmurHash3).
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_stays_the_same_from_version_to_version() {
        // FNV-1a of "a" is af63dc4c8601ec8c (RFC 9923, appendix); what follows it is fixed here.
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
        assert_eq!(Key::of("user-7"), Key::of(b"user-7"));
        assert_eq!(hash(b"user-7"), 429_065_253_268_745_055);
    }
}
