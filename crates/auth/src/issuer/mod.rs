//! An OpenID provider of our own, for development, tests and small installations (feature `issuer`).
//!
//! [`Provider::open`] makes one from a [`Config`]; [`Provider::router`] is what a service, or a plain axum program, mounts.
//! When not to use it: where there is a provider already, or where people want to sign up, change passwords, use second factors
//! or log in by somebody else. `docs/issuer.md` says what it does and what it does not.
//!
//! | module | holds |
//! |---|---|
//! | `config` | [`Config`]: clients, users, keys, durations |
//! | `keys` | signing keys: made, kept, rotated, published |
//! | `client` | clients, and whether one is who it says |
//! | `token` | the token endpoint, one file a grant; tokens made and read |
//! | `authorize` | the authorization endpoint: a request, a login, a consent, a code |
//! | `users`, `session`, `pages` | people: who they are, that they are logged in, what they see |
//! | `userinfo`, `introspect`, `revoke`, `logout` | the other endpoints |
//! | `metadata` | what a client discovers |
//! | `store` | what is remembered: codes, grants, sessions |
//! | [`directory`] | users and clients in the database |
//! | `database` | SQLite and PostgreSQL, for all that is to outlive the process |
//! | `password`, `secret` | what people choose, and what nobody can guess |
//! | `faults` | a provider that misbehaves as it is told, for tests |
//! | `form`, `refused` | what comes in, bounded; what those hear who get nothing |
//!
//! Invariants: secrets, codes and tokens that are kept are hashed, compared in constant time and never logged; nothing of a
//! request comes back in an answer unescaped; what may happen once happens by one atomic step of the store.
//!
//! ```
//! use mainstay_auth::issuer::{Client, Config, Grant, Provider};
//! use mainstay_core::task::Tasks;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let orders = Client::with_secret("a long and random one")
//!     .with_grants([Grant::ClientCredentials])
//!     .with_scopes(["inventory:read"])
//!     .with_audiences(["inventory"]);
//! let config = Config::new("http://127.0.0.1:9400").with_client("orders", orders);
//! let provider = Provider::open(&config, &Tasks::new()).await?;
//! let app: axum::Router = provider.router(); // at its root: paths are those of the issuer's URL
//! # Ok(())
//! # }
//! ```

mod authorize;
mod client;
pub mod config;
#[cfg(any(feature = "issuer-sqlite", feature = "issuer-postgres"))]
mod database;
#[cfg(not(any(feature = "issuer-sqlite", feature = "issuer-postgres")))]
#[path = "database/none.rs"]
mod database;
pub mod directory;
mod faults;
mod form;
mod introspect;
mod keys;
mod logout;
mod metadata;
mod pages;
mod password;
mod refused;
mod revoke;
mod secret;
mod session;
mod store;
mod token;
mod userinfo;
mod users;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use mainstay_core::task::Tasks;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use self::{
    client::{Client as Known, Clients},
    database::Database,
    keys::Ring,
    store::{Failure, Store},
    users::Users,
};
pub use self::{
    config::{Algorithm, Client, Config, Grant, User},
    directory::Directory,
    faults::{Fault, Faults},
    password::hash_password,
};
use crate::{clock::Clock, fetch::Url};

/// So often what has ended is forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// An OpenID provider. Clones are the same one; with the last its task ends.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    config: Config,
    /// The path of the issuer's URL: empty, or with a slash at its beginning only.
    base: String,
    clients: Clients,
    users: Users,
    ring: Ring,
    store: Store,
    clock: Clock,
    faults: Option<Faults>,
    _stop: DropGuard,
}

/// The configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the identity provider can't be used: `{key}`: {what}")]
#[non_exhaustive]
pub struct Unusable {
    /// Which setting, within the section.
    pub key: String,
    /// What is wrong with it, or what was expected.
    pub what: String,
}

impl From<keys::Failed> for Unusable {
    fn from(failed: keys::Failed) -> Self {
        Self { key: failed.key.to_owned(), what: failed.what }
    }
}

impl Provider {
    /// Reads or makes its keys, and rotates them in a task of `tasks`.
    ///
    /// # Errors
    /// [`Unusable`] for the first value that can't be used; [`Section::check`](mainstay_core::config::Section::check) finds all
    /// but what is in files and keys.
    ///
    /// # Cancel safety
    /// When it is dropped a first key may have been written to `keys.file`, which the next one uses.
    pub async fn open(config: &Config, tasks: &Tasks) -> Result<Self, Unusable> {
        Self::open_with(config, tasks, Clock::System).await
    }

