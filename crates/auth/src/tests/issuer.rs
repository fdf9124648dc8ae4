//! An issuer that does as it is told, without a network: time can stand still.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::time::Instant;

use super::{ISSUER, Signer, jwks};
use crate::fetch::{Document, Failure, Fetch, Post, Reply, Url};

pub(crate) const OPENID: &str = "https://id.example/.well-known/openid-configuration";
pub(crate) const OAUTH: &str = "https://id.example/.well-known/oauth-authorization-server";
pub(crate) const KEYS: &str = "https://id.example/keys";

#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    documents: HashMap<String, String>,
    max_age: Option<Duration>,
    delay: Duration,
    is_down: bool,
    fetched: Vec<(Instant, String)>,
    under_way: usize,
    most_under_way: usize,
}

impl Script {
    /// With metadata, and with the keys of `signers`.
    pub(crate) fn of(signers: &[&Signer]) -> Self {
        let script = Self::default();
        script.says(OPENID, &json!({"issuer": ISSUER, "jwks_uri": KEYS}).to_string());
        script.has(signers);
        script
    }

    pub(crate) fn says(&self, url: &str, document: &str) {
        self.0.lock().unwrap().documents.insert(url.to_owned(), document.to_owned());
    }

    pub(crate) fn forgets(&self, url: &str) {
        self.0.lock().unwrap().documents.remove(url);
    }

    pub(crate) fn has(&self, signers: &[&Signer]) {
        self.says(KEYS, &jwks(signers));
    }

    pub(crate) fn is_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    pub(crate) fn takes(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    pub(crate) fn promises(&self, max_age: Duration) {
        self.0.lock().unwrap().max_age = Some(max_age);
    }

    /// When the document was asked for.
    pub(crate) fn fetched(&self, url: &str) -> Vec<Instant> {
        let state = self.0.lock().unwrap();
        state.fetched.iter().filter(|(_, asked)| asked == url).map(|(at, _)| *at).collect()
    }

    /// How many were asked for at once at most.
    pub(crate) fn most_under_way(&self) -> usize {
        self.0.lock().unwrap().most_under_way
    }
}

/// Counts also a fetch that is dropped.
struct UnderWay(Script);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().under_way -= 1;
    }
}

impl Fetch for Script {
    async fn get(&self, url: &Url) -> Result<Document, Failure> {
        let delay = {
            let mut state = self.0.lock().unwrap();
            state.fetched.push((Instant::now(), url.to_string()));
            state.under_way += 1;
            state.most_under_way = state.most_under_way.max(state.under_way);
            state.delay
        };
        let _under_way = UnderWay(self.clone());
        tokio::time::sleep(delay).await;
        let state = self.0.lock().unwrap();
        if state.is_down {
            return Err(Failure(format!("{url}: down")));
        }
        let body = state.documents.get(&url.to_string()).ok_or_else(|| Failure(format!("{url}: 404")))?;
        Ok(Document { body: body.clone().into(), max_age: state.max_age })
    }
}

/// Documents are all that it has.
impl Post for Script {
    async fn post(&self, url: &Url, _: Option<&http::HeaderValue>, _: String) -> Result<Reply, Failure> {
        Err(Failure(format!("{url}: no forms")))
    }
}
