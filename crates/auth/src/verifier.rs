//! Tokens verified: whether one is good, and whose it is.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use http::Request;
use jsonwebtoken::AlgorithmFamily;
use mainstay_core::{
    error::{Error, Kind},
    health::Check,
    metrics::Observations,
    task::Tasks,
};

use crate::{
    Config, Principal, Refusal,
    api_key::ApiKeys,
    authenticate::answer::Challenges,
    cache::{Cache, Remembered},
    certificate::{self, thumbprint},
    clock::Clock,
    config::{Issuer, Relaxation},
    fetch::{Http, Named, Post, Services},
    introspection::{self, Ask, Introspection},
    keys::{Key, Keys, NotFound},
    principal::{Identity, Means},
    refusal::Counts,
    token::{Claims, Header, Token, at_path},
};

/// Verifies tokens of the configured issuers. Clones share keys and what is remembered; with the last one the fetching of keys
/// ends.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    issuers: HashMap<String, Trusted>,
    /// Who is asked about opaque tokens, by what they begin with.
    asked: Vec<(Option<String>, Arc<dyn Ask>)>,
    /// In seconds.
    leeway: f64,
    api_keys: Option<ApiKeys>,
    certificates: certificate::Config,
    max_token: usize,
    cache: Option<Cache<Verified>>,
    clock: Clock,
    query_token: bool,
    challenges: Challenges,
    refused: Counts,
}

/// An issuer, and what its tokens have to be.
struct Trusted {
    audience: Vec<String>,
    relax: BTreeSet<Relaxation>,
    roles: String,
    has_secret: bool,
    keys: Keys,
    /// Its JWTs are not taken by their signature: it is asked about them.
    asked: Option<Arc<dyn Ask>>,
}

/// Whether who shows `certificate` may use the token that says who it is.
fn is_proven(principal: &Principal, certificate: Option<&[u8]>) -> bool {
    match &principal.0.bound {
        None => true,
        Some(bound) => certificate.is_some_and(|certificate| thumbprint(certificate) == *bound),
    }
}

/// A token that was found good.
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    /// In seconds since 1970.
    pub(crate) until: f64,
    /// What it is signed with: it holds as long as the key is there.
    pub(crate) key: Option<Arc<Key>>,
}

impl Remembered for Verified {
    fn holds(&self, now: f64) -> bool {
        now < self.until && !self.key.as_ref().is_some_and(|key| key.is_gone())
    }
}

/// The configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`auth.{key}`: {what}")]
#[non_exhaustive]
pub struct Unusable {
    /// Which setting, within `auth`.
    pub key: String,
    /// What is wrong with it, or what was expected.
    pub what: String,
}

