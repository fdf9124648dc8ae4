//! Datagrams that only holders of a key can read or make.
//!
//! ```text
//! version 1 B | salt 16 B | counter 8 B | sealed message | tag 16 B
//! ```
//!
//! AES-256-GCM. A nonce must never be used twice with a key, and many processes share the configured one without
//! talking to each other first. So each process draws a random salt when it starts, derives a key of its own from it
//! (HKDF-SHA256, RFC 5869), and counts its datagrams: key and counter are unique together. The name of the cluster goes
//! into the derivation: what another cluster sends does not open, whatever its key.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
    rand::{SecureRandom as _, SystemRandom},
};

/// The largest datagram: what IPv6 carries unfragmented everywhere (RFC 8200 section 5: 1280 bytes) without the
/// headers of IPv6 and UDP.
pub(super) const MAX_DATAGRAM: usize = 1232;
/// The largest message in it.
pub(super) const MAX_MESSAGE: usize = MAX_DATAGRAM - HEADER - TAG;

const VERSION: u8 = 1;
const SALT: usize = 16;
const HEADER: usize = 1 + SALT + 8;
const TAG: usize = 16;

/// The configured keys, ready to derive from.
pub(super) struct Keys {
    cluster: String,
    secrets: Vec<Prk>,
}

/// Seals what this process sends.
pub(super) struct Sealer {
    key: LessSafeKey,
    salt: [u8; SALT],
    counter: u64,
}

/// Why a datagram was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It is longer than any that this code makes.
    Oversized,
    /// It is too short, or of another version.
    Malformed,
    /// It was not made with one of the keys, for this cluster, or was changed on its way.
    Foreign,
}

/// The system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(super) struct NoRandomness;

