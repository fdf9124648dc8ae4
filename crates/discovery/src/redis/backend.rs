//! Registrations as keys that expire.
//!
//! | key | holds |
//! |---|---|
//! | `PREFIX` | a set: the names that have registrations, and some that had |
//! | `PREFIX:SERVICE` | a set: the ids of the service's registrations, and some that were; also the channel of changes |
//! | `PREFIX:SERVICE:ID` | a registration, with a time to live |
//!
//! A change is published as `+ID VALUE` or `-ID`.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use redis::{
    Client, ClientTlsConfig, IntoConnectionInfo as _, ProtocolVersion, RedisError, Script, TlsCertificates,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use super::{
    config::Config,
    connection::{Link, Pushed, Server, failure},
};
use crate::{
    ServiceName,
    registry::Unusable,
    remote::{
        History,
        backend::{Backend, Entry, Failure, Timing},
        changes::Changes,
    },
};

/// Lists the registrations of a service with the milliseconds that each has left, as one state of the server, and
/// takes ids out of the set whose keys have expired. A value that is too long or no text at all is listed as empty.
const LIST: &str = r"
if redis.call('SCARD', KEYS[1]) > tonumber(ARGV[1]) then
    return redis.error_reply('a service has more registrations than are read')
end
local listing = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local key = KEYS[1] .. ':' .. id
    local left = redis.call('PTTL', key)
    if left == -2 then
        redis.call('SREM', KEYS[1], id)
    else
        local length = redis.pcall('STRLEN', key)
        local value = ''
        if type(length) == 'number' and length <= tonumber(ARGV[2]) then
            value = redis.call('GET', key) or ''
        end
        table.insert(listing, id)
        table.insert(listing, left)
        table.insert(listing, value)
    end
end
return listing
";

/// Lists the names that have registrations, and takes those out of the set that have none.
const NAMES: &str = r"
local names = {}
for _, name in ipairs(redis.call('SRANDMEMBER', KEYS[1], ARGV[1])) do
    if redis.call('EXISTS', KEYS[1] .. ':' .. name) == 1 then
        table.insert(names, name)
    else
        redis.call('SREM', KEYS[1], name)
    end
end
return names
";

/// The most ids of a service that are read, and the longest value in bytes.
const MOST: (usize, usize) = (100_000, 16 * 1024);

/// What a key needs after its time is up until a re-read finds it gone.
const EXPIRED: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Redis {
    server: Server,
    timing: Timing,
    prefix: String,
    list: Script,
    names: Script,
}

impl Redis {
    /// # Errors
    /// [`Unusable`] when a file of `tls` can't be read or holds something else, or the address can't be used.
    pub(crate) fn new(config: &Config) -> Result<(Self, Timing), Unusable> {
        let timing = Timing { ttl: config.ttl.get(), timeout: config.timeout.get() };
        let client = client(config)?;
        let server = Server::new(client, timing, format!("{}:*", config.prefix));
        let (prefix, list, names) = (config.prefix.clone(), Script::new(LIST), Script::new(NAMES));
        Ok((Self { server, timing, prefix, list, names }, timing))
    }

    fn index(&self, service: &ServiceName) -> String {
        format!("{}:{service}", self.prefix)
    }

    fn key(&self, entry: &Entry) -> String {
        format!("{}:{}:{}", self.prefix, entry.service, entry.id)
    }

    fn ttl(&self) -> u64 {
        u64::try_from(self.timing.ttl.as_millis()).unwrap_or(u64::MAX)
    }

