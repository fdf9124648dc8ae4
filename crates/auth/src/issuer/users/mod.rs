//! People who may log in.

mod throttle;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use mainstay_core::config::Secret;
use tokio::sync::Semaphore;

use self::throttle::Throttle;
use super::{config, password, secret};

/// So many passwords are hashed at once: each takes 19 MiB and a core.
const AT_ONCE: usize = 4;
/// So long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Somebody who is known.
#[derive(Debug)]
pub(super) struct User {
    /// What services know them by.
    pub(super) subject: String,
    /// What they log in with.
    pub(super) login: String,
    pub(super) config: config::User,
    hash: Secret,
}

/// All that are known.
#[derive(Debug)]
pub(super) struct Users {
    by_login: BTreeMap<String, Arc<User>>,
    by_subject: BTreeMap<String, Arc<User>>,
    /// What is computed for somebody who is not there, so that it takes as long.
    decoy: Secret,
    throttle: Throttle,
    turns: Semaphore,
}

/// Why somebody is not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// User or password; which one nobody learns.
    Wrong,
    /// There were too many tries; so many seconds are left.
    Wait(u64),
    /// Too many log in at once.
    Busy,
}

impl Users {
    /// Of a configuration that was checked. Passwords that stand there as they are get hashed, which takes a moment each.
    pub(super) async fn open(config: &config::Config) -> Result<Self, String> {
        let mut by_login = BTreeMap::new();
        for (login, user) in &config.users {
            let hash = match (&user.password_hash, &user.password) {
                (Some(hash), _) => hash.expose().clone(),
                (None, Some(password)) => {
                    tracing::warn!(
                        user = login,
                        "the password of a user stands in the configuration: use `password_hash`"
                    );
                    hashed(password.expose().clone()).await?
                }
                (None, None) => return Err(format!("users.{login} has no password")),
            };
            let subject = user.subject.clone().unwrap_or_else(|| login.clone());
            // The password itself is not needed any more.
            let config = config::User { password: None, password_hash: None, ..user.clone() };
            let user = User { subject, login: login.clone(), config, hash: Secret::new(hash) };
            by_login.insert(login.clone(), Arc::new(user));
        }
        let by_subject =
            by_login.values().map(|user: &Arc<User>| (user.subject.clone(), Arc::clone(user))).collect();
        let decoy = hashed(secret::random().map_err(|refused| refused.description)?).await?;
        Ok(Self {
            by_login,
            by_subject,
            decoy: Secret::new(decoy),
            throttle: Throttle::new(config.failures_of_user, config.failures_of_address),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    pub(super) fn by_subject(&self, subject: &str) -> Option<Arc<User>> {
        self.by_subject.get(subject).cloned()
    }

    /// Who it is, if the password is right.
    pub(super) async fn log_in(
        &self,
        login: &str,
        password: &str,
        address: Option<IpAddr>,
        now: u64,
    ) -> Result<Arc<User>, Failed> {
        // Counted before it is known to fail, so that many at once are no way around.
        self.throttle.begin(login, address, now).map_err(Failed::Wait)?;
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, self.turns.acquire()).await else {
            return Err(Failed::Busy);
        };
        let user = self.by_login.get(login).cloned();
        let hash = user.as_ref().map_or(&self.decoy, |user| &user.hash).clone();
        let password = Secret::new(password.to_owned());
        let checked =
            tokio::task::spawn_blocking(move || password::is_password(password.expose(), hash.expose()))
                .await;
        drop(turn);
        match (checked, user) {
            (Ok(true), Some(user)) => {
                self.throttle.succeeded(login, address);
                Ok(user)
            }
            _ => Err(Failed::Wrong),
        }
    }
}

async fn hashed(password: String) -> Result<String, String> {
    let hash = tokio::task::spawn_blocking(move || password::hash_password(&password)).await;
    Ok(hash.map_err(|error| error.to_string())??)
}
