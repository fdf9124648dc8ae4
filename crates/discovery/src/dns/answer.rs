//! What an answer says: records, that there are none, or nothing that can be believed.

use std::{net::IpAddr, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

/// The most endpoints of one name; what an answer has beyond is ignored.
pub(super) const MOST: usize = 1000;

/// The longest chain of aliases that is followed within an answer.
const MOST_ALIASES: usize = 16;

/// What a server has said, and for how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) what: What,
    pub(super) ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Addresses(Vec<IpAddr>),
    Services(Vec<Srv>),
    /// It is known not to exist: the name, or records of this kind (RFC 2308 section 2).
    Absent,
    /// The name stands for another, of which the answer says nothing.
    Alias(Name),
}

/// An SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: Name,
}

impl Answer {
    /// What `message` says to its one question; the error tells why that can't be believed.
    pub(super) fn read(message: &Message) -> Result<Self, String> {
        let [question] = message.queries.as_slice() else { return Err("not one question".to_owned()) };
        let code = message.metadata.response_code;
        if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Err(format!("the server says: {code}"));
        }
        let (name, mut ttl) = canonical(message, &question.name)?;
        let wanted = |record: &&Record| {
            record.name == name
                && record.dns_class == question.query_class
                && record.record_type() == question.query_type
        };
        let records: Vec<_> = message.answers.iter().filter(wanted).collect();
        if !records.is_empty() {
            ttl = records.iter().map(|record| time_to_live(record.ttl)).fold(ttl, Duration::min);
            return Ok(Self { what: read(&records, question.query_type), ttl });
        }
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(time_to_live(record.ttl.min(soa.minimum))),
            _ => None,
        });
        if code == ResponseCode::NoError && soa.is_none() {
            if name != question.name {
                return Ok(Self { what: What::Alias(name), ttl });
            }
            // RFC 2308 section 2.2.1: with name servers and no SOA it is a referral, not "no data".
            if message.authorities.iter().any(|record| record.record_type() == RecordType::NS) {
                return Err("the server refers to others".to_owned());
            }
        }
        // A server that is neither the authority nor asks it can't know what there is not.
        if !message.metadata.authoritative && !message.metadata.recursion_available {
            return Err("the server denies what it is no authority for".to_owned());
        }
        // RFC 2308 section 5: the SOA says for how long; without one it is not to be kept.
        Ok(Self { what: What::Absent, ttl: ttl.min(soa.unwrap_or_default()) })
    }
}

/// Where the aliases of `name` in the answer lead, and the least time that they hold.
fn canonical(message: &Message, name: &Name) -> Result<(Name, Duration), String> {
    let (mut name, mut ttl) = (name.clone(), Duration::MAX);
    for _ in 0..=MOST_ALIASES {
        let alias = message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == name => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        match alias {
            None => return Ok((name, ttl)),
            Some((target, seconds)) => {
                name = target;
                ttl = ttl.min(time_to_live(seconds));
            }
        }
    }
    Err(format!("more than {MOST_ALIASES} aliases, or a circle of them"))
}

fn read(records: &[&Record], kind: RecordType) -> What {
    if kind == RecordType::SRV {
        let services = records.iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.clone(),
            }),
            _ => None,
        });
        let mut services: Vec<_> = services.collect();
        // Cut in an order of our own: servers rotate theirs.
        services.sort_by(|one, other| {
            (one.priority, &one.target, one.port).cmp(&(other.priority, &other.target, other.port))
        });
        services.truncate(MOST);
        // RFC 2782: a single target `.` says that the service is not available.
        services.retain(|service| !service.target.is_root() && service.port != 0);
        return if services.is_empty() { What::Absent } else { What::Services(services) };
    }
    let addresses = records.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    let mut addresses: Vec<_> = addresses.filter(|address| is_connectable(*address)).collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MOST);
    if addresses.is_empty() { What::Absent } else { What::Addresses(addresses) }
}

/// RFC 2181 section 8: with the highest bit set, it is zero.
fn time_to_live(seconds: u32) -> Duration {
    Duration::from_secs(if seconds > i32::MAX.unsigned_abs() { 0 } else { seconds.into() })
}

