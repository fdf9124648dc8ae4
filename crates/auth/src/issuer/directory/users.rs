use std::sync::Arc;

use mainstay_core::config::Secret;
use serde::{Deserialize, Serialize};

use super::{Directory, Refused, TRIES, Wrong, column, read, written};
use crate::issuer::{
    config::{self, is_login},
    database::Value::Text,
    password, secret,
    store::Failure,
    users::User,
};

/// What a row says beside login and subject.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    password_hash: String,
    /// When the password was set: logins of before are over.
    since: u64,
    name: Option<String>,
    email: Option<String>,
    roles: Vec<String>,
}

impl Directory {
    /// Adds somebody who may log in as `login`. Without a subject they get a random one, so that nobody who has the same name later is
    /// taken for them. Hashing a password takes some tens of milliseconds.
    ///
    /// # Errors
    /// [`Refused`]: what is wrong with it, that the login or the subject is taken, or what failed.
    ///
    /// # Cancel safety
    /// When it is dropped the user was added or was not.
    pub async fn add_user(&self, login: &str, user: &config::User) -> Result<(), Refused> {
        const ADD: &str = "INSERT INTO mainstay_idp_users (login, subject, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let mut wrong = Wrong::default();
        if !is_login(login) {
            wrong.add("user", "a name of 1 to 200 characters, without control characters");
        }
        user.wrong(&mut |key, expected| wrong.add(key, expected));
        wrong.none()?;
        let password_hash = match (&user.password_hash, &user.password) {
            (Some(hash), _) => hash.expose().clone(),
            (None, Some(password)) => hashed(password).await?,
            (None, None) => String::new(),
        };
        let subject = match &user.subject {
            Some(subject) => subject.clone(),
            None => secret::random().map_err(|refused| Refused::Failed(refused.description.to_owned()))?,
        };
        let content = Content {
            password_hash,
            since: self.clock.now().as_secs(),
            name: user.name.clone(),
            email: user.email.clone(),
            roles: user.roles.clone(),
        };
        match self.database.change(ADD, &[Text(login), Text(&subject), Text(&written(&content)?)]).await? {
            1 => Ok(()),
            _ => Err(Refused::Exists(login.to_owned())),
        }
    }

    /// Gives somebody another password. They have to log in again everywhere; access tokens end within `token` of the provider.
    ///
    /// # Errors
    /// [`Refused`]: what is wrong with the password, that there is no such user, or what failed.
    ///
    /// # Cancel safety
    /// When it is dropped the password has changed or has not.
    pub async fn set_password(&self, login: &str, password: &Secret) -> Result<(), Refused> {
        const SET: &str = "UPDATE mainstay_idp_users SET content = $3 WHERE login = $1 AND content = $2";
        let hash = hashed(password).await?;
        for _ in 0..TRIES {
            let row = self.user_row(BY_LOGIN, login).await?;
            let row = row.ok_or_else(|| Refused::Unknown(login.to_owned()))?;
            let mut content: Content = read("the user", login, column(&row, 2))?;
            (content.password_hash, content.since) = (hash.clone(), self.clock.now().as_secs());
            let new = written(&content)?;
            let values = [Text(login), Text(column(&row, 2)), Text(&new)];
            if self.database.change(SET, &values).await? == 1 {
                return Ok(());
            }
        }
        Err(Refused::Failed("others change this user all the time".to_owned()))
    }

    /// Removes somebody. Their logins and refresh tokens are over at once; access tokens end within `token` of the provider.
    ///
    /// # Errors
    /// [`Refused`]: that there is no such user, or what failed.
    ///
    /// # Cancel safety
    /// When it is dropped the user was removed or was not.
    pub async fn remove_user(&self, login: &str) -> Result<(), Refused> {
        const REMOVE: &str = "DELETE FROM mainstay_idp_users WHERE login = $1";
        self.remove(REMOVE, login).await
    }

    /// All users by their logins, without their passwords.
    ///
    /// # Errors
    /// [`Refused::Failed`].
    pub async fn users(&self) -> Result<Vec<(String, config::User)>, Refused> {
        const LIST: &str =
            "SELECT login, subject, content FROM mainstay_idp_users WHERE login > $1 ORDER BY login LIMIT $2";
        let user = |row: &Vec<String>| {
            let user = user_in(row)?;
            let config = config::User { subject: Some(user.subject.clone()), ..user.config.clone() };
            Ok((user.login.clone(), config))
        };
        self.all(LIST).await?.iter().map(user).collect()
    }

    /// Whoever logs in by this name.
    pub(in crate::issuer) async fn user_by_login(&self, login: &str) -> Result<Option<Arc<User>>, Failure> {
        let row = if is_login(login) { self.user_row(BY_LOGIN, login).await? } else { None };
        row.map(|row| user_in(&row)).transpose()
    }

    pub(in crate::issuer) async fn user_by_subject(
        &self,
        subject: &str,
    ) -> Result<Option<Arc<User>>, Failure> {
        const BY_SUBJECT: &str = "SELECT login, subject, content FROM mainstay_idp_users WHERE subject = $1";
        // PostgreSQL takes no texts with such a character.
        let row = if subject.contains('\0') { None } else { self.user_row(BY_SUBJECT, subject).await? };
        row.map(|row| user_in(&row)).transpose()
    }

    pub(super) async fn has_user(&self, login: &str) -> Result<bool, Failure> {
        Ok(self.user_row(BY_LOGIN, login).await?.is_some())
    }

    async fn user_row(&self, select: &'static str, name: &str) -> Result<Option<Vec<String>>, Failure> {
        Ok(self.database.rows(select, &[Text(name)]).await?.into_iter().next())
    }
}

const BY_LOGIN: &str = "SELECT login, subject, content FROM mainstay_idp_users WHERE login = $1";

fn user_in(row: &[String]) -> Result<Arc<User>, Failure> {
    let (login, subject) = (column(row, 0), column(row, 1));
    let content: Content = read("the user", login, column(row, 2))?;
    let mut config = config::User::default();
    (config.name, config.email, config.roles) = (content.name, content.email, content.roles);
    Ok(Arc::new(User {
        subject: subject.to_owned(),
        login: login.to_owned(),
        config,
        since: content.since,
        hash: Secret::new(content.password_hash),
    }))
}

async fn hashed(password: &Secret) -> Result<String, Refused> {
    if !password::LENGTHS.contains(&password.expose().len()) {
        return Err(Refused::Wrong { key: "password".to_owned(), expected: "8 to 256 bytes".to_owned() });
    }
    password::hashed(password.clone()).await.map_err(Refused::Failed)
}
