//! Clients: which there are, and whether one is who it says (RFC 6749 section 2.3).

mod assertion;
mod authenticate;

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use aws_lc_rs::digest;
use jsonwebtoken::Algorithm;

use super::{
    config,
    directory::{Directory, Recent},
    store::Failure,
};
use crate::keys::Set;

/// All that are known: those of the configuration, and those in the database that have no name of one of them.
#[derive(Debug)]
pub(super) struct Clients {
    configured: BTreeMap<String, Arc<Client>>,
    directory: Option<Directory>,
    recent: Recent<Client>,
}

/// A client that is known.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) config: config::Client,
    proof: Proof,
}

/// How it proves who it is.
enum Proof {
    /// SHA-256 of its secret. Secrets are random and long, so that nothing slower is needed.
    Secret([u8; 32]),
    Keys(Set),
    /// It does not.
    Nothing,
}

impl Clients {
    /// Of a configuration that was checked; `Err` is whose keys are wrong, and how.
    pub(super) fn open(
        clients: &BTreeMap<String, config::Client>,
        directory: Option<Directory>,
    ) -> Result<Self, (String, String)> {
        let known = clients.iter().map(|(id, client)| match Client::open(id, client) {
            Ok(known) => Ok((id.clone(), known)),
            Err(what) => Err((id.clone(), what)),
        });
        Ok(Self { configured: known.collect::<Result<_, _>>()?, directory, recent: Recent::default() })
    }

    pub(super) async fn get(&self, id: &str) -> Result<Option<Arc<Client>>, Failure> {
        match (self.configured.get(id), &self.directory) {
            (Some(client), _) => Ok(Some(Arc::clone(client))),
            (None, None) => Ok(None),
            (None, Some(directory)) => self.recent.get(id, directory.client(id)).await,
        }
    }
}

impl Client {
    /// Of a configuration that was checked; `Err` is what is wrong with its keys.
    pub(super) fn open(id: &str, config: &config::Client) -> Result<Arc<Self>, String> {
        let proof = if let Some(secret) = &config.secret {
            tracing::warn!(
                client = id,
                "the secret of a client stands in the configuration: use `secret_sha256`"
            );
            Proof::Secret(sha256(secret.expose()))
        } else if let Some(hash) = &config.secret_sha256 {
            Proof::Secret(unhex(hash).ok_or("expected 64 hexadecimal digits")?)
        } else if let Some(jwks) = &config.jwks {
            Proof::Keys(Set::parse(jwks.as_bytes(), Algorithm::RS256, &Set::default(), id)?)
        } else {
            Proof::Nothing
        };
        // The secret itself is not needed any more.
        let config = config::Client { secret: None, ..config.clone() };
        Ok(Arc::new(Self { id: id.to_owned(), config, proof }))
    }

    /// What people know it by.
    pub(super) fn name(&self) -> &str {
        self.config.name.as_deref().unwrap_or(&self.id)
    }

    pub(super) fn is_public(&self) -> bool {
        matches!(self.proof, Proof::Nothing)
    }
}

pub(super) fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()) {
        *to = *from;
    }
    hash
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Nothing that is written to a text fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Keys(_) => "Keys",
            Self::Nothing => "Nothing",
        })
    }
}