    /// Makes a request on the connection; when it fails, the next one is made on another.
    async fn request<T>(
        &self,
        what: &str,
        request: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Failure> {
        let link = self.server.link().await?;
        request(link.connection).await.map_err(|error| {
            self.server.drop_link();
            failure(what, &error)
        })
    }

    async fn list(&self, link: &Link, index: &str) -> Result<Vec<(String, i64, Vec<u8>)>, Failure> {
        let mut connection = link.connection.clone();
        let (most, longest) = MOST;
        let mut invocation = self.list.key(index);
        invocation.arg(most).arg(longest);
        let listing: Vec<redis::Value> = invocation.invoke_async(&mut connection).await.map_err(|error| {
            self.server.drop_link();
            failure("listing registrations", &error)
        })?;
        let entry = |entry: &[redis::Value]| match entry {
            [redis::Value::BulkString(id), redis::Value::Int(left), redis::Value::BulkString(value)] => {
                Some((String::from_utf8_lossy(id).into_owned(), *left, value.clone()))
            }
            _ => None,
        };
        Ok(listing.chunks(3).filter_map(entry).collect())
    }

    async fn try_follow(&self, service: &ServiceName, changes: &Changes) -> Result<(), Failure> {
        let index = self.index(service);
        let link = self.server.link().await?;
        // Before the first reading, so that no change falls in between.
        let mut pushed = link.pushed();
        let mut listed = Listed { history: History { id: link.run, position: 0 }, ends: HashMap::new() };
        loop {
            let listing = self.list(&link, &index).await?;
            // What was published before the listing was made is known before it is believed.
            while let Ok(push) = pushed.try_recv() {
                listed.take(push, &index, changes, self.timing.ttl)?;
            }
            let now = Instant::now();
            listed.compare(now, &listing, changes);
            let end = now + self.timing.ttl;
            let next = listed.ends.values().flatten().min().map_or(end, |first| (*first + EXPIRED).min(end));
            // A key that has no time left was seen the moment before it went.
            let next = next.max(now + EXPIRED);
            loop {
                let probe = Instant::now() + self.timing.probe();
                tokio::select! {
                    push = pushed.recv() => match push {
                        Ok(push) => listed.take(push, &index, changes, self.timing.ttl)?,
                        // Too far behind: what was missed is read.
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return Err(Failure::new("the connection was closed")),
                    },
                    () = sleep_until(next.min(probe)) => {
                        if Instant::now() >= next {
                            break;
                        }
                        let mut connection = link.connection.clone();
                        let pong: Result<(), _> = redis::cmd("PING").query_async(&mut connection).await;
                        pong.map_err(|error| Failure::of("asking whether the server is there", &error))?;
                        changes.heard();
                    }
                }
            }
        }
    }
}

impl Backend for Redis {
    const NAME: &'static str = "redis";

    async fn follow(&self, service: &ServiceName, changes: &Changes) -> Failure {
        match self.try_follow(service, changes).await {
            Ok(()) => Failure::new("following ended"),
            Err(failure) => {
                self.server.drop_link();
                failure
            }
        }
    }

    async fn put(&self, entry: &Entry) -> Result<(), Failure> {
        let (index, key) = (self.index(&entry.service), self.key(entry));
        let mut put = redis::pipe();
        put.atomic();
        put.cmd("SET").arg(&key).arg(&entry.value).arg("PX").arg(self.ttl()).ignore();
        put.cmd("SADD").arg(&index).arg(&entry.id).ignore();
        put.cmd("SADD").arg(&self.prefix).arg(entry.service.as_str()).ignore();
        let publish = publish(&index, format!("+{} {}", entry.id, entry.value));
        self.request("registering", async |mut connection| {
            let () = put.query_async(&mut connection).await?;
            publish.query_async(&mut connection).await
        })
        .await
    }

    async fn renew(&self, entry: &Entry) -> Result<bool, Failure> {
        let mut renew = redis::pipe();
        renew.atomic();
        renew.cmd("PEXPIRE").arg(self.key(entry)).arg(self.ttl());
        // The sets may have been lost without the key.
        renew.cmd("SADD").arg(self.index(&entry.service)).arg(&entry.id).ignore();
        renew.cmd("SADD").arg(&self.prefix).arg(entry.service.as_str()).ignore();
        let (kept,): (bool,) =
            self.request("renewing", async |mut connection| renew.query_async(&mut connection).await).await?;
        Ok(kept)
    }

    async fn delete(&self, entry: &Entry) -> Result<(), Failure> {
        let index = self.index(&entry.service);
        let mut delete = redis::pipe();
        delete.atomic();
        delete.cmd("DEL").arg(self.key(entry)).ignore();
        delete.cmd("SREM").arg(&index).arg(&entry.id).ignore();
        let publish = publish(&index, format!("-{}", entry.id));
        self.request("withdrawing", async |mut connection| {
            let () = delete.query_async(&mut connection).await?;
            publish.query_async(&mut connection).await
        })
        .await
    }

