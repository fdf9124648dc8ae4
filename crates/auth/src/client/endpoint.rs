//! Where something is asked of an issuer, with proof of who asks.

use std::{fmt, path::PathBuf, sync::Arc};

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use form_urlencoded::{Serializer, byte_serialize};
use http::HeaderValue;
use mainstay_core::{
    config::Secret,
    error::{Kind, mapping::Classified},
};
use serde_json::Value;

use super::{
    Registration,
    assertion::{self, Signer},
};
use crate::{
    clock::Clock,
    fetch::{self, Failure, Post, Reply, Url},
    json,
};

/// Where a client asks.
pub(crate) struct Endpoint<P> {
    fetch: P,
    member: &'static str,
    place: Place,
    allow_http: bool,
    client: String,
    proof: Proof,
    clock: Clock,
}

enum Place {
    Known(Arc<Url>),
    /// Where the issuer is, what it is called byte for byte, and where its metadata said that this is.
    Discovered(Url, String, ArcSwapOption<Url>),
}

/// What the client proves itself with.
enum Proof {
    /// The value of `Authorization`.
    Secret(HeaderValue),
    Key {
        file: PathBuf,
        id: Option<String>,
        audience: String,
    },
}

/// Why there is no answer, or not the one that was hoped for. Cheap to clone: many may wait for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) kind: Kind,
    text: Arc<str>,
}

impl Failed {
    pub(crate) fn new(kind: Kind, text: impl fmt::Display) -> Self {
        Self { kind, text: text.to_string().into() }
    }

    pub(crate) fn unavailable(text: impl fmt::Display) -> Self {
        Self::new(Kind::Unavailable, text)
    }

    /// What went wrong, of which the caller of this process can be told only whether it is its own fault.
    pub(crate) fn refused(url: &Url, reply: &Reply) -> Self {
        let answer = json::object(&reply.body).unwrap_or_default();
        let text = |name: &str| {
            let text = answer.get(name).and_then(Value::as_str).unwrap_or_default();
            // It stands in logs.
            text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(200).collect::<String>()
        };
        let (code, status) = (text("error"), reply.status);
        // About what was handed in rather than about who asks: RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2.
        let is_about_grant = status.is_client_error()
            && matches!(
                code.as_str(),
                "invalid_grant" | "invalid_request" | "invalid_target" | "access_denied"
            );
        let kind = if is_about_grant { Kind::PermissionDenied } else { Kind::Unavailable };
        Self::new(kind, format_args!("{url}: the answer is {status} {code} {}", text("error_description")))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failed {}

impl From<Failed> for Classified {
    fn from(failed: Failed) -> Self {
        Self::new(failed.kind, failed)
    }
}

impl From<Failure> for Failed {
    fn from(Failure(text): Failure) -> Self {
        Self::unavailable(text)
    }
}

impl<P: Post> Endpoint<P> {
    /// What the metadata of the issuer calls `member`, unless the registration says where it is.
    ///
    /// # Errors
    /// The key of the registration that can't be used.
    pub(crate) fn new(
        registration: &Registration,
        member: &'static str,
        fetch: P,
        clock: Clock,
    ) -> Result<Self, &'static str> {
        let place = match (&registration.token_endpoint, &registration.issuer) {
            (Some(url), _) => Place::Known(Arc::new(Url::parse(url).ok_or("token_endpoint")?)),
            (None, Some(issuer)) => {
                let url = Url::parse(issuer).ok_or("issuer")?;
                Place::Discovered(url, issuer.clone(), ArcSwapOption::empty())
            }
            (None, None) => return Err("issuer"),
        };
        let client = registration.client_id.clone();
        let proof = match (&registration.client_secret, &registration.private_key_file) {
            (Some(secret), _) => Proof::Secret(basic(&client, secret).ok_or("client_secret")?),
            (None, Some(file)) => {
                // The issuer is who reads it (RFC 7523 section 3); one that is not named is known by its endpoint.
                let audience = registration.issuer.clone().or(registration.token_endpoint.clone());
                let (file, id) = (file.clone(), registration.key_id.clone());
                Proof::Key { file, id, audience: audience.unwrap_or_default() }
            }
            (None, None) => return Err("client_secret"),
        };
        Ok(Self { fetch, member, place, allow_http: registration.allows_http(), client, proof, clock })
    }

    /// Asks by these parameters. Bounded by what fetches.
    pub(crate) async fn ask(&self, parameters: &[(&str, &str)]) -> Result<(Arc<Url>, Reply), Failed> {
        let assertion;
        let mut proof = Vec::new();
        let authorization = match &self.proof {
            Proof::Secret(basic) => Some(basic),
            Proof::Key { file, id, audience } => {
                assertion = self.assertion(file.clone(), id.clone(), audience.clone()).await?;
                proof.push(("client_id", self.client.as_str()));
                proof.push(("client_assertion_type", assertion::TYPE));
                proof.push(("client_assertion", assertion.as_str()));
                None
            }
        };
        let form = Serializer::new(String::new()).extend_pairs(parameters).extend_pairs(&proof).finish();
        let url = self.url().await?;
        match self.fetch.post(&url, authorization, form).await {
            Ok(reply) => Ok((url, reply)),
            Err(failure) => {
                // The next time it may be somewhere else.
                if let Place::Discovered(_, _, found) = &self.place {
                    found.store(None);
                }
                Err(failure.into())
            }
        }
    }

    async fn assertion(&self, file: PathBuf, id: Option<String>, audience: String) -> Result<String, Failed> {
        let (client, now) = (self.client.clone(), self.clock.now().as_secs());
        let made = tokio::task::spawn_blocking(move || {
            Signer::read(&file)
                .and_then(|signer| signer.assertion(id.as_deref(), &client, &audience, now))
                .map_err(|what| format!("private_key_file {}: {what}", file.display()))
        });
        made.await.map_err(Failed::unavailable)?.map_err(Failed::unavailable)
    }

    async fn url(&self) -> Result<Arc<Url>, Failed> {
        let (at, issuer, found) = match &self.place {
            Place::Known(url) => return Ok(url.clone()),
            Place::Discovered(at, issuer, found) => (at, issuer, found),
        };
        if let Some(url) = found.load_full() {
            return Ok(url);
        }
        let url = fetch::endpoint(&self.fetch, at, issuer, self.member, self.allow_http).await?;
        let url = Arc::new(url);
        found.store(Some(url.clone()));
        Ok(url)
    }
}

/// RFC 6749 section 2.3.1: each encoded as in a form first.
fn basic(client: &str, secret: &Secret) -> Option<HeaderValue> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client), encoded(secret.expose()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
