//! What a call shows for itself.
//!
//! A source of it is given to a client ([`Client::with_credentials`](crate::Client::with_credentials)); it is asked once a
//! call, within its deadline, before the first attempt. All attempts show the same.
//!
//! What stands in `Authorization` already is left alone, and no source is asked; nor for a request that is somebody else's
//! ([`PassedOn`](mainstay_core::context::PassedOn)).

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use mainstay_core::{
    Body,
    context::Deadline,
    credentials::{Credential, Credentials},
};

use crate::{
    error::Error,
    retry::{answer, payload::Payload, refusal::discard},
    target::Target,
};

/// Puts what `source` has for a call into its headers.
pub(crate) async fn put<'a>(
    source: Option<&'a Arc<dyn Credentials>>,
    target: &Target,
    headers: &mut HeaderMap,
    deadline: Deadline,
) -> Result<Option<Shown<'a>>, Error> {
    let Some(source) = source.filter(|_| !headers.contains_key(header::AUTHORIZATION)) else {
        return Ok(None);
    };
    let credential = match source.credential(target.service.as_str(), deadline) {
        Credential::None => None,
        Credential::Ready(credential) => Some(credential),
        Credential::Awaited(awaited) => {
            let begun = tokio::time::Instant::now();
            match tokio::time::timeout_at(deadline.at(), awaited).await {
                Ok(credential) => credential.map_err(|cause| Error::credentials(&target.service, cause))?,
                Err(_) => return Err(Error::elapsed(&target.service, None, begun.elapsed())),
            }
        }
    };
    Ok(credential.map(|credential| {
        headers.insert(header::AUTHORIZATION, credential.clone());
        Shown { source, credential }
    }))
}

/// What a call showed, and who gave it.
pub(crate) struct Shown<'a> {
    source: &'a Arc<dyn Credentials>,
    credential: HeaderValue,
}

impl Shown<'_> {
    /// Whether the answer says that it is not valid, and there may be another one.
    pub(crate) fn is_outdated(&self, target: &Target, answer: &Response<Body>) -> bool {
        is_invalid_token(answer) && self.source.refused(target.service.as_str(), &self.credential)
    }
}

/// A request that is kept until its credential was taken.
pub(crate) struct Kept {
    parts: Parts,
    payload: Payload,
}

impl Kept {
    /// Keeps the request if its body can be sent twice; gives the body to send first.
    pub(crate) fn of(parts: &Parts, body: Body, most: usize) -> (Option<Self>, Body) {
        let mut payload = Payload::new(body, most);
        let body = payload.take().unwrap_or_default();
        let mut parts = parts.clone();
        parts.headers.remove(header::AUTHORIZATION);
        (payload.is_left().then_some(Self { parts, payload }), body)
    }

    /// To be sent once more, in place of `refusal`: if there is time, and the budget of the service has it.
    pub(crate) async fn again(
        mut self,
        target: &Target,
        deadline: Deadline,
        refusal: Response<Body>,
    ) -> Result<(Parts, Body), Response<Body>> {
        if deadline.remaining() == Duration::ZERO || !target.budget.withdraw() {
            return Err(refusal);
        }
        let Some(body) = self.payload.take() else {
            target.budget.put_back();
            return Err(refusal);
        };
        discard(refusal).await;
        Ok((self.parts, body))
    }
}

/// RFC 6750 section 3.1. Over gRPC the challenge stands beside UNAUTHENTICATED.
fn is_invalid_token(answer: &Response<Body>) -> bool {
    const UNAUTHENTICATED: u8 = 16;
    let headers = answer.headers();
    if answer.status() != StatusCode::UNAUTHORIZED && answer::grpc_code(headers) != Some(UNAUTHENTICATED) {
        return false;
    }
    let says = |challenge: &HeaderValue| {
        let challenge = challenge.as_bytes();
        let contains = |text: &[u8]| challenge.windows(text.len()).any(|window| window == text);
        contains(br#"error="invalid_token""#) || contains(b"error=invalid_token")
    };
    headers.get_all(header::WWW_AUTHENTICATE).iter().any(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_challenge_that_names_the_token_is_about_it() {
        let of = |status: u16, grpc: Option<&str>, challenge: Option<&str>| {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(code) = grpc {
                answer.headers_mut().insert("grpc-status", code.parse().unwrap());
            }
            if let Some(challenge) = challenge {
                answer.headers_mut().append(header::WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
                answer.headers_mut().append(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
            }
            is_invalid_token(&answer)
        };
        let invalid = Some(r#"Bearer realm="a", error="invalid_token""#);
        assert!(of(401, None, invalid) && of(401, None, Some("Bearer error=invalid_token")));
        assert!(of(200, Some("16"), invalid));
        assert!(!of(401, None, Some("Bearer")) && !of(401, None, None));
        assert!(!of(403, None, invalid) && !of(200, None, invalid) && !of(200, Some("7"), invalid));
        assert!(!of(401, None, Some(r#"Bearer error="insufficient_scope""#)));
    }
}
