//! People who may log in.

mod throttle;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use mainstay_core::config::Secret;
use tokio::sync::Semaphore;

use self::throttle::Throttle;
use super::{
    config,
    directory::{Directory, Recent},
    password, secret,
    store::Failure,
};

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
    /// Logins of before are over.
    pub(super) since: u64,
    pub(super) hash: Secret,
}

/// All that are known: those of the configuration, and those in the database who have neither the name nor the subject of one of them.
#[derive(Debug)]
pub(super) struct Users {
    by_login: BTreeMap<String, Arc<User>>,
    by_subject: BTreeMap<String, Arc<User>>,
    directory: Option<Directory>,
    /// Of the directory, by their subjects.
    recent: Recent<User>,
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
    /// Too many log in at once, or nobody can say who it is.
    Busy,
}

impl Users {
    /// Of a configuration that was checked. Passwords that stand there as they are get hashed, which takes a moment each.
    pub(super) async fn open(config: &config::Config, directory: Option<Directory>) -> Result<Self, String> {
        let mut by_login = BTreeMap::new();
        for (login, user) in &config.users {
            let hash = match (&user.password_hash, &user.password) {
                (Some(hash), _) => hash.expose().clone(),
                (None, Some(password)) => {
                    tracing::warn!(
                        user = login,
                        "the password of a user stands in the configuration: use `password_hash`"
                    );
                    password::hashed(password.clone()).await?
                }
                (None, None) => return Err(format!("users.{login} has no password")),
            };
            let subject = user.subject.clone().unwrap_or_else(|| login.clone());
            // The password itself is not needed any more.
            let config = config::User { password: None, password_hash: None, ..user.clone() };
            let user = User { subject, login: login.clone(), config, since: 0, hash: Secret::new(hash) };
            by_login.insert(login.clone(), Arc::new(user));
        }
        let by_subject =
            by_login.values().map(|user: &Arc<User>| (user.subject.clone(), Arc::clone(user))).collect();
        let decoy = secret::random().map_err(|refused| refused.description)?;
        let decoy = password::hashed(Secret::new(decoy)).await?;
        Ok(Self {
            by_login,
            by_subject,
            directory,
            recent: Recent::default(),
            decoy: Secret::new(decoy),
            throttle: Throttle::new(config.failures_of_user, config.failures_of_address),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// Whoever has logged in at that time, if they are known still and have the same password.
    pub(super) async fn logged_in(
        &self,
        subject: &str,
        authenticated: u64,
    ) -> Result<Option<Arc<User>>, Failure> {
        let user = match (self.by_subject.get(subject), &self.directory) {
            (Some(user), _) => Some(Arc::clone(user)),
            (None, None) => None,
            (None, Some(directory)) => {
                let found = self.recent.get(subject, directory.user_by_subject(subject)).await?;
                found.filter(|user| !self.by_login.contains_key(&user.login))
            }
        };
        Ok(user.filter(|user| user.since <= authenticated))
    }

    /// Always as they are now: a password that was changed is not good for another moment.
    async fn by_login(&self, login: &str) -> Result<Option<Arc<User>>, Failure> {
        match (self.by_login.get(login), &self.directory) {
            (Some(user), _) => Ok(Some(Arc::clone(user))),
            (None, None) => Ok(None),
            (None, Some(directory)) => {
                let found = directory.user_by_login(login).await?;
                // Services would take them for somebody else.
                let is_other = |user: &Arc<User>| self.by_subject.contains_key(&user.subject);
                if let Some(user) = found.as_ref().filter(|user| is_other(user)) {
                    tracing::error!(
                        user = user.subject,
                        "a user in the database has the subject of one in the configuration, and can't log in"
                    );
                }
                Ok(found.filter(|user| !is_other(user)))
            }
        }
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
        let user = self.by_login(login).await.map_err(|failure| {
            tracing::error!(error = %failure, "the users of the identity provider could not be read");
            Failed::Busy
        })?;
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
