//! Who may do what, by policies in Cedar.
#![doc = include_str!("README.md")]

mod audit;
mod config;
mod decision;
mod entities;
mod explain;
mod index;
mod layer;
mod nesting;
mod principal;
mod resource;
mod set;
mod source;
mod watch;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use mainstay_core::{
    Result,
    error::{Error, Kind},
    metrics::Registry,
    task::Tasks,
};
use serde_json::Map;
use tokio::sync::watch as channel;
use tokio_util::sync::DropGuard;

use self::{audit::Counts, set::Set, source::Source};
pub use self::{
    audit::TARGET,
    config::{Audit, Config},
    decision::{Decision, Denied, Effect, Explanation, Outcome, Policy},
    layer::{Guard, PolicyLayer},
    resource::{Caller, Description, Question, Resource},
};
use crate::{Principal, Unusable};

#[cfg(test)]
mod tests;

/// Policies that decide. Clones share them; with the last one the watching of their files ends.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    _stop: Option<DropGuard>,
}

/// What decisions and the watching of files share.
struct Shared {
    current: ArcSwap<Set>,
    config: Config,
    counts: Counts,
    /// Why the changed files are not in use, where that is so.
    refused: channel::Sender<Option<String>>,
}

impl Policies {
    /// Reads and checks what is configured, without watching it: for tests, and for tools.
    ///
    /// Blocks while it reads.
    ///
    /// # Errors
    /// [`Unusable`], with file, line, policy and what was expected.
    pub fn read(config: &Config) -> Result<Self, Unusable> {
        let shared = Arc::new(Shared::read(config)?.0);
        Ok(Self(Arc::new(Inner { shared, _stop: None })))
    }

    /// Reads and checks what is configured, and takes over what changes in its files, in a task of `tasks`. A change that is
    /// wrong anywhere is refused as a whole, and told in the log.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn open(config: &Config, tasks: &Tasks) -> Result<Self, Unusable> {
        let config = config.clone();
        let reading = tokio::task::spawn_blocking(move || Shared::read(&config));
        let unread = |error: tokio::task::JoinError| unusable("paths", error.to_string());
        let (shared, source) = reading.await.map_err(unread)??;
        let shared = Arc::new(shared);
        let stop = tasks.stopping().child_token();
        let watch = watch::run(shared.clone(), source);
        tasks.spawn_detached(stop.clone().run_until_cancelled_owned(watch));
        Ok(Self(Arc::new(Inner { shared, _stop: Some(stop.drop_guard()) })))
    }

    /// Whether `principal` may do `action` to `resource`; the decision is counted, and logged where `audit` says so.
    ///
    /// # Errors
    /// [`Kind::PermissionDenied`] with [`Denied`] as its source: `?` in a handler answers with 403 or `PERMISSION_DENIED`.
    pub fn check(&self, principal: &Principal, action: &str, resource: &Resource) -> Result<()> {
        self.ask(&Question::new(principal, action, resource))
    }

    /// As [`check`](Self::check), for a question with context.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn ask(&self, question: &Question<'_>) -> Result<()> {
        let decision = self.decide(question);
        self.0.shared.counts.decided(decision.outcome);
        audit::log(self.0.shared.config.audit, question, &decision);
        if decision.is_permitted() {
            return Ok(());
        }
        Err(Error::new(Kind::PermissionDenied).with_source(Denied(decision)))
    }

    /// What would be decided, and why. Counts and logs nothing.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        self.0.shared.current.load().decide(question)
    }

    /// As [`decide`](Self::decide), with the policies that were evaluated and the entities that they were evaluated with.
    #[must_use]
    pub fn explain(&self, description: &Description) -> Explanation {
        let principal = description.principal.clone().into_principal();
        let context: Map<_, _> = description.context.clone().into_iter().collect();
        let Description { action, resource, .. } = description;
        let question = Question { principal: &principal, action, resource, context };
        self.0.shared.current.load().explain(&question)
    }

    /// Adds `auth.policy.decisions` (by `outcome`), `auth.policy.reloads` (by `outcome`) and `auth.policy.policies`.
    pub fn observe(&self, registry: &Registry) {
        let shared = self.0.shared.clone();
        registry.observe(move |to| {
            let [policies, ..] = shared.current.load().size();
            shared.counts.read(policies, to);
        });
    }
}

impl Shared {
    fn read(config: &Config) -> Result<(Self, Source), Unusable> {
        if let Some((key, expected)) = config.wrong().into_iter().next() {
            return Err(unusable(&key, format!("expected {expected}")));
        }
        let source = Source::read(config).map_err(|(key, what)| unusable(key, what))?;
        let set = Set::understand(&source, config).map_err(|(key, what)| unusable(key, what))?;
        let shared = Self {
            current: ArcSwap::from_pointee(set),
            config: config.clone(),
            counts: Counts::default(),
            refused: channel::Sender::new(None),
        };
        Ok((shared, source))
    }
}

fn unusable(key: &str, what: String) -> Unusable {
    Unusable { key: format!("policy.{key}"), what }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [policies, actions, entities] = self.0.shared.current.load().size();
        f.debug_struct("Policies")
            .field("policies", &policies)
            .field("actions", &actions)
            .field("entities", &entities)
            .finish()
    }
}
