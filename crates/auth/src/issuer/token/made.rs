//! Tokens: made, and read again.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    issuer::{Provider, authorize::Granted, client::Client, refused::Refused, secret, store::Kind},
    token::Token,
};

/// What an access token says (RFC 9068 section 2.2).
#[derive(Debug)]
pub(in crate::issuer) struct Access<'a> {
    pub(in crate::issuer) subject: &'a str,
    pub(in crate::issuer) client: &'a str,
    pub(in crate::issuer) scopes: &'a [String],
    /// For this provider alone where it is empty.
    pub(in crate::issuer) audiences: &'a [String],
    pub(in crate::issuer) roles: &'a [String],
    /// What it was issued under: it ends with that.
    pub(in crate::issuer) grant: Option<&'a str>,
    /// When somebody logged in.
    pub(in crate::issuer) authenticated: Option<u64>,
    /// It ends no later than what it comes from.
    pub(in crate::issuer) until: Option<u64>,
    /// Who acts for the subject (RFC 8693 section 4.1).
    pub(in crate::issuer) actor: Option<Value>,
}

/// The answer of the token endpoint (RFC 6749 section 5.1).
#[derive(Debug, Serialize)]
pub(in crate::issuer) struct Answer {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::issuer) id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::issuer) refresh_token: Option<String>,
    /// RFC 8693 section 2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::issuer) issued_token_type: Option<&'static str>,
}

impl Provider {
    /// With an access token, and no other yet.
    pub(in crate::issuer) fn answer(&self, access: &Access<'_>) -> Result<Answer, Refused> {
        let now = self.now();
        let until = (now + self.0.config.token.as_secs()).min(access.until.unwrap_or(u64::MAX));
        let random = secret::random()?;
        // So that whoever is asked finds the grant again.
        let id = access.grant.map_or_else(|| random.clone(), |grant| format!("{grant}.{random}"));
        let mut audiences: Vec<&str> = access.audiences.iter().map(String::as_str).collect();
        let is_for_us = access.scopes.iter().any(|scope| scope == "openid");
        if audiences.is_empty() || is_for_us {
            audiences.push(self.issuer());
        }
        let audience = match audiences.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        let mut claims = json!({
            "iss": self.issuer(), "sub": access.subject, "aud": audience, "client_id": access.client,
            "iat": now, "exp": until, "jti": id,
        });
        let scope = access.scopes.join(" ");
        if !scope.is_empty() {
            claims["scope"] = json!(scope);
        }
        if !access.roles.is_empty() {
            claims["roles"] = json!(access.roles);
        }
        if let Some(at) = access.authenticated {
            claims["auth_time"] = json!(at);
        }
        if let Some(actor) = &access.actor {
            claims["act"] = actor.clone();
        }
        Ok(Answer {
            access_token: self.signed("at+jwt", &claims)?,
            token_type: "Bearer",
            expires_in: until.saturating_sub(now),
            scope,
            id_token: None,
            refresh_token: None,
            issued_token_type: None,
        })
    }

    /// What a client gets for what somebody has granted it, as they are now.
    pub(super) async fn for_user(
        &self,
        client: &Client,
        grant: &str,
        granted: &Granted,
        nonce: Option<&str>,
    ) -> Result<Answer, Refused> {
        let user = self
            .0
            .users
            .logged_in(&granted.subject, granted.authenticated)
            .await?
            .ok_or(Refused::grant("the user is not known any more"))?;
        let mut answer = self.answer(&Access {
            subject: &granted.subject,
            client: &client.id,
            scopes: &granted.scopes,
            audiences: &granted.audiences,
            roles: &user.config.roles,
            grant: Some(grant),
            authenticated: Some(granted.authenticated),
            until: None,
            actor: None,
        })?;
        if granted.scopes.iter().any(|scope| scope == "openid") {
            let now = self.now();
            // OpenID Connect Core section 2; what else there is about people is at the userinfo endpoint (section 5.4).
            let mut claims = json!({
                "iss": self.issuer(), "sub": granted.subject, "aud": client.id,
                "iat": now, "exp": now + self.0.config.token.as_secs(), "auth_time": granted.authenticated,
            });
            if let Some(nonce) = nonce {
                claims["nonce"] = json!(nonce);
            }
            answer.id_token = Some(self.signed("JWT", &claims)?);
        }
        Ok(answer)
    }

    /// The claims of an access token that is good now: signed here, not ended, neither it nor its grant revoked.
    pub(in crate::issuer) async fn access(&self, text: &str) -> Result<Map<String, Value>, Refused> {
        const BAD: Refused = Refused::named("invalid_token", "the token is not good, or not any more");
        let (claims, now) = (self.read("at+jwt", text).ok_or(BAD)?, self.now());
        let id = claims.get("jti").and_then(Value::as_str).ok_or(BAD)?;
        if claims.get("exp").and_then(Value::as_u64).is_none_or(|until| until <= now) {
            return Err(BAD);
        }
        if let Some((grant, _)) = id.split_once('.') {
            let granted = self.store().get::<Granted>(Kind::Grant, grant, now).await?.ok_or(BAD)?.value;
            // It was granted by somebody who is not known any more, or has another password since.
            self.0.users.logged_in(&granted.subject, granted.authenticated).await?.ok_or(BAD)?;
        }
        match self.store().get::<()>(Kind::Revoked, id, now).await? {
            Some(_) => Err(BAD),
            None => Ok(claims),
        }
    }

    /// A JWT of this type, signed with the key of now.
    pub(in crate::issuer) fn signed(&self, kind: &str, claims: &Value) -> Result<String, Refused> {
        let key = self.0.ring.signer(self.now());
        let header = json!({"alg": key.algorithm().name(), "kid": key.id(), "typ": kind});
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature =
            key.sign(message.as_bytes()).map_err(|_| Refused::broken("a token could not be signed"))?;
        Ok(format!("{message}.{}", encoded(signature)))
    }

    /// The claims of a JWT of this type that was signed here, whether it has ended or not.
    pub(in crate::issuer) fn read(&self, kind: &str, text: &str) -> Option<Map<String, Value>> {
        const LONGEST: usize = 16 << 10;
        if text.len() > LONGEST {
            return None;
        }
        let token = Token::parse(text).ok()?;
        let key = self.0.ring.public(token.header.key_id.as_deref()?)?;
        let is_ours = token.header.kind.as_deref().is_some_and(|has| has.eq_ignore_ascii_case(kind))
            && token.header.algorithm == key.algorithm
            && token.claims.issuer == self.issuer()
            && key.has_signed(token.signed, &token.signature);
        is_ours.then_some(token.claims.all)
    }
}

/// One text, or several.
pub(in crate::issuer) fn words(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