    async fn names(&self, at_most: usize) -> Result<Vec<String>, Failure> {
        let mut names = self.names.key(&self.prefix);
        names.arg(at_most);
        self.request("listing names", async |mut connection| names.invoke_async(&mut connection).await).await
    }
}

/// Tells of a change. Not in the transaction that makes it: before version 7.2 a server writes what it pushes to the
/// publisher itself into the midst of the transaction's answer, where nobody can tell them apart. Where this gets lost,
/// the next re-read finds the change.
fn publish(channel: &str, message: String) -> redis::Cmd {
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(channel).arg(message);
    publish
}

/// What is known of a service from listings and pushes.
#[derive(Debug)]
struct Listed {
    history: History,
    /// When each entry ends if it is not renewed; `None` for one without an end.
    ends: HashMap<String, Option<Instant>>,
}

impl Listed {
    fn take(&mut self, push: Pushed, index: &str, changes: &Changes, ttl: Duration) -> Result<(), Failure> {
        let (channel, message) = match push {
            Pushed::Disconnected => return Err(Failure::new("the server closed the connection")),
            Pushed::Published { channel, message } => (channel, message),
        };
        if channel != index {
            return Ok(());
        }
        match message.split_first() {
            Some((b'+', rest)) => {
                let mut parts = rest.splitn(2, |byte| *byte == b' ');
                if let (Some(Ok(id)), Some(value)) = (parts.next().map(std::str::from_utf8), parts.next()) {
                    if self.ends.len() < MOST.0 {
                        self.ends.insert(id.to_owned(), Some(Instant::now() + ttl));
                    }
                    changes.put(id, value);
                }
            }
            Some((b'-', id)) => {
                if let Ok(id) = std::str::from_utf8(id) {
                    self.ends.remove(id);
                    changes.deleted(id);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is gone has run out, or was announced to be. What is gone without either was taken away: the server was
    /// wiped, or somebody deleted keys.
    fn compare(&mut self, now: Instant, listing: &[(String, i64, Vec<u8>)], changes: &Changes) {
        let left = |left: i64| u64::try_from(left).ok().map(|left| now + Duration::from_millis(left));
        let listed: HashMap<String, Option<Instant>> =
            listing.iter().map(|(id, milliseconds, _)| (id.clone(), left(*milliseconds))).collect();
        let mut wiped = false;
        for (id, end) in self.ends.iter().filter(|(id, _)| !listed.contains_key(*id)) {
            if end.is_some_and(|end| end <= now) {
                changes.ran_out(id);
            } else {
                wiped = true;
            }
        }
        if wiped {
            self.history.id = self.history.id.wrapping_add(1);
        }
        self.ends = listed;
        let entries: Vec<_> = listing.iter().map(|(id, _, value)| (id.clone(), value.clone())).collect();
        changes.listed(self.history, &entries);
    }
}

fn client(config: &Config) -> Result<Client, Unusable> {
    let unusable = |what: String, error: RedisError| Unusable {
        registry: Redis::NAME,
        what,
        source: Some(error.into()),
    };
    let of_address = |error| unusable(format!("`discovery.redis.address` ({})", config.address), error);
    let info = config.address.as_str().into_connection_info().map_err(of_address)?;
    // Pushes want the third version of the protocol.
    let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &config.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    let info = info.set_redis_settings(settings);
    if !config.address.starts_with("rediss://") {
        return Client::open(info).map_err(of_address);
    }
    let read = |key: &str, path: &Path| {
        fs::read(path).map_err(|error| Unusable {
            registry: Redis::NAME,
            what: format!("`discovery.redis.tls.{key}` ({}) can't be read", path.display()),
            source: Some(error.into()),
        })
    };
    let tls = &config.tls;
    let client_tls = match (&tls.certificate_file, &tls.key_file) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read("certificate_file", certificate)?,
            client_key: read("key_file", key)?,
        }),
        _ => None,
    };
    let root_cert = tls.ca_file.as_deref().map(|ca| read("ca_file", ca)).transpose()?;
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
        .map_err(|error| unusable("`discovery.redis.tls`".to_owned(), error))
}
