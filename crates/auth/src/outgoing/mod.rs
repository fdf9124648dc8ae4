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
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderValue;
use mainstay_core::{
    BoxError,
    context::{Deadline, RequestContext},
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

/// What the calls of one service show for themselves. Cloning is cheap and shares the tokens; with the last clone, of this and
/// of what it was made by, ends what keeps them current.
#[derive(Clone, Default)]
pub struct Credentials(Arc<HashMap<String, Arc<dyn Source>>>);

/// What a call shows for itself.
#[non_exhaustive]
pub enum Credential {
    /// Nothing.
    None,
    /// This, in `Authorization`; marked as sensitive.
    Ready(HeaderValue),
    /// What this brings.
    Awaited(Awaited),
}

/// What a call is to show, to come. An error says of which kind it is
/// ([`Classified`]).
pub type Awaited = Pin<Box<dyn Future<Output = Result<Option<HeaderValue>, BoxError>> + Send>>;

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
        let named = |registration: &Registration| Named::new(registration.service.as_ref(), services);
        let single = config.clients.iter().map(|(name, client)| (format!("clients.{name}"), client));
        for (of, client) in config.client.iter().map(|client| ("client".to_owned(), client)).chain(single) {
            named(client).map_err(|what| Unusable { key: format!("outgoing.{of}.service"), what })?;
        }
        let fetch = |registration: &Registration| {
            let http = Http::new(tasks.clone(), registration.timeout.get(), registration.ca_file.clone());
            http.by_name(named(registration).ok().flatten())
        };
        Ok(Self(Arc::new(Issuers::open(config, tasks, Clock::System, fetch)?)))
    }

    /// What calls made by the service `name` show: as the client of `auth.outgoing.clients` that has its name, else as
    /// `auth.outgoing.client`.
    #[must_use]
    pub fn of(&self, name: &str) -> Credentials {
        self.0.of(name)
    }
}

impl Credentials {
    /// Whether no call shows anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a call to `service` shows; a service that no target is configured for is shown nothing. In the context of the request
    /// that is being handled, whose token may be passed on. What it brings may take longer than `deadline`.
    #[must_use]
    pub fn credential(&self, service: &str, deadline: Deadline) -> Credential {
        self.0.get(service).map_or(Credential::None, |source| source.credential(deadline))
    }

    /// `service` says that `authorization`, which a call showed it, is not valid: it is dropped, if it is not that new that
    /// another one would be no better. Whether another one may be had.
    #[must_use]
    pub fn refused(&self, service: &str, authorization: &HeaderValue) -> bool {
        self.0.get(service).is_some_and(|source| source.refused(authorization))
    }
}

impl Credential {
    fn awaited(awaited: impl Future<Output = Result<HeaderValue, Failed>> + Send + 'static) -> Self {
        Self::Awaited(Box::pin(async move {
            match awaited.await {
                Ok(authorization) => Ok(Some(authorization)),
                Err(failed) => Err(Classified::from(failed).into()),
            }
        }))
    }

    fn failed(failed: Failed) -> Self {
        Self::awaited(std::future::ready(Err(failed)))
    }
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
            None => Credential::awaited(self.fetched(deadline)),
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
        Credential::failed(self.0.clone())
    }

    fn refused(&self, _: &HeaderValue) -> bool {
        false
    }
}

/// The clients of this process, and the tokens that they have.
struct Issuers<P> {
    targets: BTreeMap<String, Target>,
    /// Without a name: `auth.outgoing.client`.
    endpoints: BTreeMap<Option<String>, Arc<Endpoint<P>>>,
    made: Mutex<Made<P>>,
    tasks: Tasks,
    clock: Clock,
}

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
        fetch: impl Fn(&Registration) -> P,
    ) -> Result<Self, Unusable> {
        let mut wrong = None;
        config.wrong(&mut |key, expected| {
            let what = format!("expected {expected}");
            wrong.get_or_insert(Unusable { key: format!("outgoing.{key}"), what });
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let named = config.clients.iter().map(|(name, registration)| (Some(name.clone()), registration));
        let clients = config.client.iter().map(|registration| (None, registration)).chain(named);
        let mut endpoints = BTreeMap::new();
        for (name, registration) in clients {
            let endpoint = Endpoint::new(registration, "token_endpoint", fetch(registration), clock)
                .map_err(|key| {
                    let of = name.as_ref().map_or("client".to_owned(), |name| format!("clients.{name}"));
                    Unusable { key: format!("outgoing.{of}.{key}"), what: "it can't be sent".to_owned() }
                })?;
            endpoints.insert(name, Arc::new(endpoint));
        }
        let made = Mutex::new(Made { own: HashMap::new(), exchanges: HashMap::new() });
        Ok(Self { targets: config.targets.clone(), endpoints, made, tasks: tasks.clone(), clock })
    }

    fn of(&self, service: &str) -> Credentials {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let targets = self.targets.iter().filter(|(_, target)| target.mode != Mode::None);
        let sources =
            targets.map(|(name, target)| (name.clone(), self.source(service, name, target, &mut made)));
        Credentials(Arc::new(sources.collect()))
    }

    fn source(&self, service: &str, name: &str, target: &Target, made: &mut Made<P>) -> Arc<dyn Source> {
        if target.mode == Mode::Forward {
            return Arc::new(Forwarded);
        }
        let own = Some(service.to_owned()).filter(|_| target.client.is_none());
        let client =
            target.client.clone().or(own.filter(|own| self.endpoints.contains_key(&Some(own.clone()))));
        let Some(endpoint) = self.endpoints.get(&client) else {
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

impl<P> fmt::Debug for Issuers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers")
            .field("clients", &self.endpoints.keys())
            .field("targets", &self.targets.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Ready(_) => "Ready",
            Self::Awaited(_) => "Awaited",
        })
    }
}