    pub(crate) async fn open_with(config: &Config, tasks: &Tasks, clock: Clock) -> Result<Self, Unusable> {
        if let Some((key, expected)) = config.wrong().into_iter().next() {
            return Err(Unusable {
                key: key.trim_end_matches('.').to_owned(),
                what: format!("expected {expected}"),
            });
        }
        let base = Url::parse(&config.issuer)
            .map(|url| url.path().trim_end_matches('/').to_owned())
            .unwrap_or_default();
        let failed = |what: Failure| Unusable { key: "store.url".to_owned(), what: what.to_string() };
        let database = match &config.store.url {
            None => None,
            Some(_) => Some(Database::open(&config.store).await.map_err(failed)?),
        };
        let directory = database.clone().map(|database| Directory::new(database, clock));
        if let Some(directory) = &directory {
            directory.tell_of_hidden(config).await.map_err(failed)?;
        }
        let clients = Clients::open(&config.clients, directory.clone());
        let clients = clients.map_err(|(id, what)| Unusable { key: format!("clients.{id}.jwks"), what })?;
        let users = Users::open(config, directory).await;
        let users = users.map_err(|what| Unusable { key: "users".to_owned(), what })?;
        let now = clock.now().as_secs();
        let store = database.map_or_else(Store::in_memory, Store::in_database);
        let ring = Ring::open(config, &store, now).await?;
        let stop = tasks.stopping().child_token();
        let stopping = stop.clone();
        let inner = Arc::new(Inner {
            config: config.clone(),
            base,
            clients,
            users,
            ring,
            store,
            clock,
            faults: config.faults.then(Faults::default),
            _stop: stop.drop_guard(),
        });
        let upkeep = upkeep(Arc::downgrade(&inner), inner.ring.interval());
        tasks.spawn_detached(stopping.run_until_cancelled_owned(upkeep));
        Ok(Self(inner))
    }

    /// What it answers, at the paths of the issuer's URL: merge it into the router of a service, rather than nesting it.
    ///
    /// Everything is public, as its clients prove who they are by other means than the tokens that it issues. Answers wait for
    /// nothing but the store and the body of the request, which has 10 s; bodies have at most 64 KiB.
    pub fn router(&self) -> Router {
        let at = |path: &str| format!("{}{path}", self.0.base);
        let router = Router::new()
            .route(&at("/.well-known/openid-configuration"), get(metadata::document))
            // RFC 8414 section 3: between host and path.
            .route(
                &format!("/.well-known/oauth-authorization-server{}", self.0.base),
                get(metadata::document),
            )
            .route(&at("/jwks"), get(metadata::jwks))
            .route(&at("/authorize"), get(authorize::show).post(authorize::submit))
            .route(&at("/token"), post(token::endpoint))
            .route(&at("/userinfo"), get(userinfo::endpoint).post(userinfo::endpoint))
            .route(&at("/introspect"), post(introspect::endpoint))
            .route(&at("/revoke"), post(revoke::endpoint))
            .route(&at("/logout"), get(logout::show).post(logout::submit))
            .with_state(self.clone());
        match &self.0.faults {
            None => router,
            Some(faults) => {
                let state = (self.clone(), faults.clone());
                let faulty = router.layer(axum::middleware::from_fn_with_state(state.clone(), faults::layer));
                faulty.route(&at("/faults"), post(faults::endpoint).with_state(state))
            }
        }
    }

    /// Its URL: `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.config.issuer
    }

    /// Its public keys now, as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> String {
        String::from_utf8_lossy(&self.0.ring.jwks()).into_owned()
    }

    /// Signs with a new key from now on, without notice: for when one has got into wrong hands, and for tests. With keys in a
    /// database it signs 10 s later, when its other processes know the key too. Tokens of the earlier keys stay good until they end.
    ///
    /// # Errors
    /// What went wrong with the new key; the earlier one goes on.
    ///
    /// # Cancel safety
    /// When it is dropped the keys have changed or have not.
    pub async fn rotate(&self) -> Result<(), Unusable> {
        Ok(self.0.ring.rotate(self.now()).await?)
    }

    /// What makes it misbehave; none unless `faults` is configured.
    #[must_use]
    pub fn faults(&self) -> Option<Faults> {
        self.0.faults.clone()
    }

    /// Seconds since 1970.
    fn now(&self) -> u64 {
        self.0.clock.now().as_secs()
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.0.config.issuer)
    }

    async fn client(&self, id: &str) -> Result<Option<Arc<Known>>, Failure> {
        self.0.clients.get(id).await
    }
}

/// Rotates keys and forgets what has ended, while there is a provider.
async fn upkeep(provider: std::sync::Weak<Inner>, interval: Duration) {
    let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
    loop {
        tokio::time::sleep(interval).await;
        let Some(inner) = provider.upgrade() else { return };
        let now = inner.clock.now().as_secs();
        if let Err(error) = inner.ring.turn(now).await {
            tracing::error!(error, "the signing keys could not be changed; the next try follows");
        }
        if Instant::now() < next_sweep {
            continue;
        }
        next_sweep = Instant::now() + SWEEP_INTERVAL;
        if let Err(error) = inner.store.sweep(now).await {
            tracing::warn!(%error, "the store of the identity provider could not be swept");
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("issuer", &self.issuer())
            .field("keys", &self.0.ring)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
