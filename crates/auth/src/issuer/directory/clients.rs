use std::sync::Arc;

use mainstay_core::config::Secret;

use super::{Directory, Refused, TRIES, Wrong, column, read, written};
use crate::issuer::{
    client::{Client, hex, sha256},
    config::{self, is_name},
    database::Value::Text,
    store::Failure,
};

impl Directory {
    /// Adds a client. A secret is kept as its hash.
    ///
    /// # Errors
    /// [`Refused`]: what is wrong with it, that the id is taken, or what failed.
    ///
    /// # Cancel safety
    /// When it is dropped the client was added or was not.
    pub async fn add_client(&self, id: &str, client: &config::Client) -> Result<(), Refused> {
        const ADD: &str =
            "INSERT INTO mainstay_idp_clients (id, content) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let mut wrong = Wrong::default();
        if !is_name(id) {
            wrong.add("client", "an id of 1 to 200 visible ASCII characters, without `\"` and `\\`");
        }
        client.wrong(&mut |key, expected| wrong.add(key, expected));
        wrong.none()?;
        let client = hashed(client);
        Client::open(id, &client).map_err(|expected| Refused::Wrong { key: "jwks".to_owned(), expected })?;
        match self.database.change(ADD, &[Text(id), Text(&written(&client)?)]).await? {
            1 => Ok(()),
            _ => Err(Refused::Exists(id.to_owned())),
        }
    }

    /// Gives a client another secret, in place of the one that it has.
    ///
    /// # Errors
    /// [`Refused`]: what is wrong with the secret, that there is no such client or that it proves who it is in another way, or what
    /// failed.
    ///
    /// # Cancel safety
    /// When it is dropped the secret has changed or has not.
    pub async fn set_client_secret(&self, id: &str, secret: &Secret) -> Result<(), Refused> {
        const SET: &str = "UPDATE mainstay_idp_clients SET content = $3 WHERE id = $1 AND content = $2";
        for _ in 0..TRIES {
            let text = self.client_text(id).await?.ok_or_else(|| Refused::Unknown(id.to_owned()))?;
            let client: config::Client = read("the client", id, &text)?;
            let client = config::Client { secret: Some(secret.clone()), secret_sha256: None, ..client };
            let mut wrong = Wrong::default();
            client.wrong(&mut |key, expected| wrong.add(key, expected));
            wrong.none()?;
            if self.database.change(SET, &[Text(id), Text(&text), Text(&written(&hashed(&client))?)]).await?
                == 1
            {
                return Ok(());
            }
        }
        Err(Refused::Failed("others change this client all the time".to_owned()))
    }

    /// Removes a client. It gets no more tokens; access tokens that it has end within `token` of the provider.
    ///
    /// # Errors
    /// [`Refused`]: that there is no such client, or what failed.
    ///
    /// # Cancel safety
    /// When it is dropped the client was removed or was not.
    pub async fn remove_client(&self, id: &str) -> Result<(), Refused> {
        const REMOVE: &str = "DELETE FROM mainstay_idp_clients WHERE id = $1";
        self.remove(REMOVE, id).await
    }

    /// All clients by their ids, with the hashes of their secrets.
    ///
    /// # Errors
    /// [`Refused::Failed`].
    pub async fn clients(&self) -> Result<Vec<(String, config::Client)>, Refused> {
        const LIST: &str = "SELECT id, content FROM mainstay_idp_clients WHERE id > $1 ORDER BY id LIMIT $2";
        let client = |row: &Vec<String>| {
            let id = column(row, 0);
            Ok((id.to_owned(), read("the client", id, column(row, 1))?))
        };
        self.all(LIST).await?.iter().map(client).collect()
    }

    pub(in crate::issuer) async fn client(&self, id: &str) -> Result<Option<Arc<Client>>, Failure> {
        if !is_name(id) {
            return Ok(None);
        }
        let Some(text) = self.client_text(id).await? else { return Ok(None) };
        let config: config::Client = read("the client", id, &text)?;
        let mut wrong = Wrong::default();
        config.wrong(&mut |key, expected| wrong.add(key, expected));
        let opened = match wrong.none() {
            Ok(()) => Client::open(id, &config),
            Err(refused) => Err(refused.to_string()),
        };
        opened.map(Some).map_err(|why| Failure::new(format!("the client `{id}` in the database: {why}")))
    }

    pub(super) async fn has_client(&self, id: &str) -> Result<bool, Failure> {
        Ok(self.client_text(id).await?.is_some())
    }

    async fn client_text(&self, id: &str) -> Result<Option<String>, Failure> {
        const GET: &str = "SELECT content FROM mainstay_idp_clients WHERE id = $1";
        Ok(self.database.rows(GET, &[Text(id)]).await?.into_iter().flatten().next())
    }
}

fn hashed(client: &config::Client) -> config::Client {
    match &client.secret {
        None => client.clone(),
        Some(secret) => {
            let hash = hex(&sha256(secret.expose()));
            config::Client { secret: None, secret_sha256: Some(hash), ..client.clone() }
        }
    }
}
