//! What an issuer says of a token (RFC 7662 section 2.2), and what of it is believed.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::Answer;
use crate::{
    Principal, Refusal,
    config::Relaxation,
    json,
    principal::{Identity, Means},
    token::{Claims, at_path},
};

/// What a token has to be.
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    pub(super) audience_optional: bool,
    pub(super) relax: BTreeSet<Relaxation>,
    pub(super) roles: String,
    /// In seconds.
    pub(super) leeway: f64,
}

/// It is no answer: the token may be good.
pub(super) struct Unreadable(pub(super) &'static str);

impl Expected {
    /// Who sent the token, at `now`; it is known until `until` at most.
    pub(super) fn read(&self, body: &[u8], now: f64, until: f64) -> Result<Answer, Unreadable> {
        let all = json::object(body).map_err(|_| Unreadable("not a JSON object, each name once"))?;
        match all.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(Err(Refusal::Inactive)),
            _ => return Err(Unreadable("`active` is not true or false")),
        }
        // A refresh token is active too, and nothing to be let in with.
        let is = |name: &str, allowed: &[&str]| match all.get(name) {
            None => true,
            Some(Value::String(value)) => allowed.iter().any(|one| value.eq_ignore_ascii_case(one)),
            Some(_) => false,
        };
        if !is("token_type", &["bearer", "access_token", "dpop"])
            || !is("token_use", &["access_token", "access"])
        {
            return Ok(Err(Refusal::WrongType));
        }
        let is_proven = !all.contains_key("token_type") || !is("token_type", &["dpop"]);
        Ok(Claims::of(all, Some(&self.issuer)).and_then(|claims| self.check(claims, is_proven, now, until)))
    }

    fn check(&self, claims: Claims, is_bearer: bool, now: f64, until: f64) -> Answer {
        let relaxes = |rule| self.relax.contains(&rule);
        if claims.issuer != self.issuer {
            return Err(Refusal::UnknownIssuer);
        }
        if claims.expires.is_some_and(|expires| now >= expires + self.leeway) {
            return Err(Refusal::Expired);
        }
        if claims.not_before.is_some_and(|begin| begin > now + self.leeway) {
            return Err(Refusal::NotYetValid);
        }
        if claims.issued_at.is_some_and(|issued| issued > now + self.leeway) {
            return Err(Refusal::IssuedInFuture);
        }
        if claims.audience.is_empty() {
            if !self.audience_optional {
                return Err(Refusal::MissingAudience);
            }
        } else if !claims.audience.iter().any(|audience| self.audience.contains(audience)) {
            return Err(Refusal::WrongAudience);
        }
        let has_subject = claims.subject.as_ref().is_some_and(|subject| !subject.is_empty());
        if !has_subject && !relaxes(Relaxation::Sub) {
            return Err(Refusal::MissingSubject);
        }
        let bound = claims.certificate.filter(|_| !relaxes(Relaxation::Cnf));
        let needs_proof = !is_bearer || (claims.is_bound && bound.is_none());
        if needs_proof && !relaxes(Relaxation::Cnf) {
            return Err(Refusal::SenderConstrained);
        }
        let Claims { issuer, subject, client, scopes, expires, all, .. } = claims;
        let until = expires.map_or(until, |expires| expires.min(until));
        let identity = Identity {
            issuer,
            subject,
            client,
            scopes,
            roles: at_path(&all, &self.roles),
            expires: expires.unwrap_or(until),
            claims: all,
            means: Means::Introspection,
            bound,
        };
        Ok((Principal(Arc::new(identity)), until))
    }
}
