//! Messages as bytes.
//!
//! ```text
//! flags 1 B | hops 1 B | token of the receiver 8 B | token of the sender 8 B | items: kind 1 B, length 2 B, body
//! ```
//!
//! The first item is the entry of the sender. An item of a kind that is not known is skipped, and so is what follows
//! the known part of a body: later versions can say more. Numbers are LEB128 unless their size is given.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use super::seal::MAX_MESSAGE;
use crate::{Address, Endpoint, Health, Protocol, ServiceName};

/// The largest registration, as bytes: it has to fit into a message beside what introduces it.
pub(super) const MAX_REGISTRATION: usize = 1000;

const WANTS_ANSWER: u8 = 1;
const COMPLETE: u8 = 2;
const PUSHED: u8 = 4;
const STRANGER: u8 = 8;
const MORE: u8 = 16;

const ENTRY: u8 = 1;
const DELTA: u8 = 2;
const FACT: u8 = 3;

/// One run of one process. Random, and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u64);

/// What one process tells another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) head: Head,
    /// The sender first.
    pub(super) sender: Entry,
    pub(super) entries: Vec<Entry>,
    pub(super) deltas: Vec<Delta>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The receiver shall answer with what it knows more.
    pub(super) wants_answer: bool,
    /// The entries are all that the sender has: what is missing it does not know.
    pub(super) complete: bool,
    /// Something new: to be handed on.
    pub(super) pushed: bool,
    /// The sender did not accept the token that it was sent: say it again with this one.
    pub(super) stranger: bool,
    /// The sender would have had more to say.
    pub(super) more: bool,
    /// How many messages led to this one.
    pub(super) hops: u8,
    /// What the receiver proves its freshness by; 0 where it is not known.
    pub(super) to: u64,
    /// What the sender wants to hear back.
    pub(super) token: u64,
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: NodeId,
    pub(super) address: SocketAddr,
    /// Grows with everything that the node sends.
    pub(super) beat: u64,
    /// Of its newest fact.
    pub(super) version: u64,
    /// How long ago the beat was heard to grow, in milliseconds.
    pub(super) age: u64,
    /// It will not come back.
    pub(super) left: bool,
}

/// Facts of a node, oldest first: all those after `since`, or the first of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delta {
    pub(super) id: NodeId,
    pub(super) since: u64,
    pub(super) facts: Vec<Fact>,
}

/// What one slot of a node holds since a version.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    pub(super) slot: u16,
    pub(super) version: u64,
    pub(super) registration: Option<Registration>,
}

/// An endpoint under a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Registration {
    pub(super) service: ServiceName,
    pub(super) endpoint: Endpoint,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Writes a message as long as there is room.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    body: Vec<u8>,
}

impl Writer {
    /// A message of `sender`.
    pub(super) fn new(head: Head, sender: &Entry) -> Self {
        let mut bytes = Vec::with_capacity(MAX_MESSAGE);
        bytes.extend_from_slice(&[head.flags(), head.hops]);
        bytes.extend_from_slice(&head.to.to_be_bytes());
        bytes.extend_from_slice(&head.token.to_be_bytes());
        let mut writer = Self { bytes, body: Vec::new() };
        writer.entry(sender);
        writer
    }

    /// How much has been written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Says that the answer is wanted, and whether the entries are all there are, once that is known.
    pub(super) fn finish(mut self, head: Head) -> Vec<u8> {
        if let Some(flags) = self.bytes.first_mut() {
            *flags = head.flags();
        }
        self.bytes
    }

    /// Whether there was room for it.
    pub(super) fn entry(&mut self, entry: &Entry) -> bool {
        let body = &mut self.body;
        body.extend_from_slice(&entry.id.0.to_be_bytes());
        body.push(u8::from(entry.left) | if entry.address.is_ipv6() { 2 } else { 0 });
        match entry.address.ip() {
            IpAddr::V4(ip) => body.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => body.extend_from_slice(&ip.octets()),
        }
        body.extend_from_slice(&entry.address.port().to_be_bytes());
        number(body, entry.beat);
        number(body, entry.version);
        number(body, entry.age);
        self.item(ENTRY)
    }

