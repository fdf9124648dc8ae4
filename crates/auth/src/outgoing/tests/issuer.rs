//! Who issues tokens as it is told, without a network: time can stand still.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fetch::{Document, Failure, Fetch, Post, Reply, Url};

pub(super) const ISSUER: &str = "http://127.0.0.1:1";

#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    says: Option<(u16, String)>,
    lifetime: Option<Value>,
    delay: Duration,
    is_down: bool,
    under_way: usize,
    most_under_way: usize,
    metadata: usize,
}

/// One form.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) url: String,
    pub(super) authorization: Option<String>,
    pub(super) form: HashMap<String, String>,
}

impl Script {
    /// Its tokens are good for so many seconds.
    pub(super) fn lasting(seconds: u64) -> Self {
        let script = Self::default();
        script.lasts(json!(seconds));
        script
    }

    pub(super) fn lasts(&self, expires_in: Value) {
        self.0.lock().unwrap().lifetime = Some(expires_in);
    }

    /// Answers so, whatever is asked for.
    pub(super) fn says(&self, status: u16, body: &str) {
        self.0.lock().unwrap().says = Some((status, body.to_owned()));
    }

    /// Answers with tokens again.
    pub(super) fn recovers(&self) {
        let mut state = self.0.lock().unwrap();
        (state.says, state.is_down, state.delay) = (None, false, Duration::ZERO);
    }

    pub(super) fn is_down(&self) {
        self.0.lock().unwrap().is_down = true;
    }

    pub(super) fn takes(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().asked.clone()
    }

    pub(super) fn most_under_way(&self) -> usize {
        self.0.lock().unwrap().most_under_way
    }

    pub(super) fn metadata(&self) -> usize {
        self.0.lock().unwrap().metadata
    }
}

/// Counts also what is dropped.
struct UnderWay(Script);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().under_way -= 1;
    }
}

impl Fetch for Script {
    async fn get(&self, url: &Url) -> Result<Document, Failure> {
        let mut state = self.0.lock().unwrap();
        state.metadata += 1;
        if state.is_down {
            return Err(Failure(format!("{url}: down")));
        }
        let document = json!({ "issuer": ISSUER, "token_endpoint": format!("{ISSUER}/token") });
        Ok(Document { body: document.to_string().into(), max_age: None })
    }
}

impl Post for Script {
    /// Each token names how many there were before it, and for whom it is.
    async fn post(
        &self,
        url: &Url,
        authorization: Option<&HeaderValue>,
        form: String,
    ) -> Result<Reply, Failure> {
        let form: HashMap<_, _> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let (delay, token) = {
            let mut state = self.0.lock().unwrap();
            let of = |name| form.get(name).map_or("", String::as_str);
            let token = format!("{}.{}.{}", of("audience"), of("subject_token"), state.asked.len());
            state.asked.push(Asked {
                at: Instant::now(),
                url: url.to_string(),
                authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
                form,
            });
            state.under_way += 1;
            state.most_under_way = state.most_under_way.max(state.under_way);
            (state.delay, token)
        };
        let _under_way = UnderWay(self.clone());
        tokio::time::sleep(delay).await;
        let state = self.0.lock().unwrap();
        if state.is_down {
            return Err(Failure(format!("{url}: down")));
        }
        let (status, body) = state.says.clone().unwrap_or_else(|| {
            let mut answer = json!({ "access_token": token, "token_type": "Bearer" });
            if let Some(lifetime) = &state.lifetime {
                answer["expires_in"] = lifetime.clone();
            }
            (200, answer.to_string())
        });
        Ok(Reply { status: StatusCode::from_u16(status).unwrap(), body: body.into() })
    }
}