impl Verifier {
    /// Reads files of keys, and begins to fetch those that come from a URL, in tasks of `tasks`: nobody waits for them, but for
    /// requests that need them.
    ///
    /// # Errors
    /// [`Unusable`] for the first value that can't be used; [`Section::check`](mainstay_core::config::Section::check) finds all
    /// but what is in the keys.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn open(config: &Config, tasks: &Tasks) -> Result<Self, Unusable> {
        Self::open_in(config, tasks, None).await
    }

    /// As [`open`](Self::open), in a system where issuers may be `services` (see [`Issuer::service`]).
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn open_among(
        config: &Config,
        tasks: &Tasks,
        services: &Arc<dyn Services>,
    ) -> Result<Self, Unusable> {
        Self::open_in(config, tasks, Some(services)).await
    }

    async fn open_in(
        config: &Config,
        tasks: &Tasks,
        services: Option<&Arc<dyn Services>>,
    ) -> Result<Self, Unusable> {
        let fetch = |issuer: &Issuer| {
            let named = Named::new(issuer.service.as_ref(), services)?;
            let http = Http::new(tasks.clone(), issuer.timeout.get(), issuer.ca_file.clone());
            Ok(http.by_name(named))
        };
        Self::open_with(config, tasks, Clock::System, fetch).await
    }

    pub(crate) async fn open_with<F: Post>(
        config: &Config,
        tasks: &Tasks,
        clock: Clock,
        fetch: impl Fn(&Issuer) -> Result<F, String>,
    ) -> Result<Self, Unusable> {
        if let Some((key, expected)) = config.wrong().into_iter().next() {
            return Err(Unusable { key, what: format!("expected {expected}") });
        }
        let (mut issuers, mut asked) = (HashMap::new(), Vec::new());
        let leeway = config.leeway.get().as_secs_f64();
        for (name, issuer) in &config.issuers {
            let unusable = |key: &str, what: String| Unusable { key: format!("issuers.{name}.{key}"), what };
            let fetch = || fetch(issuer).map_err(|what| unusable("service", what));
            let keys = Keys::open(name, issuer, tasks, fetch()?).await;
            let keys = keys.map_err(|what| unusable(source(issuer), what))?;
            let audience = if issuer.audience.is_empty() { &config.audience } else { &issuer.audience };
            let mut ask = None;
            if let Some(introspection) = &issuer.introspection {
                let how = (fetch()?, clock);
                let asks = Introspection::new(name, issuer, introspection, audience, leeway, tasks, how)
                    .map_err(|key| {
                        unusable(&format!("introspection.{key}"), "it can't be sent".to_owned())
                    })?;
                let asks: Arc<dyn Ask> = Arc::new(asks);
                ask = issuer.has_no_keys().then(|| asks.clone());
                asked.push((introspection.prefix.clone(), asks));
            }
            let trusted = Trusted {
                audience: audience.clone(),
                relax: issuer.relax.clone(),
                roles: issuer.roles.clone(),
                has_secret: issuer.secret.is_some(),
                keys,
                asked: ask,
            };
            issuers.insert(issuer.issuer.clone(), trusted);
        }
        let api_keys = ApiKeys::open(&config.api_keys, tasks).await;
        let api_keys = api_keys.map_err(|(key, what)| Unusable { key: format!("api_keys.{key}"), what })?;
        Ok(Self(Arc::new(Inner {
            api_keys,
            certificates: config.certificates.clone(),
            issuers,
            asked,
            leeway,
            max_token: config.max_token.as_usize(),
            cache: Cache::new(config.cache),
            clock,
            query_token: config.query_token,
            challenges: Challenges::new(config),
            refused: Counts::default(),
        })))
    }

    /// Who sent `token`, if it was verified before and still holds. Allocates nothing, waits for nothing.
    #[must_use]
    pub fn known(&self, token: &str) -> Option<Principal> {
        self.known_with(token, None)
    }

    /// The same, of who shows `certificate` (DER) on the connection: tokens that are bound to it are good too.
    #[must_use]
    pub fn known_with(&self, token: &str, certificate: Option<&[u8]>) -> Option<Principal> {
        let principal =
            self.0.cache.as_ref()?.get(token, self.0.now(), |verified| verified.principal.clone())?;
        is_proven(&principal, certificate).then_some(principal)
    }

    /// Verifies `token`: who sent it, or why it is refused. Waits for keys at most, and for those no longer than `wait` of the
    /// issuer and the deadline of the request in whose context it runs.
    ///
    /// # Errors
    /// [`Refusal`]. It is for the log: tell the caller no more than whether it [is unavailable](Refusal::is_unavailable).
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn verify(&self, token: &str) -> Result<Principal, Refusal> {
        self.verify_with(token, None).await
    }

    /// The same, of who shows `certificate` (DER) on the connection: tokens that are bound to it (RFC 8705 section 3.1) are good too.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    ///
    /// # Cancel safety
    /// As [`Verifier::verify`].
    pub async fn verify_with(&self, token: &str, certificate: Option<&[u8]>) -> Result<Principal, Refusal> {
        if let Some(principal) = self.known_with(token, certificate) {
            return Ok(principal);
        }
        let principal = self.0.verify(token).await?;
        if is_proven(&principal, certificate) { Ok(principal) } else { Err(Refusal::SenderConstrained) }
    }

    /// Whose key it is ([`api_key`](crate::api_key)). Allocates nothing, waits for nothing.
    ///
    /// # Errors
    /// [`Refusal::UnknownApiKey`] or [`Refusal::ExpiredApiKey`], for the log.
    pub fn api_key(&self, key: &[u8]) -> Result<Principal, Refusal> {
        match &self.0.api_keys {
            Some(keys) => keys.owner(key, self.0.now()),
            None => Err(Refusal::UnknownApiKey),
        }
    }

    /// Whose certificate (DER) it is, which was verified: of whom is configured ([`certificate`](crate::certificate)).
    #[must_use]
    pub fn certificate(&self, certificate: &[u8]) -> Option<Principal> {
        let config = &self.0.certificates;
        if config.is_empty() { None } else { certificate::owner(certificate)?.trusted_by(config) }
    }

    /// The same, of who sent `request`: the certificate is read once a connection.
    pub(crate) fn certified<B>(&self, request: &Request<B>) -> Option<Principal> {
        let config = &self.0.certificates;
        if config.is_empty() {
            return None;
        }
        certificate::owner_of(request)?.as_ref().as_ref()?.trusted_by(config)
    }

    /// Where requests have their keys, if there are any.
    pub(crate) fn api_keys(&self) -> Option<&ApiKeys> {
        self.0.api_keys.as_ref()
    }

    /// Forgets `token`, which was revoked: the next sight of it is a first one. A JWT that its issuer has revoked is still
    /// valid by itself until it expires; one that its issuer is asked about is not.
    pub fn forget(&self, token: &str) {
        if let Some(cache) = &self.0.cache {
            cache.remove(token);
        }
    }

    /// Forgets the tokens of `issuer` with this `jti`. Looks at all that is remembered: for what happens now and then.
    pub fn forget_id(&self, issuer: &str, id: &str) {
        let is_it = |verified: &Verified| {
            let Identity { issuer: of, claims, .. } = &*verified.principal.0;
            of == issuer && claims.get("jti").and_then(serde_json::Value::as_str) == Some(id)
        };
        if let Some(cache) = &self.0.cache {
            cache.remove_if(is_it);
        }
    }

    /// Readiness: fails while no key of any issuer is known, so that nobody could be let in. One issuer is enough.
    #[must_use]
    pub fn check(&self) -> Check {
        let inner = Arc::downgrade(&self.0);
        Check::readiness("auth.keys", move || {
            let can_verify = inner.upgrade().is_none_or(|inner| inner.can_verify());
            let missing = || Error::new(Kind::Unavailable).with_detail("no key of any issuer is known yet");
            std::future::ready(if can_verify { Ok(()) } else { Err(missing()) })
        })
        .with_timeout(Duration::from_secs(1))
        // What it looks at is the outcome of attempts already.
        .with_failure_threshold(1)
    }

    /// For the admin page: the issuers with their keys, how old those are, and what became of fetching them; refusals by reason.
    /// No secrets.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let issuers = self.0.issuers.iter().map(|(issuer, trusted)| {
            let mut told = trusted.keys.to_json();
            told["issuer"] = issuer.as_str().into();
            told["is_asked"] = trusted.asked.is_some().into();
            (trusted.keys.name().to_owned(), told)
        });
        let refused = self.0.refused.iter().map(|(refusal, count)| (refusal.name().to_owned(), count.into()));
        serde_json::json!({
            "issuers": issuers.collect::<serde_json::Map<_, _>>(),
            "takes_api_keys": self.0.api_keys.is_some(),
            "refused": refused.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// Tells its metrics: `mainstay.auth.refused`, by `reason` ([`Refusal::name`]) and `kind`.
    pub fn observe(&self, to: &mut Observations) {
        self.0.refused.observe(to);
    }

    /// What is answered to who is not let in.
    pub(crate) fn challenges(&self) -> &Challenges {
        &self.0.challenges
    }

    pub(crate) fn count(&self, refusal: Refusal) {
        self.0.refused.add(refusal);
    }

    pub(crate) fn takes_query_token(&self) -> bool {
        self.0.query_token
    }
}

impl Inner {
    fn can_verify(&self) -> bool {
        // Those that are asked about tokens need no keys.
        let knows = |issuer: &Trusted| issuer.asked.is_some() || !issuer.keys.current().is_empty();
        let others = self.api_keys.is_some() || !self.certificates.is_empty();
        others || self.issuers.is_empty() || self.issuers.values().any(knows)
    }

    fn now(&self) -> f64 {
        self.clock.now().as_secs_f64()
    }

    async fn verify(&self, text: &str) -> Result<Principal, Refusal> {
        if text.len() > self.max_token {
            return Err(Refusal::TooLong);
        }
        if let Some(asked) = self.asked_about(text) {
            return self.ask(asked, text).await;
        }
        let token = Token::parse(text)?;
        let issuer = self.issuers.get(&token.claims.issuer).ok_or(Refusal::UnknownIssuer)?;
        if let Some(asked) = &issuer.asked {
            return self.ask(asked, text).await;
        }
        // What costs little comes first, so that nobody makes us fetch or compute with a token that is refused anyway.
        issuer.check_header(&token.header)?;
        let expires = issuer.check_claims(&token.claims, self.now(), self.leeway)?;
        let key = issuer.signed_by(&token).await?;
        let bound = token.claims.certificate.filter(|_| !issuer.relaxes(Relaxation::Cnf));
        let Claims { issuer: name, subject, client, scopes, all, .. } = token.claims;
        let principal = Principal(Arc::new(Identity {
            issuer: name,
            subject,
            client,
            scopes,
            roles: at_path(&all, &issuer.roles),
            expires,
            claims: all,
            means: Means::Bearer,
            bound,
        }));
        if let Some(cache) = &self.cache {
            let verified = Verified { principal: principal.clone(), until: expires, key: Some(key) };
            cache.insert(text, verified, self.now());
        }
        Ok(principal)
    }

    /// Who is asked about an opaque token: one of them, by what is configured.
    fn asked_about(&self, text: &str) -> Option<&Arc<dyn Ask>> {
        let with_prefix =
            |prefix: &Option<String>| prefix.as_ref().is_some_and(|prefix| text.starts_with(prefix));
        let found = self.asked.iter().find(|(prefix, _)| with_prefix(prefix));
        let is_opaque = || text.split('.').count() != 3;
        let found = found.or_else(|| self.asked.iter().find(|(prefix, _)| prefix.is_none() && is_opaque()));
        found.map(|(_, asked)| asked)
    }

    async fn ask(&self, asked: &Arc<dyn Ask>, text: &str) -> Result<Principal, Refusal> {
        if !introspection::is_token(text) {
            return Err(Refusal::NotAToken);
        }
        let (principal, until) = asked.clone().ask(text.to_owned()).await?;
        if let Some(cache) = &self.cache {
            let verified = Verified { principal: principal.clone(), until, key: None };
            cache.insert(text, verified, self.now());
        }
        Ok(principal)
    }
}

impl Trusted {
    fn relaxes(&self, rule: Relaxation) -> bool {
        self.relax.contains(&rule)
    }

    fn check_header(&self, header: &Header) -> Result<(), Refusal> {
        if header.algorithm.family() == AlgorithmFamily::Hmac && !self.has_secret {
            return Err(Refusal::SymmetricAlgorithm);
        }
        match header.kind.as_deref() {
            Some("at+jwt") => Ok(()),
            // Others have a type of their own, such as `logout+jwt`, and never pass for access tokens.
            None | Some("jwt") if self.relaxes(Relaxation::Typ) => Ok(()),
            _ => Err(Refusal::WrongType),
        }
    }

    /// When it expires.
    fn check_claims(&self, claims: &Claims, now: f64, leeway: f64) -> Result<f64, Refusal> {
        let expires = claims.expires.ok_or(Refusal::MissingExpiry)?;
        if now >= expires + leeway {
            return Err(Refusal::Expired);
        }
        if claims.not_before.is_some_and(|begin| begin > now + leeway) {
            return Err(Refusal::NotYetValid);
        }
        match claims.issued_at {
            Some(issued) if issued > now + leeway => return Err(Refusal::IssuedInFuture),
            None if !self.relaxes(Relaxation::Iat) => return Err(Refusal::MissingIssuedAt),
            _ => {}
        }
        if claims.audience.is_empty() {
            return Err(Refusal::MissingAudience);
        }
        if !claims.audience.iter().any(|audience| self.audience.contains(audience)) {
            return Err(Refusal::WrongAudience);
        }
        let has_subject = claims.subject.as_ref().is_some_and(|subject| !subject.is_empty());
        if !has_subject && !self.relaxes(Relaxation::Sub) {
            return Err(Refusal::MissingSubject);
        }
        // `azp` is not what RFC 9068 asks for.
        if !claims.all.contains_key("client_id") && !self.relaxes(Relaxation::ClientId) {
            return Err(Refusal::MissingClient);
        }
        if !claims.has_id && !self.relaxes(Relaxation::Jti) {
            return Err(Refusal::MissingTokenId);
        }
        // A certificate is compared with that of each connection; of other keys nobody has brought proof.
        if claims.is_bound && claims.certificate.is_none() && !self.relaxes(Relaxation::Cnf) {
            return Err(Refusal::SenderConstrained);
        }
        Ok(expires)
    }

    /// The key that has signed it.
    async fn signed_by(&self, token: &Token<'_>) -> Result<Arc<Key>, Refusal> {
        match self.look(token) {
            Err(NotFound::Unknown) => {}
            Err(NotFound::Refused(refusal)) => return Err(refusal),
            Ok(signed) => return signed,
        }
        self.keys.refreshed().await;
        match self.look(token) {
            Err(NotFound::Unknown) if self.keys.current().is_empty() => Err(Refusal::KeysUnavailable),
            Err(NotFound::Unknown) => Err(Refusal::UnknownKey),
            Err(NotFound::Refused(refusal)) => Err(refusal),
            Ok(signed) => signed,
        }
    }

    fn look(&self, token: &Token<'_>) -> Result<Result<Arc<Key>, Refusal>, NotFound> {
        let keys = self.keys.current();
        let mut found = keys.find(token.header.key_id.as_deref(), token.header.algorithm)?;
        let key = found.find(|key| key.has_signed(token.signed, &token.signature));
        Ok(key.cloned().ok_or(Refusal::BadSignature))
    }
}

/// The key of the configuration that says where keys are.
fn source(issuer: &Issuer) -> &'static str {
    if issuer.jwks.is_some() {
        "jwks"
    } else if issuer.jwks_file.is_some() {
        "jwks_file"
    } else if issuer.jwks_url.is_some() {
        "jwks_url"
    } else {
        "issuer"
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: HashMap<_, _> =
            self.0.issuers.iter().map(|(name, issuer)| (name, &issuer.keys)).collect();
        f.debug_struct("Verifier").field("issuers", &issuers).field("cache", &self.0.cache).finish()
    }
}
