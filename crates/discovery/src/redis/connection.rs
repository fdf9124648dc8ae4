//! The one connection to a server, over which everything goes: requests, and the changes that others publish.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::broadcast;

use super::backend::Redis;
use crate::remote::backend::{Backend as _, Failure, Timing};

/// How many changes a follower may be behind; one that is further behind reads anew.
const BACKLOG: usize = 4096;

/// Makes connections, one at a time.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    timing: Timing,
    /// What changes are published on, as a pattern.
    pattern: String,
    current: Mutex<Option<Link>>,
    /// Held while a connection is made, so that only one is.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection. Cloning is cheap and shares it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    pushed: broadcast::Sender<Pushed>,
    /// Tells one run of the server from the next.
    pub(super) run: u64,
}

/// What a server says without being asked.
#[derive(Debug, Clone)]
pub(super) enum Pushed {
    Published { channel: String, message: Vec<u8> },
    Disconnected,
}

impl Server {
    pub(super) fn new(client: Client, timing: Timing, pattern: String) -> Self {
        Self { client, timing, pattern, current: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// The connection, made where there is none.
    pub(super) async fn link(&self) -> Result<Link, Failure> {
        let _connecting = self.connecting.lock().await;
        if let Some(link) = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(link);
        }
        let link = self.connect().await.map_err(|error| failure("connecting", &error))?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
        Ok(link)
    }

    /// Something failed on the current connection, so that the next request makes another.
    pub(super) fn drop_link(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn connect(&self) -> Result<Link, RedisError> {
        let (pushed, _) = broadcast::channel(BACKLOG);
        let sender = pushed.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timing.timeout))
            .set_response_timeout(Some(self.timing.timeout))
            .set_push_sender(move |info: PushInfo| {
                if let Some(pushed) = read(info) {
                    // Nobody may listen now.
                    let _ = sender.send(pushed);
                }
                Ok::<_, ()>(())
            });
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        run.trim().hash(&mut hasher);
        connection.psubscribe(&self.pattern).await?;
        Ok(Link { connection, pushed, run: hasher.finish() })
    }
}

impl Link {
    /// What the server pushes from now on.
    pub(super) fn pushed(&self) -> broadcast::Receiver<Pushed> {
        self.pushed.subscribe()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("run", &self.run).finish_non_exhaustive()
    }
}

pub(super) fn failure(what: &str, error: &RedisError) -> Failure {
    let refused = error.kind() == ErrorKind::AuthenticationFailed
        || error.code().is_some_and(|code| ["NOAUTH", "NOPERM", "WRONGPASS"].contains(&code));
    Failure::of(what, error).explained(Redis::NAME, refused.then_some("`user` and `password`"))
}

/// A push of ours: the pattern, the channel and the message.
fn read(info: PushInfo) -> Option<Pushed> {
    match info.kind {
        PushKind::Disconnection => Some(Pushed::Disconnected),
        PushKind::PMessage => match <[Value; 3]>::try_from(info.data) {
            Ok([_, Value::BulkString(channel), Value::BulkString(message)]) => {
                Some(Pushed::Published { channel: String::from_utf8(channel).ok()?, message })
            }
            _ => None,
        },
        _ => None,
    }
}
