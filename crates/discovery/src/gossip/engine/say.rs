//! What is said: digests in each round, what is new at once, and a welcome to strangers.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::{Engine, FANOUT, MAX_HOPS, PUSHES, TOLD};
use crate::gossip::{
    member::State,
    wire::{Entry, Head, Message, NodeId, Writer},
};

impl Engine {
    pub(super) fn own_entry(&mut self) -> Entry {
        // Grows with each message, so that a message seen twice is known for a replay.
        self.own.beat += 1;
        Entry {
            id: self.own.id,
            address: self.options.address,
            beat: self.own.beat,
            version: self.own.version,
            age: 0,
            left: self.own.left,
        }
    }

    pub(super) fn entry(&self, id: NodeId, now: Instant) -> Option<Entry> {
        let member = self.members.get(&id)?;
        let (age, left) = match member.state {
            State::Left(since) => (now.saturating_duration_since(since), true),
            _ => (member.silence(now), false),
        };
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let (address, beat, version) = (member.address, member.beat, member.version);
        Some(Entry { id, address, beat, version, age, left })
    }

    /// Those that others should know of: the living, and who has left a short while ago.
    pub(super) fn worth_telling(&mut self, now: Instant) -> Vec<NodeId> {
        let mut ids: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| match member.state {
                State::Left(since) => now.saturating_duration_since(since) < TOLD,
                state => state == State::Alive,
            })
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        self.rng.shuffle(&mut ids);
        ids
    }

    fn head(&self, to: SocketAddr) -> Head {
        let there = self.members.values().filter(|member| member.address == to && member.token != 0);
        let to = there.max_by_key(|member| (member.heard, member.token)).map_or(0, |member| member.token);
        Head { to, token: self.tokens.current, ..Head::default() }
    }

    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.outgoing.push((to, bytes));
    }

    /// Says what is known, so that the other one can say what it knows more.
    pub(super) fn send_digest(&mut self, to: SocketAddr, now: Instant) {
        let mut head = Head { wants_answer: true, ..self.head(to) };
        let own = self.own_entry();
        let mut writer = Writer::new(head, &own);
        let ids = self.worth_telling(now);
        head.complete =
            ids.into_iter().filter_map(|id| self.entry(id, now)).all(|entry| writer.entry(&entry));
        self.send(to, writer.finish(head));
    }

    /// Tells what is new here to those that have not confirmed it.
    pub(super) fn push(&mut self, now: Instant) {
        self.pushes_left = self.pushes_left.saturating_sub(1);
        self.next_push = (self.pushes_left > 0).then(|| now + self.options.interval / 4);
        let version = self.own.version;
        let mut behind: Vec<_> = self
            .members
            .values()
            .filter(|member| member.is_alive() && member.acked < version)
            .map(|member| (member.address, member.acked))
            .collect();
        behind.sort_unstable();
        self.rng.shuffle(&mut behind);
        for (to, since) in behind.into_iter().take(PUSHES) {
            let head = Head { wants_answer: true, pushed: true, ..self.head(to) };
            let own = self.own_entry();
            let mut writer = Writer::new(head, &own);
            // What does not fit is asked for.
            self.own_delta(&mut writer, since);
            self.send(to, writer.finish(head));
        }
    }

    pub(super) fn own_delta(&self, writer: &mut Writer, since: u64) -> bool {
        let mut facts: Vec<_> = (0u16..)
            .zip(&self.own.slots)
            .filter(|(_, (version, _))| *version > since)
            .map(|(slot, (version, held))| (slot, *version, held.as_ref()))
            .collect();
        facts.sort_unstable_by_key(|(_, version, _)| *version);
        writer.delta(self.own.id, since, facts.into_iter())
    }

    /// Hands on what was new here, to a few.
    pub(super) fn relay(&mut self, news: &[(NodeId, Option<u64>)], except: NodeId, now: Instant) {
        let mut targets: Vec<_> = self
            .members
            .iter()
            .filter(|(id, member)| {
                **id != except && member.is_alive() && news.iter().all(|(new, _)| new != *id)
            })
            .map(|(_, member)| member.address)
            .collect();
        targets.sort_unstable();
        self.rng.shuffle(&mut targets);
        for to in targets.into_iter().take(FANOUT) {
            let head = Head { pushed: true, ..self.head(to) };
            let own = self.own_entry();
            let mut writer = Writer::new(head, &own);
            for (id, since) in news {
                if let Some(entry) = self.entry(*id, now) {
                    writer.entry(&entry);
                }
                if let (Some(member), Some(since)) = (self.members.get(id), since) {
                    writer.delta(*id, *since, member.facts_since(*since));
                }
            }
            self.send(to, writer.finish(head));
        }
    }

    /// Tells a process that did not know this one's token what it is: nothing it said was taken for true.
    pub(super) fn welcome(&mut self, message: &Message) {
        if self.welcomes == 0 || message.head.hops >= MAX_HOPS {
            self.stats.unanswered += 1;
            return;
        }
        self.welcomes -= 1;
        self.stats.strangers += 1;
        let head = Head {
            to: message.head.token,
            token: self.tokens.current,
            stranger: true,
            hops: message.head.hops + 1,
            ..Head::default()
        };
        let own = self.own_entry();
        let bytes = Writer::new(head, &own).finish(head);
        // Not to where it came from: that could be anybody who was to be flooded.
        self.send(message.sender.address, bytes);
    }
}
