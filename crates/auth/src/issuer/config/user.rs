use mainstay_core::config::Secret;
use serde::{Deserialize, Serialize};

use crate::issuer::password;

/// `[users.NAME]`: somebody who may log in, with one of `password` and `password_hash`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct User {
    /// The password as it is: for development, since it stands in the configuration. Secret.
    pub password: Option<Secret>,
    /// Its argon2id hash, as `mainstay idp --hash` prints it: `$argon2id$…`. Secret.
    pub password_hash: Option<Secret>,
    /// `sub`: what services know the user by. Never give it to somebody else. Default: the name.
    pub subject: Option<String>,
    /// What people are called, for clients with the scope `profile`.
    pub name: Option<String>,
    /// For clients with the scope `email`.
    pub email: Option<String>,
    /// `roles` of tokens. None by default.
    pub roles: Vec<String>,
}

impl User {
    /// Somebody with this password.
    #[must_use]
    pub fn with_password(password: impl Into<Secret>) -> Self {
        Self { password: Some(password.into()), ..Self::default() }
    }

    /// Somebody with a password of this argon2id hash.
    #[must_use]
    pub fn with_password_hash(hash: impl Into<Secret>) -> Self {
        Self { password_hash: Some(hash.into()), ..Self::default() }
    }

    /// With these roles.
    #[must_use]
    pub fn with_roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    pub(in crate::issuer) fn wrong(&self, reject: &mut impl FnMut(&str, &str)) {
        match (&self.password, &self.password_hash) {
            (None, None) => reject("password_hash", "an argon2id hash, or `password`"),
            (Some(_), Some(_)) => reject("password", "only one of `password` and `password_hash`"),
            _ => {}
        }
        if self
            .password
            .as_ref()
            .is_some_and(|password| !password::LENGTHS.contains(&password.expose().len()))
        {
            reject("password", "8 to 256 bytes");
        }
        if self.password_hash.as_ref().is_some_and(|hash| !password::is_hash(hash.expose())) {
            reject("password_hash", "`$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`, with at most 256 MiB");
        }
        if self
            .subject
            .as_ref()
            .is_some_and(|subject| !(1..=255).contains(&subject.len()) || !subject.is_ascii())
        {
            reject("subject", "1 to 255 ASCII characters");
        }
    }
}
