//! A stand-in for the issuer whose tokens the service under test takes: its metadata, its keys, its absence.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use super::{
    Endpoint, Trouble,
    stand_in::{listen, read_call},
};
use crate::conform::token::{Draft, Key};

/// Where the keys are.
const KEYS: &str = "/jwks";

/// Paths that are counted; the names of others go to the last one.
const MOST_PATHS: usize = 100;

/// Listens in the place of an issuer, until dropped.
#[derive(Debug)]
pub(crate) struct Issuer {
    url: String,
    audience: String,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    url: String,
    /// Published; tokens are signed with the last.
    keys: Vec<Arc<Key>>,
    is_away: bool,
    asked: BTreeMap<String, usize>,
}

impl Issuer {
    /// # Errors
    /// A sentence that names the address.
    pub(crate) async fn listen(at: &Endpoint, audience: &str) -> Result<Self, String> {
        let url = format!("http://{}", at.authority());
        let state = State {
            url: url.clone(),
            keys: vec![Arc::new(Key::new()?)],
            is_away: false,
            asked: BTreeMap::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let tasks = listen("--issuer", at, {
            let state = Arc::clone(&state);
            move |stream| serve(stream, Arc::clone(&state))
        });
        Ok(Self { url, audience: audience.to_owned(), _tasks: tasks.await?, state })
    }

    /// Its URL, `iss`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The key that it signs with.
    pub(crate) fn key(&self) -> Result<Arc<Key>, String> {
        lock(&self.state).keys.last().cloned().ok_or_else(|| "the issuer has no key".to_owned())
    }

    /// A token for the service, to be changed and signed.
    pub(crate) fn draft(&self, scope: &str) -> Result<Draft, String> {
        Draft::new(&self.url, &self.audience, scope, &*self.key()?)
    }

    /// A token for the service.
    pub(crate) fn token(&self, scope: &str) -> Result<String, String> {
        self.key()?.sign(&self.draft(scope)?)
    }

    /// Publishes one more key, and signs with it from now on.
    pub(crate) fn rotate(&self) -> Result<(), String> {
        let key = Key::new()?;
        lock(&self.state).keys.push(Arc::new(key));
        Ok(())
    }

    /// Whether nobody is there.
    pub(crate) fn be_away(&self, is_away: bool) {
        lock(&self.state).is_away = is_away;
    }

    /// How often its keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.asked(KEYS)
    }

    /// How often this path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        lock(&self.state).asked.get(path).copied().unwrap_or_default()
    }
}

impl State {
    /// The body of the answer; `None` where there is none.
    fn answer(&mut self, target: &str) -> Option<String> {
        let path = target.split('?').next().unwrap_or_default();
        if self.asked.len() < MOST_PATHS || self.asked.contains_key(path) {
            *self.asked.entry(path.to_owned()).or_default() += 1;
        }
        match path {
            "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => {
                let url = &self.url;
                let document = json!({
                    "issuer": url,
                    "jwks_uri": format!("{url}{KEYS}"),
                    "authorization_endpoint": format!("{url}/authorize"),
                    "token_endpoint": format!("{url}/token"),
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256"],
                });
                Some(document.to_string())
            }
            KEYS => {
                let keys: Vec<_> = self.keys.iter().map(|key| key.jwk()).collect();
                Some(json!({ "keys": keys }).to_string())
            }
            _ => None,
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Result<(), Trouble> {
    let mut buffer = Vec::new();
    loop {
        let (call, _) = read_call(&mut stream, &mut buffer).await?;
        let (body, is_away) = {
            let mut state = lock(&state);
            (state.answer(&call.target), state.is_away)
        };
        if is_away {
            return Ok(());
        }
        let (status, body) = match body {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", "{}".to_owned()),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}