impl Keys {
    /// `secrets` are the keys, the one that seals first; without any, one that everybody knows.
    pub(super) fn new<'a>(cluster: &str, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let extract = Salt::new(HKDF_SHA256, b"mainstay gossip 1");
        let mut secrets: Vec<_> =
            secrets.into_iter().map(|secret| extract.extract(secret.as_bytes())).collect();
        if secrets.is_empty() {
            secrets.push(extract.extract(b""));
        }
        Self { cluster: cluster.to_owned(), secrets }
    }

    /// A sealer with a salt of its own.
    pub(super) fn sealer(&self) -> Result<Sealer, NoRandomness> {
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| NoRandomness)?;
        let key = self.secrets.first().and_then(|secret| self.derive(secret, &salt)).ok_or(NoRandomness)?;
        Ok(Sealer { key, salt, counter: 0 })
    }

    /// The message in `datagram`, which is opened in place.
    pub(super) fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<&'a [u8], Unopened> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Unopened::Oversized);
        }
        let (header, sealed) = datagram.split_at_mut_checked(HEADER).ok_or(Unopened::Malformed)?;
        let header = &*header;
        let (version, rest) = header.split_first().ok_or(Unopened::Malformed)?;
        let (salt, counter) = rest.split_first_chunk::<SALT>().ok_or(Unopened::Malformed)?;
        let counter: [u8; 8] = counter.try_into().map_err(|_| Unopened::Malformed)?;
        if *version != VERSION {
            return Err(Unopened::Malformed);
        }
        // Opening overwrites; only what authenticates may be taken, so each key gets its own copy but the last.
        let (last, others) = self.secrets.split_last().ok_or(Unopened::Foreign)?;
        let mut opened = None;
        for secret in others {
            let mut copy = sealed.to_vec();
            if let Some(length) = self.try_open(secret, salt, counter, header_of(salt, counter), &mut copy) {
                opened = Some((copy, length));
                break;
            }
        }
        if let Some((copy, length)) = opened {
            let message = sealed.get_mut(..length).ok_or(Unopened::Malformed)?;
            message.copy_from_slice(copy.get(..length).ok_or(Unopened::Malformed)?);
            return Ok(message);
        }
        let length =
            self.try_open(last, salt, counter, header_of(salt, counter), sealed).ok_or(Unopened::Foreign)?;
        sealed.get(..length).ok_or(Unopened::Malformed)
    }

    fn try_open(
        &self,
        secret: &Prk,
        salt: &[u8; SALT],
        counter: [u8; 8],
        header: [u8; HEADER],
        sealed: &mut [u8],
    ) -> Option<usize> {
        let key = self.derive(secret, salt)?;
        let opened = key.open_in_place(nonce(counter), Aad::from(header), sealed).ok()?;
        Some(opened.len())
    }

    fn derive(&self, secret: &Prk, salt: &[u8; SALT]) -> Option<LessSafeKey> {
        let info = [salt.as_slice(), self.cluster.as_bytes()];
        let okm = secret.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

impl Sealer {
    /// The datagram that carries `message`; `None` for a message that is too long.
    pub(super) fn seal(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() > MAX_MESSAGE {
            return None;
        }
        // At a million datagrams a second it lasts for half a million years.
        self.counter = self.counter.checked_add(1)?;
        let counter = self.counter.to_be_bytes();
        let header = header_of(&self.salt, counter);
        let mut sealed = message.to_vec();
        self.key.seal_in_place_append_tag(nonce(counter), Aad::from(header), &mut sealed).ok()?;
        let mut datagram = Vec::with_capacity(HEADER + sealed.len());
        datagram.extend_from_slice(&header);
        datagram.extend_from_slice(&sealed);
        Some(datagram)
    }
}

fn header_of(salt: &[u8; SALT], counter: [u8; 8]) -> [u8; HEADER] {
    let mut header = [VERSION; HEADER];
    header[1..=SALT].copy_from_slice(salt);
    header[1 + SALT..].copy_from_slice(&counter);
    header
}

fn nonce(counter: [u8; 8]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(nonce)
}

/// A number that nobody can guess.
pub(super) fn random() -> Result<u64, NoRandomness> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(u64::from_be_bytes(bytes))
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_holder_of_the_key_in_the_same_cluster_opens_a_datagram() {
        let keys = Keys::new("shop", ["one"]);
        let datagram = keys.sealer().unwrap().seal(b"hello").unwrap();
        assert_eq!(keys.open(&mut datagram.clone()).unwrap(), b"hello");
        for other in [Keys::new("shop", ["two"]), Keys::new("other", ["one"]), Keys::new("shop", [])] {
            assert_eq!(other.open(&mut datagram.clone()), Err(Unopened::Foreign));
        }
        for byte in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[byte] ^= 1;
            assert!(keys.open(&mut changed).is_err(), "byte {byte} is not covered");
        }
    }

    #[test]
    fn keys_are_rotated_in_three_steps_without_a_gap() {
        let steps = [vec!["old"], vec!["old", "new"], vec!["new", "old"], vec!["new"]];
        let keys: Vec<_> = steps.iter().map(|secrets| Keys::new("a", secrets.iter().copied())).collect();
        for neighbours in keys.windows(2) {
            for (from, to) in [(0, 1), (1, 0)] {
                let datagram = neighbours[from].sealer().unwrap().seal(b"x").unwrap();
                assert_eq!(neighbours[to].open(&mut datagram.clone()).unwrap(), b"x");
            }
        }
    }

    #[test]
    fn no_two_datagrams_share_salt_and_counter() {
        let keys = Keys::new("a", ["k"]);
        let (mut one, mut two) = (keys.sealer().unwrap(), keys.sealer().unwrap());
        let heads: std::collections::HashSet<_> = (0..100)
            .flat_map(|_| [one.seal(b"x").unwrap(), two.seal(b"x").unwrap()])
            .map(|datagram| datagram[..HEADER].to_vec())
            .collect();
        assert_eq!(heads.len(), 200);
    }

    #[test]
    fn what_is_too_long_is_neither_made_nor_read() {
        let keys = Keys::new("a", ["k"]);
        let longest = keys.sealer().unwrap().seal(&[0; MAX_MESSAGE]).unwrap();
        assert_eq!(longest.len(), MAX_DATAGRAM);
        assert!(keys.sealer().unwrap().seal(&[0; MAX_MESSAGE + 1]).is_none());
        assert_eq!(keys.open(&mut [VERSION; MAX_DATAGRAM + 1]), Err(Unopened::Oversized));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..1400)) {
            let keys = Keys::new("a", ["k", "l"]);
            prop_assert!(keys.open(&mut bytes.clone()).is_err());
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            prop_assert!(keys.open(&mut bytes).is_err());
        }
    }
}