/// Whether a connection to it can lead to a service: to the unspecified address it would lead to this very host.
fn is_connectable(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{MessageType, OpCode, Query},
        rr::rdata::{A, CNAME, NS, SOA, SRV},
    };

    use super::*;

    fn name(name: &str) -> Name {
        Name::from_ascii(name).unwrap()
    }

    fn answer(kind: RecordType, records: &[(&str, u32, RData)]) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.recursion_available = true;
        message.add_query(Query::query(name("a.x."), kind));
        for (owner, ttl, data) in records {
            message.add_answer(Record::from_rdata(name(owner), *ttl, data.clone()));
        }
        message
    }

    fn a(last: u8) -> RData {
        RData::A(A::new(10, 0, 0, last))
    }

    fn alias(target: &str) -> RData {
        RData::CNAME(CNAME(name(target)))
    }

    fn soa(ttl: u32, minimum: u32) -> Record {
        let soa = SOA::new(name("ns.x."), name("h.x."), 1, 1, 1, 1, minimum);
        Record::from_rdata(name("x."), ttl, RData::SOA(soa))
    }

    fn read(message: &Message) -> Result<(What, u64), String> {
        Answer::read(message).map(|answer| (answer.what, answer.ttl.as_secs()))
    }

    #[test]
    fn addresses_are_sorted_once_each_and_hold_as_long_as_the_shortest_lived() {
        let message = answer(
            RecordType::A,
            &[("a.x.", 60, a(2)), ("a.x.", 30, a(1)), ("A.X.", 60, a(2)), ("b.x.", 1, a(3))],
        );
        let expected = What::Addresses(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]);
        assert_eq!(read(&message).unwrap(), (expected, 30));
        let message = answer(RecordType::A, &[("a.x.", u32::MAX, a(1))]);
        assert_eq!(read(&message).unwrap().1, 0);
    }

    #[test]
    fn aliases_are_followed_within_the_answer_and_a_circle_is_no_answer() {
        let chain = [("a.x.", 60, alias("b.x.")), ("c.x.", 90, a(1)), ("b.x.", 20, alias("c.x."))];
        let expected = What::Addresses(vec![[10, 0, 0, 1].into()]);
        assert_eq!(read(&answer(RecordType::A, &chain)).unwrap(), (expected, 20));
        let open = [("a.x.", 60, alias("b.y."))];
        assert_eq!(read(&answer(RecordType::A, &open)).unwrap(), (What::Alias(name("b.y.")), 60));
        let circle = [("a.x.", 60, alias("b.x.")), ("b.x.", 60, alias("a.x."))];
        assert!(read(&answer(RecordType::A, &circle)).unwrap_err().contains("circle"));
    }

    #[test]
    fn what_is_known_not_to_exist_is_told_from_what_nobody_could_find_out() {
        let mut message = answer(RecordType::A, &[]);
        // "No data" of the third kind: no authority section at all.
        assert_eq!(read(&message).unwrap(), (What::Absent, 0));
        message.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(read(&message).unwrap(), (What::Absent, 0));
        message.add_authority(soa(300, 40));
        assert_eq!(read(&message).unwrap(), (What::Absent, 40));
        message.metadata.response_code = ResponseCode::NoError;
        assert_eq!(read(&message).unwrap(), (What::Absent, 40));

        message.metadata.recursion_available = false;
        assert!(read(&message).unwrap_err().contains("no authority"));
        message.metadata.authoritative = true;
        assert_eq!(read(&message).unwrap(), (What::Absent, 40));
        for code in
            [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::FormErr, ResponseCode::Unknown(77)]
        {
            message.metadata.response_code = code;
            assert!(read(&message).is_err(), "{code}");
        }

        let mut referral = answer(RecordType::A, &[]);
        referral.add_authority(Record::from_rdata(name("x."), 60, RData::NS(NS(name("ns.x.")))));
        assert!(read(&referral).unwrap_err().contains("refers"));
    }

    #[test]
    fn what_no_service_can_be_behind_is_left_out_and_too_much_is_cut() {
        let nowhere = [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255]];
        let records = nowhere.map(|[a, b, c, d]| ("a.x.", 60, RData::A(A::new(a, b, c, d))));
        assert_eq!(read(&answer(RecordType::A, &records)).unwrap().0, What::Absent);

        let many: Vec<_> = (0..4000u16)
            .map(|n| ("a.x.", 60, RData::A(A::new(10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]))))
            .collect();
        let What::Addresses(kept) = read(&answer(RecordType::A, &many)).unwrap().0 else { panic!() };
        assert_eq!(kept.len(), MOST);
    }

    #[test]
    fn a_service_that_points_nowhere_is_absent() {
        let srv = |priority, port, target| RData::SRV(SRV::new(priority, 5, port, name(target)));
        let message = answer(RecordType::SRV, &[("a.x.", 60, srv(0, 0, "."))]);
        assert_eq!(read(&message).unwrap().0, What::Absent);
        let message =
            answer(RecordType::SRV, &[("a.x.", 60, srv(2, 1, "t.x.")), ("a.x.", 60, srv(1, 2, "t.x."))]);
        let What::Services(services) = read(&message).unwrap().0 else { panic!() };
        assert_eq!(services.iter().map(|srv| (srv.priority, srv.port)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
    }
}
