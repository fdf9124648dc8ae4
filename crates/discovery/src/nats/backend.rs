//! Registrations as keys of a bucket: `SERVICE.ID`.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{
        Message,
        consumer::{DeliverPolicy, ReplayPolicy, push::OrderedConfig},
        stream::{Info, LastRawMessageErrorKind, Stream},
    },
};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use super::{config::Config, connection::Bucket};
use crate::{
    ServiceName,
    registry::Unusable,
    remote::{
        History,
        backend::{Backend, Entry, Failure, Timing},
        changes::Changes,
    },
};

/// What happened to a key, in the header of its message: nothing where it was written.
const OPERATION: &str = "KV-Operation";

/// Why a server of version 2.11 or newer wrote a message in the place of one that it removed.
const MARKER: &str = "Nats-Marker-Reason";

/// The most keys that are read, of one service or to list names.
const MOST: usize = 100_000;

/// How long after its time an entry is asked for: the server removes it a little late.
const LATE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Nats {
    bucket: Bucket,
    timing: Timing,
}

impl Nats {
    /// # Errors
    /// [`Unusable`] when the file with the credentials can't be read.
    pub(crate) fn new(config: &Config) -> Result<(Self, Timing), Unusable> {
        let timing = Timing { ttl: config.ttl.get(), timeout: config.timeout.get() };
        Ok((Self { bucket: Bucket::new(config, timing)?, timing }, timing))
    }

    async fn try_follow(&self, service: &ServiceName, changes: &Changes) -> Result<(), Failure> {
        let mut lost = self.bucket.lost();
        lost.mark_unchanged();
        let stream = self.bucket.stream().await?;
        // Connecting counts too.
        lost.mark_unchanged();
        let history = history(stream.cached_info());
        let folder = self.bucket.subject(service.as_str(), "");
        let consumer = stream
            .create_consumer(OrderedConfig {
                deliver_subject: stream_inbox(&self.bucket).await?,
                description: Some("follows a service".to_owned()),
                filter_subject: self.bucket.subject(service.as_str(), "*"),
                replay_policy: ReplayPolicy::Instant,
                deliver_policy: DeliverPolicy::LastPerSubject,
                ..OrderedConfig::default()
            })
            .await
            .map_err(|error| Failure::of("following a name", &error))?;
        let mut missing = consumer.cached_info().num_pending;
        let messages = consumer.messages().await;
        let mut messages = messages.map_err(|error| Failure::of("following a name", &error))?;

        let mut listing: Option<Vec<(String, Vec<u8>)>> = Some(Vec::new());
        // When each entry was last written, as far as is known.
        let mut written: HashMap<String, Instant> = HashMap::new();
        let mut look = Instant::now() + self.timing.ttl / 2;
        let mut probe = Instant::now() + self.timing.probe();
        loop {
            if missing == 0
                && let Some(listing) = listing.take()
            {
                changes.listed(history, &listing);
            }
            tokio::select! {
                message = messages.next() => {
                    let message = message
                        .ok_or_else(|| Failure::new("following a name: the stream has ended"))?
                        .map_err(|error| Failure::of("following a name", &error))?;
                    if listing.is_some() {
                        missing = message.info().map_err(|_| Failure::new("a message without metadata"))?.pending;
                    }
                    changes.heard();
                    let Some(id) = message.subject.strip_prefix(&folder) else { continue };
                    let is_removed = is_removed(&message);
                    if is_removed {
                        written.remove(id);
                    } else if written.len() < MOST {
                        // How old a listed one is, only the server's clock could tell: the half counts.
                        let age = if listing.is_some() { self.timing.ttl / 2 } else { Duration::ZERO };
                        written.insert(id.to_owned(), Instant::now() - age);
                    }
                    match &mut listing {
                        Some(listing) => {
                            listing.retain(|(known, _)| !is_removed || known != id);
                            if !is_removed && listing.len() < MOST {
                                listing.push((id.to_owned(), message.payload.to_vec()));
                            }
                        }
                        None if is_removed => changes.deleted(id),
                        None => changes.put(id, &message.payload),
                    }
                }
                _ = lost.changed() => return Err(Failure::new("the connection was lost")),
                () = sleep_until(look) => {
                    look = self.ask_for_the_late(&stream, &folder, &mut written, changes).await?;
                }
                () = sleep_until(probe) => {
                    let info = stream.get_info().await.map_err(|error| Failure::of("asking for the bucket", &error))?;
                    let now = self::history(&info);
                    if now.id != history.id || now.position < history.position {
                        return Err(Failure::new("the bucket was made anew"));
                    }
                    if listing.is_none() {
                        changes.heard();
                    }
                    probe = Instant::now() + self.timing.probe();
                }
            }
        }
    }