    /// Writes as many of the `facts` (oldest first) as there is room for; whether that was all.
    pub(super) fn delta<'a>(
        &mut self,
        id: NodeId,
        since: u64,
        facts: impl Iterator<Item = (u16, u64, Option<&'a Registration>)>,
    ) -> bool {
        self.body.extend_from_slice(&id.0.to_be_bytes());
        number(&mut self.body, since);
        if !self.item(DELTA) {
            return false;
        }
        for (slot, version, registration) in facts {
            number(&mut self.body, u64::from(slot));
            number(&mut self.body, version);
            if let Some(registration) = registration {
                self.body.extend_from_slice(&registration.encode());
            }
            if !self.item(FACT) {
                return false;
            }
        }
        true
    }

    fn item(&mut self, kind: u8) -> bool {
        let fits = self.bytes.len() + 3 + self.body.len() <= MAX_MESSAGE;
        if let (true, Ok(length)) = (fits, u16::try_from(self.body.len())) {
            self.bytes.push(kind);
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(&self.body);
        }
        self.body.clear();
        fits
    }
}

impl Message {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let (flags, hops) = (reader.byte()?, reader.byte()?);
        let head = Head {
            wants_answer: flags & WANTS_ANSWER != 0,
            complete: flags & COMPLETE != 0,
            pushed: flags & PUSHED != 0,
            stranger: flags & STRANGER != 0,
            more: flags & MORE != 0,
            hops,
            to: reader.eight()?,
            token: reader.eight()?,
        };
        let (mut sender, mut entries, mut deltas) = (None, Vec::new(), Vec::<Delta>::new());
        while !reader.0.is_empty() {
            let (kind, length) = (reader.byte()?, reader.two()?);
            let mut body = Reader(reader.take(usize::from(length))?);
            match kind {
                ENTRY => match sender {
                    None => sender = Some(Entry::decode(&mut body)?),
                    Some(_) => entries.push(Entry::decode(&mut body)?),
                },
                DELTA => {
                    let (id, since) = (NodeId(body.eight()?), body.number()?);
                    deltas.push(Delta { id, since, facts: Vec::new() });
                }
                FACT => deltas.last_mut().ok_or(Malformed)?.facts.push(Fact::decode(&mut body)?),
                _ => {}
            }
        }
        Ok(Self { head, sender: sender.ok_or(Malformed)?, entries, deltas })
    }
}

impl Head {
    fn flags(self) -> u8 {
        let flag = |on: bool, flag| if on { flag } else { 0 };
        flag(self.wants_answer, WANTS_ANSWER)
            | flag(self.complete, COMPLETE)
            | flag(self.pushed, PUSHED)
            | flag(self.stranger, STRANGER)
            | flag(self.more, MORE)
    }
}

impl Entry {
    fn decode(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, flags) = (NodeId(body.eight()?), body.byte()?);
        let ip = if flags & 2 != 0 {
            IpAddr::V6(Ipv6Addr::from(*body.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(*body.array::<4>()?))
        };
        let address = SocketAddr::new(ip, body.two()?);
        if !is_reachable(address) {
            return Err(Malformed);
        }
        let (beat, version, age) = (body.number()?, body.number()?, body.number()?);
        Ok(Self { id, address, beat, version, age, left: flags & 1 != 0 })
    }
}

