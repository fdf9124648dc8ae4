//! Tokens for calls to other services.
#![doc = include_str!("../../../../docs/outgoing-tokens.md")]

mod config;
mod exchange;
mod issued;
mod own;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use mainstay_core::{
    context::{Deadline, RequestContext},
    credentials::{Credential, Credentials},
    error::{Kind, mapping::Classified},
    task::Tasks,
};

pub use self::config::{Config, Mode, Target};
use self::{
    exchange::Exchange,
    issued::{Wanted, wanted},
    own::Own,
};
pub use crate::client::Registration;
use crate::{
    client::{Endpoint, Failed},
    clock::Clock,
    fetch::{Http, Named, Post, Services},
    verifier::Unusable,
};

/// Has tokens for the calls that the services of a process make. Cloning is cheap and shares them.
#[derive(Debug, Clone)]
pub struct Outgoing(Arc<Issuers<Http>>);

/// The tokens that the calls of one service show. Cloning is cheap and shares them; with the last clone, of this and of what it
/// was made by, ends what keeps them current.
///
/// A service that no target is configured for is shown nothing. What is passed on is the token of the request that is being
/// handled. One that is refused is dropped, unless it is that new that another one would be no better.
#[derive(Clone, Default)]
pub struct Tokens(Arc<ArcSwap<Sources>>);

/// By target.
type Sources = HashMap<String, Arc<dyn Source>>;

impl Outgoing {
    /// As configured. Nothing is asked for before the first call.
    ///
    /// # Errors
    /// [`Unusable`] for the first value that can't be used.
    pub fn open(config: &Config, tasks: &Tasks) -> Result<Self, Unusable> {
        Self::open_in(config, tasks, None)
    }

    /// As [`open`](Self::open), in a system where issuers may be `services` (see [`Registration::service`]).
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_among(
        config: &Config,
        tasks: &Tasks,
        services: &Arc<dyn Services>,
    ) -> Result<Self, Unusable> {
        Self::open_in(config, tasks, Some(services))
    }

    fn open_in(
        config: &Config,
        tasks: &Tasks,
        services: Option<&Arc<dyn Services>>,
    ) -> Result<Self, Unusable> {
        let (services, of) = (services.cloned(), tasks.clone());
        let fetch = move |registration: &Registration| {
            let named = Named::new(registration.service.as_ref(), services.as_ref())?;
            let http = Http::new(of.clone(), registration.timeout.get(), registration.ca_file.clone());
            Ok(http.by_name(named))
        };
        Ok(Self(Arc::new(Issuers::open(config, tasks, Clock::System, fetch)?)))
    }

    /// What calls made by the service `name` show: as the client of `auth.outgoing.clients` that has its name, else as
    /// `auth.outgoing.client`.
    #[must_use]
    pub fn of(&self, name: &str) -> Tokens {
        self.0.of(name)
    }

    /// From now on as `config` says, the [`Tokens`] that were given out too. What has not changed keeps its tokens; calls that wait for
    /// one of before go on.
    ///
    /// # Errors
    /// [`Unusable`] for the first value that can't be used; then nothing changes.
    pub fn reconfigure(&self, config: &Config) -> Result<(), Unusable> {
        self.0.reconfigure(config)
    }
}

impl Tokens {
    /// Whether no call shows anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }
}

impl Credentials for Tokens {
    fn credential(&self, service: &str, deadline: Deadline) -> Credential {
        self.0.load().get(service).map_or(Credential::None, |source| source.credential(deadline))
    }

    fn refused(&self, service: &str, credential: &HeaderValue) -> bool {
        self.0.load().get(service).is_some_and(|source| source.refused(credential))
    }
}

fn awaited(token: impl Future<Output = Result<HeaderValue, Failed>> + Send + 'static) -> Credential {
    Credential::Awaited(Box::pin(async move {
        token.await.map(Some).map_err(|failed| Classified::from(failed).into())
    }))
}

fn failing(failed: Failed) -> Credential {
    awaited(std::future::ready(Err(failed)))
}

