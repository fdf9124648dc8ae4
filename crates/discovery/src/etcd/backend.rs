//! Registrations as keys with leases: `PREFIX/SERVICE/ID`.

use std::future::ready;

use futures_util::stream;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tonic::{Code, metadata::MetadataValue};

use super::{
    config::Config,
    members::Members,
    protocol::{
        KeyValue, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
        WatchCreateRequest, WatchProgressRequest, WatchRequest, event::EventType, kv_client::KvClient,
        lease_client::LeaseClient, watch_client::WatchClient, watch_request::RequestUnion,
    },
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

/// Entries a page of a listing: at 16 KiB each less than [`LARGEST`].
const PAGE: i64 = 1000;

/// The largest answer, in bytes.
const LARGEST: usize = 32 * 1024 * 1024;

/// The most entries of a service that are read.
const MOST: usize = 100_000;

/// What is written in the place of an entry just before it is deleted, since a deletion does not say whether it was
/// meant or a lease has run out.
const WITHDRAWN: &[u8] = b"withdrawn";

#[derive(Debug)]
pub(crate) struct Etcd {
    members: Members,
    timing: Timing,
    prefix: String,
}

/// Why following ended.
enum Ended {
    /// The revision to go on from was compacted away: everything has to be listed again.
    Compacted,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Etcd {
    /// # Errors
    /// [`Unusable`] when a file of `tls` can't be read, or holds something else.
    pub(crate) fn new(config: &Config) -> Result<(Self, Timing), Unusable> {
        let timing = Timing { ttl: config.ttl.get(), timeout: config.timeout.get() };
        let members = Members::new(config, timing)?;
        Ok((Self { members, timing, prefix: config.prefix.clone() }, timing))
    }

    fn folder(&self, service: &str) -> Vec<u8> {
        format!("{}/{service}/", self.prefix).into_bytes()
    }

    fn key(&self, entry: &Entry) -> Vec<u8> {
        format!("{}/{}/{}", self.prefix, entry.service, entry.id).into_bytes()
    }

    /// The entries of a service, page by page of one revision, and that revision.
    async fn list(
        &self,
        folder: &[u8],
        changes: &Changes,
    ) -> Result<(History, Vec<(String, Vec<u8>)>), Failure> {
        let (mut listing, mut history) = (Vec::new(), None::<History>);
        let mut key = folder.to_vec();
        loop {
            let revision = history.map_or(0, |history| i64::try_from(history.position).unwrap_or(0));
            let range =
                RangeRequest { key, range_end: end_of(folder), limit: PAGE, revision, keys_only: false };
            let attempt = self.members.attempt();
            let mut kv = KvClient::new(attempt.channel()?).max_decoding_message_size(LARGEST);
            let answer = kv.range(attempt.request(range).await?).await;
            let answer =
                answer.map_err(|status| attempt.failed("listing registrations", &status))?.into_inner();
            let answer = attempt.done(answer);
            changes.heard();
            let header = answer.header.unwrap_or_default();
            let position = u64::try_from(header.revision).unwrap_or(0);
            let history = *history.get_or_insert(History { id: header.cluster_id, position });
            let last = answer.kvs.last().map(|last| last.key.clone());
            listing.extend(answer.kvs.into_iter().filter_map(|kv| Some((id_of(folder, &kv)?, kv.value))));
            match last {
                Some(mut last) if answer.more && listing.len() < MOST => {
                    // The next key in order.
                    last.push(0);
                    key = last;
                }
                _ => return Ok((history, listing)),
            }
        }
    }

    async fn try_follow(&self, service: &ServiceName, changes: &Changes) -> Result<(), Ended> {
        let folder = self.folder(service.as_str());
        let (history, mut listing) = self.list(&folder, changes).await?;
        let withdrawn: Vec<_> = listing.extract_if(.., |(_, value)| value == WITHDRAWN).collect();
        changes.listed(history, &listing);
        drop(listing);
        for (id, _) in withdrawn {
            changes.deleted(&id);
        }

        let create = RequestUnion::CreateRequest(WatchCreateRequest {
            key: folder.clone(),
            range_end: end_of(&folder),
            start_revision: i64::try_from(history.position).unwrap_or(0).saturating_add(1),
            fragment: true,
        });
        // A question is asked only when the last one was answered, or the stream ends: two have room.
        let (ask, mut asked) = mpsc::channel(2);
        let _ = ask.try_send(WatchRequest { request_union: Some(create) });
        let questions = stream::poll_fn(move |cx| asked.poll_recv(cx));
        // Held until this ends: what ends it is a failure of the member.
        let attempt = self.members.attempt();
        let mut request = attempt.request(questions).await?;
        // A member that has lost its leader, cut off from the others, ends the stream instead of falling silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut watch = WatchClient::new(attempt.channel()?).max_decoding_message_size(LARGEST);
        let failed = |status: tonic::Status| attempt.failed("following a name", &status);
        let mut answers = watch.watch(request).await.map_err(failed)?.into_inner();
        changes.heard();
        let mut next = Instant::now() + self.timing.probe();
        loop {
            let answer = tokio::select! {
                answer = answers.message() => answer.map_err(failed)?,
                () = sleep_until(next) => {
                    next = Instant::now() + self.timing.probe();
                    let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                    // Where the last one is not even sent, the server is silent, and left for that.
                    let _ = ask.try_send(WatchRequest { request_union: Some(progress) });
                    continue;
                }
            };
            let Some(answer) = answer else {
                return Err(Failure::new("following a name: the server ended the stream").into());
            };
            if answer.compact_revision > 0 {
                attempt.done(());
                return Err(Ended::Compacted);
            }
            if answer.canceled {
                return Err(Failure::new(format_args!("following a name: {}", answer.cancel_reason)).into());
            }
            changes.heard();
            for event in answer.events {
                let is_put = event.r#type() == EventType::Put;
                let Some(kv) = event.kv else { continue };
                let Some(id) = id_of(&folder, &kv) else { continue };
                match is_put {
                    true if kv.value == WITHDRAWN => changes.deleted(&id),
                    true => changes.put(&id, &kv.value),
                    false => changes.ran_out(&id),
                }
            }
        }
    }
}

impl Backend for Etcd {
    const NAME: &'static str = "etcd";

    async fn follow(&self, service: &ServiceName, changes: &Changes) -> Failure {
        loop {
            match self.try_follow(service, changes).await {
                Ok(()) | Err(Ended::Compacted) => {}
                Err(Ended::Failed(failure)) => return failure,
            }
        }
    }

    /// The lease has the number of the entry, so that it is known however much of this is done.
    async fn put(&self, entry: &Entry) -> Result<(), Failure> {
        let attempt = self.members.attempt();
        let ttl = i64::try_from(self.timing.ttl.as_secs()).unwrap_or(i64::MAX);
        let grant = LeaseGrantRequest { ttl, id: entry.number };
        let mut lease = LeaseClient::new(attempt.channel()?);
        match lease.lease_grant(attempt.request(grant).await?).await {
            Ok(_) => {}
            // By an attempt before this one, whose answer was lost.
            Err(status) if is_lease_there(&status) => {}
            Err(status) => return Err(attempt.failed("making a lease", &status)),
        }
        let put = PutRequest { key: self.key(entry), value: entry.value.clone().into(), lease: entry.number };
        let mut kv = KvClient::new(attempt.channel()?);
        let put = kv.put(attempt.request(put).await?).await;
        put.map_err(|status| attempt.failed("registering", &status))?;
        attempt.done(());
        Ok(())
    }

    async fn renew(&self, entry: &Entry) -> Result<bool, Failure> {
        let attempt = self.members.attempt();
        let mut lease = LeaseClient::new(attempt.channel()?);
        let request = stream::once(ready(LeaseKeepAliveRequest { id: entry.number }));
        let answers = lease.lease_keep_alive(attempt.request(request).await?).await;
        let mut answers = answers.map_err(|status| attempt.failed("renewing", &status))?.into_inner();
        let answer = answers.message().await.map_err(|status| attempt.failed("renewing", &status))?;
        let answer = answer.ok_or_else(|| Failure::new("renewing: no answer"))?;
        if answer.ttl <= 0 {
            return Ok(attempt.done(false));
        }
        // A key that somebody deleted leaves its lease behind.
        let key = RangeRequest { key: self.key(entry), limit: 1, keys_only: true, ..RangeRequest::default() };
        let mut kv = KvClient::new(attempt.channel()?);
        let there = kv.range(attempt.request(key).await?).await;
        let there = there.map_err(|status| attempt.failed("renewing", &status))?.into_inner();
        Ok(attempt.done(!there.kvs.is_empty()))
    }

    /// Without its lease the key goes too.
    async fn delete(&self, entry: &Entry) -> Result<(), Failure> {
        let attempt = self.members.attempt();
        let mark = PutRequest { key: self.key(entry), value: WITHDRAWN.to_vec(), lease: entry.number };
        let mut kv = KvClient::new(attempt.channel()?);
        match kv.put(attempt.request(mark).await?).await {
            Ok(_) => {}
            // The lease has run out, and the key with it.
            Err(status) if status.code() == Code::NotFound => {
                attempt.done(());
                return Ok(());
            }
            Err(status) => return Err(attempt.failed("withdrawing", &status)),
        }
        let mut lease = LeaseClient::new(attempt.channel()?);
        match lease.lease_revoke(attempt.request(LeaseRevokeRequest { id: entry.number }).await?).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(attempt.failed("withdrawing", &status)),
        }
        attempt.done(());
        Ok(())
    }

    async fn names(&self, at_most: usize) -> Result<Vec<String>, Failure> {
        let root = format!("{}/", self.prefix).into_bytes();
        let (mut names, mut key): (Vec<String>, _) = (Vec::new(), root.clone());
        loop {
            let range =
                RangeRequest { key, range_end: end_of(&root), limit: PAGE, revision: 0, keys_only: true };
            let attempt = self.members.attempt();
            let mut kv = KvClient::new(attempt.channel()?).max_decoding_message_size(LARGEST);
            let answer = kv.range(attempt.request(range).await?).await;
            let answer = answer.map_err(|status| attempt.failed("listing names", &status))?.into_inner();
            let answer = attempt.done(answer);
            for kv in &answer.kvs {
                let name = kv
                    .key
                    .strip_prefix(root.as_slice())
                    .and_then(|rest| rest.split(|byte| *byte == b'/').next());
                let Some(Ok(name)) = name.map(std::str::from_utf8) else { continue };
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.to_owned());
                }
            }
            match answer.kvs.last() {
                // On with what comes after the last service, however many entries it has.
                Some(last) if answer.more && names.len() < at_most => {
                    let slash = last.key.iter().skip(root.len()).position(|byte| *byte == b'/');
                    let end = slash.map_or(last.key.len(), |slash| root.len() + slash + 1);
                    key = end_of(last.key.get(..end).unwrap_or(&last.key));
                }
                _ => {
                    names.truncate(at_most);
                    return Ok(names);
                }
            }
        }
    }
}

/// The first key after all that begin with `folder`, which ends with a `/`.
fn end_of(folder: &[u8]) -> Vec<u8> {
    let mut end = folder.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

fn id_of(folder: &[u8], kv: &KeyValue) -> Option<String> {
    let id = kv.key.strip_prefix(folder)?;
    String::from_utf8(id.to_vec()).ok()
}

/// etcd says so with a code that it uses for other things too.
fn is_lease_there(status: &tonic::Status) -> bool {
    status.code() == Code::FailedPrecondition && status.message().contains("lease already exists")
}
