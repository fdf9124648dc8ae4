//! What is heard: what of it is believed, and the answer.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{Engine, FACTS_SHARE, MAX_HOPS, MAX_MEMBERS, NEW, TOLD};
use crate::gossip::{
    member::{Applied, Member, State},
    wire::{Delta, Entry, Head, Message, NodeId, Writer},
};

impl Engine {
    /// Makes of a message what there is to be made of it.
    pub(in super::super) fn handle(&mut self, bytes: &[u8], now: Instant) {
        let Ok(message) = Message::decode(bytes) else {
            self.stats.malformed += 1;
            return;
        };
        let sender = message.sender;
        if sender.id == self.own.id {
            // This process is among its own seeds.
            return;
        }
        if self.options.loopback_only && !sender.address.ip().is_loopback() {
            self.stats.foreign += 1;
            return;
        }
        if message.head.to != self.tokens.current && message.head.to != self.tokens.previous
            || message.head.to == 0
        {
            self.welcome(&message);
            return;
        }
        if sender.address == self.options.address {
            // It says that it is where this process is, and was sent something there: one of them is mistaken.
            self.stats.foreign += 1;
            return;
        }
        let mut news: Vec<(NodeId, Option<u64>)> = Vec::new();
        match self.members.get(&sender.id) {
            Some(member) if sender.beat <= member.direct => {
                self.stats.replayed += 1;
                return;
            }
            // Final here; and where it does not know, it has to hear of it.
            Some(member) if member.has_left() => {
                self.answer(&message, now);
                return;
            }
            _ => {}
        }
        if self.merge(&sender, now) {
            news.push((sender.id, None));
        }
        let Some(member) = self.members.get_mut(&sender.id) else {
            return;
        };
        if member.beat == sender.beat {
            // Heard from itself, so now, whoever else said so before.
            member.heard = now;
        }
        member.direct = sender.beat;
        member.token = message.head.token;
        if !sender.left {
            news.extend(self.supersede(&sender, now).into_iter().map(|id| (id, None)));
        }
        for entry in &message.entries {
            if entry.id == self.own.id {
                self.heard_of_itself(&sender, entry, now);
            } else if self.merge(entry, now) {
                news.push((entry.id, None));
            }
        }
        for delta in &message.deltas {
            if self.apply(delta) {
                news.retain(|(id, _)| *id != delta.id);
                news.push((delta.id, Some(delta.since)));
            }
        }
        self.assess(now);
        if message.head.pushed && !news.is_empty() {
            self.relay(&news, sender.id, now);
        }
        if message.head.stranger {
            self.send_digest(sender.address, now);
        } else {
            self.informed |= message.head.hops > 0 && !message.head.more;
            self.answer(&message, now);
        }
        self.settle(now);
    }

    /// Takes over what somebody says of a node; whether that was the news of its end.
    fn merge(&mut self, entry: &Entry, now: Instant) -> bool {
        if self.options.loopback_only && !entry.address.ip().is_loopback() {
            return false;
        }
        let Some(at) = now.checked_sub(Duration::from_millis(entry.age)) else {
            return false;
        };
        // Where this process is, no other one is any more.
        let left = entry.left || entry.address == self.options.address;
        let interval = self.options.interval;
        if let Some(member) = self.members.get_mut(&entry.id) {
            if member.has_left() {
                return false;
            }
            if left {
                self.changed.extend(member.registrations().map(|(_, held)| held.service.clone()));
                member.leave(now);
                tracing::info!(process = %member.address, "gossip: it has left");
                return true;
            }
            if entry.beat > member.beat {
                member.beat(entry.beat, at, interval);
            }
            member.wanted = member.wanted.max(entry.version);
            return false;
        }
        let age = Duration::from_millis(entry.age);
        let worth = if left { age < TOLD } else { age < interval * 12 };
        if !worth || !self.make_room() {
            return false;
        }
        let mut member = Member::new(entry, at, interval);
        if left {
            member.leave(at);
        } else {
            tracing::info!(process = %member.address, "gossip: it has joined");
            if self.rounds < NEW && self.own.version > 0 {
                self.urge(now);
            }
        }
        self.members.insert(entry.id, member);
        left
    }

    /// One process fewer that is gone, where there are too many.
    fn make_room(&mut self) -> bool {
        if self.members.len() < MAX_MEMBERS {
            return true;
        }
        let gone = |member: &Member| matches!(member.state, State::Forgotten | State::Left(_));
        let oldest =
            self.members.iter().filter(|(_, member)| gone(member)).min_by_key(|(_, member)| member.heard);
        match oldest.map(|(id, _)| *id) {
            Some(id) => self.members.remove(&id).is_some(),
            None => {
                self.stats.refused += 1;
                false
            }
        }
    }

    /// Whoever was at the address of a process that was just heard is there no more.
    fn supersede(&mut self, by: &Entry, now: Instant) -> Vec<NodeId> {
        let mut superseded = Vec::new();
        for (id, member) in &mut self.members {
            if *id != by.id && member.address == by.address && !member.has_left() {
                self.changed.extend(member.registrations().map(|(_, held)| held.service.clone()));
                member.leave(now);
                superseded.push(*id);
            }
        }
        superseded
    }