/// Whether one process can be sent something there.
pub(super) fn is_reachable(address: SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

impl Fact {
    fn decode(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        let slot = u16::try_from(body.number()?).map_err(|_| Malformed)?;
        let version = body.number()?;
        let registration = if body.0.is_empty() { None } else { Some(Registration::decode(body)?) };
        Ok(Self { slot, version, registration })
    }
}

impl Registration {
    /// At most [`MAX_REGISTRATION`] for what others accept.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { service, endpoint } = self;
        let mut bytes = Vec::new();
        text(&mut bytes, service.as_str());
        let health = match endpoint.health() {
            Health::Serving => 0,
            Health::Draining => 1,
            Health::Failing => 2,
        };
        let (is_unix, is_http2) =
            (matches!(endpoint.address(), Address::Unix(_)), endpoint.protocol() == Protocol::Http2);
        bytes.push(
            u8::from(is_unix)
                | u8::from(is_http2) << 1
                | u8::from(endpoint.is_tls()) << 2
                | u8::from(endpoint.zone().is_some()) << 3
                | health << 4,
        );
        match endpoint.address() {
            Address::Tcp(host, port) => {
                text(&mut bytes, host);
                bytes.extend_from_slice(&port.to_be_bytes());
            }
            // Not registered here: see `Gossip::register`.
            Address::Unix(path) => text(&mut bytes, &path.to_string_lossy()),
            Address::InProcess => {}
        }
        number(&mut bytes, u64::from(endpoint.weight()));
        if let Some(zone) = endpoint.zone() {
            text(&mut bytes, zone);
        }
        number(&mut bytes, endpoint.all_metadata().count() as u64);
        for (key, value) in endpoint.all_metadata() {
            text(&mut bytes, key);
            text(&mut bytes, value);
        }
        bytes
    }

    fn decode(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        let service = ServiceName::new(body.text()?).map_err(|_| Malformed)?;
        let flags = body.byte()?;
        let mut endpoint = if flags & 1 != 0 {
            let path = body.text()?;
            if !Path::new(path).is_absolute() || path.contains('\0') {
                return Err(Malformed);
            }
            Endpoint::unix(path)
        } else {
            let (host, port) = (body.text()?, body.two()?);
            let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
            if host.is_empty() || host.len() > 253 || !host.bytes().all(in_host) || port == 0 {
                return Err(Malformed);
            }
            Endpoint::tcp(host, port)
        };
        if flags & 2 != 0 {
            endpoint = endpoint.with_protocol(Protocol::Http2);
        }
        endpoint = endpoint.with_tls(flags & 4 != 0).with_health(match flags >> 4 & 3 {
            0 => Health::Serving,
            1 => Health::Draining,
            _ => Health::Failing,
        });
        endpoint = endpoint.with_weight(u32::try_from(body.number()?).map_err(|_| Malformed)?);
        if flags & 8 != 0 {
            endpoint = endpoint.with_zone(body.text()?);
        }
        for _ in 0..body.number()? {
            // Ends with the bytes, whatever the number says.
            let (key, value) = (body.text()?, body.text()?);
            endpoint = endpoint.with_metadata(key, value);
        }
        Ok(Self { service, endpoint })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn two(&mut self) -> Result<u16, Malformed> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn eight(&mut self) -> Result<u64, Malformed> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }
}