    /// Asks for every entry that should have been renewed by now, and says when the next one will be due.
    async fn ask_for_the_late(
        &self,
        stream: &Stream<Info>,
        folder: &str,
        written: &mut HashMap<String, Instant>,
        changes: &Changes,
    ) -> Result<Instant, Failure> {
        let due = |written: Instant| written + self.timing.ttl + LATE;
        let now = Instant::now();
        let late: Vec<_> =
            written.iter().filter(|(_, at)| due(**at) <= now).map(|(id, _)| id.clone()).collect();
        for id in late {
            let last = stream.get_last_raw_message_by_subject(&format!("{folder}{id}")).await;
            match last {
                // Written just now, and on its way to us; or kept longer, by a bucket with a higher age.
                Ok(_) => {
                    written.insert(id, Instant::now() - self.timing.ttl + self.timing.probe());
                    changes.heard();
                }
                Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => {
                    written.remove(&id);
                    changes.ran_out(&id);
                }
                Err(error) => return Err(Failure::of("asking for an entry", &error)),
            }
        }
        let next = written.values().map(|at| due(*at)).min();
        let latest = Instant::now() + self.timing.ttl;
        Ok(next.map_or(latest, |next| next.min(latest)))
    }

    async fn publish(&self, entry: &Entry, operation: Option<&str>, value: &str) -> Result<(), Failure> {
        let context = self.bucket.context().await?;
        let subject = self.bucket.subject(entry.service.as_str(), &entry.id);
        let mut headers = HeaderMap::new();
        if let Some(operation) = operation {
            headers.insert(OPERATION, operation);
        }
        let sent = context.publish_with_headers(subject, headers, value.to_owned().into()).await;
        let written = match sent {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        written.map(drop).map_err(|error| Failure::of("writing to the bucket", &error))
    }
}

impl Backend for Nats {
    const NAME: &'static str = "nats";

    async fn follow(&self, service: &ServiceName, changes: &Changes) -> Failure {
        let ended = self.try_follow(service, changes).await;
        self.bucket.doubt();
        ended.err().unwrap_or_else(|| Failure::new("following ended"))
    }

    async fn put(&self, entry: &Entry) -> Result<(), Failure> {
        let put = self.publish(entry, None, &entry.value).await;
        if put.is_err() {
            self.bucket.doubt();
        }
        put
    }

    /// Nothing but another writing renews an entry.
    async fn renew(&self, entry: &Entry) -> Result<bool, Failure> {
        self.put(entry).await.map(|()| true)
    }

    async fn delete(&self, entry: &Entry) -> Result<(), Failure> {
        let deleted = self.publish(entry, Some("DEL"), "").await;
        if deleted.is_err() {
            self.bucket.doubt();
        }
        deleted
    }

    async fn names(&self, at_most: usize) -> Result<Vec<String>, Failure> {
        let stream = self.bucket.stream().await?;
        let folder = self.bucket.subject("", "");
        let folder = folder.trim_end_matches('.').to_owned() + ".";
        let listed = stream.info_with_subjects(format!("{folder}>")).await;
        let mut subjects = listed.map_err(|error| Failure::of("listing names", &error))?.take(MOST);
        let mut names: Vec<String> = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|error| Failure::of("listing names", &error))?;
            let name = subject.strip_prefix(&folder).and_then(|key| key.split('.').next());
            if let Some(name) = name.filter(|name| names.last().is_none_or(|last| last != name)) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names.dedup();
        names.truncate(at_most);
        Ok(names)
    }
}

/// Where the messages of a consumer go.
async fn stream_inbox(bucket: &Bucket) -> Result<String, Failure> {
    Ok(bucket.context().await?.client().new_inbox())
}

fn history(info: &Info) -> History {
    let mut hasher = DefaultHasher::new();
    info.created.hash(&mut hasher);
    History { id: hasher.finish(), position: info.state.last_sequence }
}

fn is_removed(message: &Message) -> bool {
    let Some(headers) = &message.headers else { return false };
    let is_operation = headers.get(OPERATION).is_some_and(|operation| operation.as_str() != "PUT");
    is_operation || headers.get(MARKER).is_some()
}