    fn heard_of_itself(&mut self, from: &Entry, entry: &Entry, now: Instant) {
        if entry.left && !self.own.left {
            // Somebody took this process for gone, and that is final for its name: it goes on under a new one.
            if self.renamed.is_none_or(|last| now.saturating_duration_since(last) > self.options.interval * 4)
            {
                tracing::warn!(
                    address = %self.options.address,
                    "gossip: others believe that this process is gone; is there another one that advertises its address?"
                );
                self.renamed = Some(now);
                self.stats.renamed += 1;
                self.own.id = NodeId(self.rng.u64(..));
                for member in self.members.values_mut() {
                    member.acked = 0;
                }
                self.urge(now);
            }
            return;
        }
        // Who knows of the end needs to know nothing else.
        let version = if entry.left { self.own.version } else { entry.version };
        if entry.left != self.own.left || version > self.own.version {
            return;
        }
        if let Some(member) = self.members.get_mut(&from.id) {
            member.acked = member.acked.max(version);
        }
    }

    /// Whether it held anything new.
    fn apply(&mut self, delta: &Delta) -> bool {
        let Some(member) = self.members.get_mut(&delta.id) else {
            return false;
        };
        if member.has_left() || delta.since > member.version {
            return false;
        }
        let before: BTreeSet<_> = member.registrations().map(|(_, held)| held.service.clone()).collect();
        let mut news = false;
        for fact in &delta.facts {
            match member.apply(fact.clone()) {
                Applied::Nothing => {}
                Applied::Changed => news = true,
                Applied::Refused => {
                    self.stats.refused += 1;
                    break;
                }
            }
        }
        if news {
            member.wanted = member.wanted.max(member.version);
            self.changed.extend(before);
            self.changed.extend(member.registrations().map(|(_, held)| held.service.clone()));
        }
        news
    }

    /// Says what the sender lacks, and asks for what is lacking here.
    fn answer(&mut self, message: &Message, now: Instant) {
        let said: Vec<Entry> =
            std::iter::once(message.sender).chain(message.entries.iter().copied()).collect();
        let about: HashSet<NodeId> =
            said.iter().map(|entry| entry.id).chain(message.deltas.iter().map(|delta| delta.id)).collect();
        let (mut lacking, mut entries, mut deltas) = (Vec::new(), Vec::new(), Vec::new());
        let mut wants = false;
        for entry in &said {
            if entry.id == self.own.id {
                if entry.version < self.own.version || entry.left != self.own.left {
                    deltas.push((self.own.id, entry.version));
                }
                continue;
            }
            let Some(member) = self.members.get(&entry.id) else { continue };
            if member.has_left() {
                if !entry.left || message.head.pushed {
                    lacking.push(entry.id);
                }
            } else if member.version < entry.version {
                wants = true;
                lacking.push(entry.id);
            } else if member.version > entry.version {
                deltas.push((entry.id, entry.version));
            } else if member.beat > entry.beat && member.is_alive() {
                entries.push(entry.id);
            }
        }
        if message.head.pushed {
            // The confirmation.
            lacking.extend(
                std::iter::once(message.sender.id).chain(message.deltas.iter().map(|delta| delta.id)),
            );
            lacking.sort_unstable();
            lacking.dedup();
        }
        lacking.extend(message.deltas.iter().map(|delta| delta.id).filter(|_| message.head.wants_answer));
        if message.head.complete {
            for id in self.worth_telling(now) {
                if !about.contains(&id) {
                    entries.push(id);
                    if self.members.get(&id).is_some_and(|member| member.version > 0) {
                        deltas.push((id, 0));
                    }
                }
            }
            if !about.contains(&self.own.id) && self.own.version > 0 {
                deltas.push((self.own.id, 0));
            }
        }
        if message.head.hops >= MAX_HOPS || !(message.head.wants_answer || wants) {
            return;
        }
        let mut head = Head {
            to: message.head.token,
            token: self.tokens.current,
            hops: message.head.hops + 1,
            wants_answer: wants,
            ..Head::default()
        };
        let own = self.own_entry();
        let mut writer = Writer::new(head, &own);
        for entry in lacking.into_iter().filter_map(|id| self.entry(id, now)) {
            writer.entry(&entry);
        }
        for (id, since) in deltas {
            let unknown = !about.contains(&id);
            if writer.len() > FACTS_SHARE {
                head.more = true;
                break;
            }
            let all = if id == self.own.id {
                self.own_delta(&mut writer, since)
            } else {
                match (self.entry(id, now), self.members.get(&id)) {
                    (Some(entry), Some(member)) => {
                        (!unknown || writer.entry(&entry))
                            && writer.delta(id, since, member.facts_since(since))
                    }
                    _ => true,
                }
            };
            head.more |= !all;
        }
        head.wants_answer |= head.more;
        for entry in entries.into_iter().filter_map(|id| self.entry(id, now)) {
            writer.entry(&entry);
        }
        self.send(message.sender.address, writer.finish(head));
    }
}