fn number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 & 0x7f | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn text(to: &mut Vec<u8>, text: &str) {
    number(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let addresses = (any::<bool>(), any::<[u8; 16]>(), 1..u16::MAX).prop_map(|(v6, ip, port)| {
            let ip = if v6 {
                IpAddr::V6(Ipv6Addr::from(ip))
            } else {
                IpAddr::V4(Ipv4Addr::new(10, ip[0], ip[1], ip[2]))
            };
            SocketAddr::new(ip, port)
        });
        (any::<u64>(), addresses, any::<(u64, u64, u64, bool)>())
            .prop_map(|(id, address, (beat, version, age, left))| Entry {
                id: NodeId(id),
                address,
                beat,
                version,
                age,
                left,
            })
            .prop_filter("an address that can be sent to", |entry| is_reachable(entry.address))
    }

    fn registrations() -> impl Strategy<Value = Registration> {
        let endpoint = (
            prop_oneof![
                ("[a-z0-9.-]{1,40}", 1..u16::MAX).prop_map(|(host, port)| Endpoint::tcp(host, port)),
                "/[a-z/]{1,40}".prop_map(Endpoint::unix),
            ],
            any::<(bool, bool)>(),
            1..u32::MAX,
            prop::option::of(".{0,20}"),
            prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
            0..3,
        );
        let endpoint = endpoint.prop_map(|(endpoint, (http2, tls), weight, zone, metadata, health)| {
            let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
            let health = [Health::Serving, Health::Draining, Health::Failing][health as usize];
            let mut endpoint =
                endpoint.with_protocol(protocol).with_tls(tls).with_weight(weight).with_health(health);
            if let Some(zone) = zone {
                endpoint = endpoint.with_zone(zone);
            }
            metadata.into_iter().fold(endpoint, |endpoint, (key, value)| endpoint.with_metadata(key, value))
        });
        ("[a-z][a-z0-9]{0,20}", endpoint)
            .prop_map(|(service, endpoint)| Registration { service: service.parse().unwrap(), endpoint })
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(
            to in any::<u64>(),
            sender in entries(),
            entry in entries(),
            facts in prop::collection::vec((any::<u16>(), any::<u64>(), prop::option::of(registrations())), 0..4),
        ) {
            let head = Head { wants_answer: true, to, hops: 3, ..Head::default() };
            let mut writer = Writer::new(head, &sender);
            prop_assert!(writer.entry(&entry));
            let id = NodeId(7);
            let written = facts.iter().map(|(slot, version, registration)| (*slot, *version, registration.as_ref()));
            let fits = writer.delta(id, 5, written);
            prop_assert!(fits);
            let head = Head { complete: true, ..head };
            let bytes = writer.finish(head);
            prop_assert!(bytes.len() <= MAX_MESSAGE);
            let facts: Vec<_> = facts.into_iter()
                .map(|(slot, version, registration)| Fact { slot, version, registration })
                .collect();
            let expected = Message { head, sender, entries: vec![entry], deltas: vec![Delta { id, since: 5, facts }] };
            prop_assert_eq!(Message::decode(&bytes), Ok(expected));
            for length in 0..bytes.len() {
                let _ = Message::decode(&bytes[..length]);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
            let _ = Message::decode(&bytes);
        }

        #[test]
        fn no_changed_message_panics(
            sender in entries(),
            registration in registrations(),
            changes in prop::collection::vec(any::<(u16, u8)>(), 1..8),
        ) {
            let mut writer = Writer::new(Head::default(), &sender);
            writer.delta(sender.id, 0, [(0, 1, Some(&registration))].into_iter());
            let mut bytes = writer.finish(Head::default());
            for (at, value) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = value;
            }
            let _ = Message::decode(&bytes);
        }
    }

    #[test]
    fn a_later_version_can_say_more() {
        let sender = Entry {
            id: NodeId(1),
            address: "127.0.0.1:1".parse().unwrap(),
            beat: 300,
            version: 0,
            age: 0,
            left: false,
        };
        let mut bytes = Writer::new(Head::default(), &sender).finish(Head::default());
        bytes.extend_from_slice(&[99, 0, 2, 1, 2]);
        assert_eq!(Message::decode(&bytes).unwrap().sender, sender);
    }

    #[test]
    fn addresses_that_nobody_can_be_reached_at_are_refused() {
        for address in
            ["0.0.0.0:1", "10.0.0.1:0", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "[ff02::1]:1"]
        {
            let entry = Entry {
                id: NodeId(1),
                address: address.parse().unwrap(),
                beat: 1,
                version: 1,
                age: 0,
                left: false,
            };
            let bytes = Writer::new(Head::default(), &entry).finish(Head::default());
            assert_eq!(Message::decode(&bytes), Err(Malformed), "{address}");
        }
    }
}