/// Whose token calls to one target show.
trait Source: Send + Sync {
    fn credential(&self, deadline: Deadline) -> Credential;

    fn refused(&self, authorization: &HeaderValue) -> bool;
}

impl Source for Own {
    fn credential(&self, deadline: Deadline) -> Credential {
        match self.current() {
            Some(authorization) => Credential::Ready(authorization),
            None => awaited(self.fetched(deadline)),
        }
    }

    fn refused(&self, authorization: &HeaderValue) -> bool {
        Self::refused(self, authorization)
    }
}

impl<P: Post> Source for Exchange<P> {
    fn credential(&self, deadline: Deadline) -> Credential {
        Self::credential(self, deadline)
    }

    fn refused(&self, authorization: &HeaderValue) -> bool {
        Self::refused(self, authorization)
    }
}

/// The token of the request that is being handled.
struct Forwarded;

impl Source for Forwarded {
    fn credential(&self, _: Deadline) -> Credential {
        let authorization = RequestContext::current().and_then(|context| context.authorization().cloned());
        authorization.map_or(Credential::None, Credential::Ready)
    }

    fn refused(&self, _: &HeaderValue) -> bool {
        false
    }
}

/// A service that is known to nobody: its calls fail rather than go without.
struct Nobody(Failed);

impl Source for Nobody {
    fn credential(&self, _: Deadline) -> Credential {
        failing(self.0.clone())
    }

    fn refused(&self, _: &HeaderValue) -> bool {
        false
    }
}

/// The clients of this process, and the tokens that they have.
struct Issuers<P> {
    fetch: Box<Fetches<P>>,
    current: Mutex<Current<P>>,
    tasks: Tasks,
    clock: Clock,
}

/// How each client asks; or what is wrong with its `service`.
type Fetches<P> = dyn Fn(&Registration) -> Result<P, String> + Send + Sync;

/// What is configured now, and what was made of it.
struct Current<P> {
    config: Config,
    endpoints: Endpoints<P>,
    made: Made<P>,
    /// To whom tokens were given: as which service they call.
    given: Vec<(String, Weak<ArcSwap<Sources>>)>,
}

/// Without a name: `auth.outgoing.client`.
type Endpoints<P> = BTreeMap<Option<String>, Arc<Endpoint<P>>>;

/// What was made so far, so that equal tokens are one: by client and by what is asked for, or by client and target.
struct Made<P> {
    own: HashMap<(Option<String>, Wanted), Arc<Own>>,
    exchanges: HashMap<(Option<String>, String), Arc<Exchange<P>>>,
}

impl<P: Post> Issuers<P> {
    fn open(
        config: &Config,
        tasks: &Tasks,
        clock: Clock,
        fetch: impl Fn(&Registration) -> Result<P, String> + Send + Sync + 'static,
    ) -> Result<Self, Unusable> {
        let none = Current {
            config: Config::default(),
            endpoints: BTreeMap::new(),
            made: Made { own: HashMap::new(), exchanges: HashMap::new() },
            given: Vec::new(),
        };
        let (fetch, current) = (Box::new(fetch), Mutex::new(none));
        let new = Self { fetch, current, tasks: tasks.clone(), clock };
        new.reconfigure(config)?;
        Ok(new)
    }

