use std::sync::Arc;

use aws_lc_rs::constant_time;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use mainstay_core::config::Secret;

use super::{Client, Proof, assertion, sha256};
use crate::issuer::{Provider, form::Form, refused::Refused};

/// What a client offers as proof.
enum Offered {
    /// `client_secret_basic`: form-decoded, and the secret as it came too, since many clients encode nothing.
    Basic(String, Secret, Secret),
    /// `client_secret_post`.
    Body(String, Secret),
    /// `private_key_jwt`.
    Assertion(String),
    Nothing(String),
}

impl Provider {
    /// The client that sends this, if it proves to be it or has nothing to prove it with.
    pub(in crate::issuer) async fn client_of(
        &self,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Arc<Client>, Refused> {
        match offered(headers, form)? {
            Offered::Assertion(assertion) => assertion::check(self, form.one("client_id")?, &assertion).await,
            Offered::Basic(id, secret, as_it_came) => {
                let client = self.client(&id).await?;
                has_secret(client.clone(), &secret).or_else(|_| has_secret(client, &as_it_came))
            }
            Offered::Body(id, secret) => {
                let client = has_secret(self.client(&id).await?, &secret)?;
                if client.config.secret_in_body { Ok(client) } else { Err(Refused::client()) }
            }
            Offered::Nothing(id) => {
                let client = self.client(&id).await?.filter(|client| client.is_public());
                client.ok_or(Refused::client())
            }
        }
    }
}

/// One way at a time (RFC 6749 section 2.3).
fn offered(headers: &HeaderMap, form: &Form) -> Result<Offered, Refused> {
    const SEVERAL: Refused = Refused::request("a client proves who it is in one way");
    let id = form.one("client_id")?;
    let secret = form.one("client_secret")?;
    let assertion = form.one("client_assertion")?;
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = authorizations.next();
    if authorizations.next().is_some()
        || [authorization.is_some(), secret.is_some(), assertion.is_some()].iter().filter(|is| **is).count()
            > 1
    {
        return Err(SEVERAL);
    }
    if let Some(authorization) = authorization {
        let (in_header, secret, as_it_came) = basic(authorization.as_bytes()).ok_or(Refused::client())?;
        return match id {
            Some(id) if id != in_header => Err(SEVERAL),
            _ => Ok(Offered::Basic(in_header, secret, as_it_came)),
        };
    }
    match (id, secret, assertion) {
        (_, _, Some(assertion)) => {
            // RFC 7523 section 2.2.
            if form.one("client_assertion_type")?
                != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            {
                return Err(Refused::request("client_assertion_type has to be that of a JWT"));
            }
            Ok(Offered::Assertion(assertion.to_owned()))
        }
        (Some(id), Some(secret), None) => Ok(Offered::Body(id.to_owned(), secret.into())),
        (Some(id), None, None) => Ok(Offered::Nothing(id.to_owned())),
        (None, ..) => Err(Refused::client()),
    }
}

/// RFC 6749 section 2.3.1: both parts are form-encoded, then base64 (RFC 7617).
fn basic(value: &[u8]) -> Option<(String, Secret, Secret)> {
    let (scheme, encoded) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), Secret::new(form_decoded(secret)), Secret::from(secret)))
}

fn form_decoded(text: &str) -> String {
    // A value alone would be split at `&` and `=`, which a form has encoded; some clients encode nothing.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

/// As much is computed for a client that is not there.
fn has_secret(client: Option<Arc<Client>>, secret: &Secret) -> Result<Arc<Client>, Refused> {
    let hash = sha256(secret.expose());
    let expected = match client.as_deref().map(|client| &client.proof) {
        Some(Proof::Secret(expected)) => *expected,
        _ => [0; 32],
    };
    let is_same = constant_time::verify_slices_are_equal(&hash, &expected).is_ok();
    client.filter(|client| is_same && matches!(client.proof, Proof::Secret(_))).ok_or(Refused::client())
}