    fn reconfigure(&self, config: &Config) -> Result<(), Unusable> {
        let mut wrong = None;
        config.wrong(&mut |key, expected| {
            let what = format!("expected {expected}");
            wrong.get_or_insert(Unusable { key: format!("outgoing.{key}"), what });
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let mut current = self.current();
        let endpoints = self.endpoints(config, &current)?;
        let is_kept = |client: &Option<String>| match (current.endpoints.get(client), endpoints.get(client)) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        let is_same = |target: &String| current.config.targets.get(target) == config.targets.get(target);
        let mut made = Made { own: current.made.own.clone(), exchanges: current.made.exchanges.clone() };
        made.own.retain(|(client, _), _| is_kept(client));
        made.exchanges.retain(|(client, target), _| is_kept(client) && is_same(target));
        (current.config, current.endpoints, current.made) = (config.clone(), endpoints, made);
        for (service, tokens) in current.given.clone() {
            if let Some(tokens) = tokens.upgrade() {
                tokens.store(Arc::new(self.sources(&mut current, &service)));
            }
        }
        // What no call shows any more need not be kept current.
        current.made.exchanges.retain(|_, exchange| Arc::strong_count(exchange) > 1);
        current.made.own.retain(|_, own| Arc::strong_count(own) > 1);
        Ok(())
    }

    /// Where the clients of `config` ask: as before, where nothing has changed.
    fn endpoints(&self, config: &Config, current: &Current<P>) -> Result<Endpoints<P>, Unusable> {
        let mut endpoints = BTreeMap::new();
        for (name, registration) in config.registrations() {
            if current.config.registrations().any(|known| known == (name, registration))
                && let Some(known) = current.endpoints.get(&name.cloned())
            {
                endpoints.insert(name.cloned(), known.clone());
                continue;
            }
            let unusable = |key: &str, what: String| {
                let of = name.map_or("client".to_owned(), |name| format!("clients.{name}"));
                Unusable { key: format!("outgoing.{of}.{key}"), what }
            };
            let fetch = (self.fetch)(registration).map_err(|what| unusable("service", what))?;
            let endpoint = Endpoint::new(registration, "token_endpoint", fetch, self.clock)
                .map_err(|key| unusable(key, "it can't be sent".to_owned()))?;
            endpoints.insert(name.cloned(), Arc::new(endpoint));
        }
        Ok(endpoints)
    }

    fn of(&self, service: &str) -> Tokens {
        let mut current = self.current();
        let tokens = Tokens(Arc::new(ArcSwap::from_pointee(self.sources(&mut current, service))));
        current.given.retain(|(_, tokens)| tokens.strong_count() > 0);
        current.given.push((service.to_owned(), Arc::downgrade(&tokens.0)));
        tokens
    }

    fn sources(&self, current: &mut Current<P>, service: &str) -> Sources {
        let Current { config, endpoints, made, .. } = current;
        let targets = config.targets.iter().filter(|(_, target)| target.mode != Mode::None);
        targets
            .map(|(name, target)| (name.clone(), self.source(endpoints, made, service, (name, target))))
            .collect()
    }

    fn current(&self) -> MutexGuard<'_, Current<P>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(
        &self,
        endpoints: &Endpoints<P>,
        made: &mut Made<P>,
        service: &str,
        (name, target): (&str, &Target),
    ) -> Arc<dyn Source> {
        if target.mode == Mode::Forward {
            return Arc::new(Forwarded);
        }
        let own = Some(service.to_owned()).filter(|_| target.client.is_none());
        let client = target.client.clone().or(own.filter(|own| endpoints.contains_key(&Some(own.clone()))));
        let Some(endpoint) = endpoints.get(&client) else {
            let text = format!(
                "the service `{service}` has no client for calls to `{name}`: add `auth.outgoing.clients.{service}`"
            );
            return Arc::new(Nobody(Failed::new(Kind::Internal, text)));
        };
        let mut own = |purpose: String, wanted: Wanted| {
            let make = || Arc::new(Own::new(purpose, endpoint.clone(), wanted.clone(), &self.tasks));
            made.own.entry((client.clone(), wanted.clone())).or_insert_with(make).clone()
        };
        if target.mode == Mode::ClientCredentials {
            return own(format!("calls to {name}"), wanted(target));
        }
        let actor = target.actor.then(|| own("acting for others".to_owned(), Vec::new()));
        let make = || Arc::new(Exchange::new(endpoint.clone(), actor, target, &self.tasks, self.clock));
        made.exchanges.entry((client.clone(), name.to_owned())).or_insert_with(make).clone()
    }
}

impl<P: Post> fmt::Debug for Issuers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current();
        f.debug_struct("Issuers")
            .field("clients", &current.endpoints.keys())
            .field("targets", &current.config.targets.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.load().keys()).finish()
    }
}
