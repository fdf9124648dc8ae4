//! The DNS as a registry, against NSD and against a server that lies.
//!
//! NSD is an authoritative server; its zone is rewritten while it runs. The liar is here because no real server sends
//! what an attacker or a broken one does.

mod liar;
mod nsd;
mod world;

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, SOA},
    },
};
use mainstay_core::task::Tasks;
use mainstay_discovery::{
    Health, Registry, ServiceName, Watch,
    dns::config::{Config, Server},
};

use self::{liar::Liar, nsd::Nsd};

/// Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

fn config(template: &str, servers: &[SocketAddr]) -> Config {
    let mut config = Config::new(template.parse().unwrap());
    config.servers = servers.iter().copied().map(Server).collect();
    config.min_ttl = mainstay_core::config::Duration::from_millis(100);
    config.timeout = mainstay_core::config::Duration::from_millis(500);
    config
}

fn connect(config: &Config) -> Arc<dyn Registry> {
    Arc::new(mainstay_discovery::dns::registry(config, &Tasks::new()).unwrap())
}

fn resolve(registry: &Arc<dyn Registry>, name: &str) -> Watch {
    registry.resolve(&ServiceName::new(name).unwrap())
}

fn places(watch: &Watch) -> Vec<String> {
    watch.snapshot().iter().map(|endpoint| endpoint.place().to_string()).collect()
}

async fn until(watch: &Watch, expected: &[&str]) {
    let changed = async {
        let mut seen = watch.version();
        while !watch.is_settled() || places(watch) != expected {
            seen = watch.changed_since(seen).await;
        }
    };
    assert!(tokio::time::timeout(SOON, changed).await.is_ok(), "{:?}, not {expected:?}", places(watch));
}

async fn until_status(registry: &Arc<dyn Registry>, is_connected: bool, part: &str) {
    let matches = || {
        let status = registry.status();
        let told = status.last_error.is_some_and(|error| error.message.contains(part));
        status.is_connected == is_connected && (told || part.is_empty())
    };
    let waiting = async {
        while !matches() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "{:?}, not {part}", registry.status());
}

#[tokio::test]
async fn changed_records_of_a_real_server_are_seen_and_absence_is_told_from_an_outage() {
    let nsd =
        Nsd::start("orders A 10.0.0.1\norders A 10.0.0.2\norders AAAA fd00::1\nalias CNAME orders\n").await;
    let mut with_port = config("{service}.internal", &[nsd.address()]);
    with_port.port = std::num::NonZeroU16::new(8080);
    let registry = connect(&with_port);
    let (orders, alias) = (resolve(&registry, "orders"), resolve(&registry, "alias"));
    let other = resolve(&registry, "other");
    let all = ["http://10.0.0.1:8080", "http://10.0.0.2:8080", "http://[fd00::1]:8080"];
    until(&orders, &all).await;
    until(&alias, &all).await;
    until(&other, &[]).await;
    assert!(registry.known().iter().map(ServiceName::as_str).eq(["alias", "orders"]));

    nsd.write("orders A 10.0.0.3\nalias CNAME orders\nother A 10.0.1.1\n");
    until(&orders, &["http://10.0.0.3:8080"]).await;
    until(&alias, &["http://10.0.0.3:8080"]).await;
    until(&other, &["http://10.0.1.1:8080"]).await;

    // NXDOMAIN for one, "no data" for the other.
    nsd.write("orders TXT \"gone\"\nalias CNAME orders\n");
    until(&other, &[]).await;
    until(&orders, &[]).await;
    until(&alias, &[]).await;

    nsd.write("orders A 10.0.0.4\nalias CNAME orders\n");
    until(&orders, &["http://10.0.0.4:8080"]).await;
    until_status(&registry, true, "").await;
    nsd.stop();
    until_status(&registry, false, "orders.internal").await;
    assert_eq!(places(&orders), ["http://10.0.0.4:8080"], "an outage changes nothing");

    nsd.write("orders A 10.0.0.5\nalias CNAME orders\n");
    nsd.restart().await;
    until(&orders, &["http://10.0.0.5:8080"]).await;
}

#[tokio::test]
async fn srv_records_give_port_weight_and_who_comes_first() {
    let zone = "_http._tcp.stock SRV 10 3 8001 a\n_http._tcp.stock SRV 10 0 8002 b\n_http._tcp.stock SRV 20 5 8003 c\n\
                a A 10.0.0.1\nb A 10.0.0.2\nb AAAA fd00::2\nc CNAME d\nd A 10.0.0.4\n";
    let nsd = Nsd::start(zone).await;
    let registry = connect(&config("_http._tcp.{service}.internal.", &[nsd.address()]));
    let stock = resolve(&registry, "stock");
    until(
        &stock,
        &["http://10.0.0.1:8001", "http://10.0.0.2:8002", "http://10.0.0.4:8003", "http://[fd00::2]:8002"],
    )
    .await;
    let told: Vec<_> =
        stock.snapshot().iter().map(|endpoint| (endpoint.weight(), endpoint.health())).collect();
    let expected = [(3, Health::Serving), (1, Health::Serving), (5, Health::Draining), (1, Health::Serving)];
    assert_eq!(told, expected);

    // RFC 2782: "not available at this domain".
    nsd.write("_http._tcp.stock SRV 0 0 0 .\n");
    until(&stock, &[]).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_for_udp_comes_over_tcp() {
    let zone: String = (0..250).map(|n| format!("many A 10.0.1.{n}\n")).collect();
    let nsd = Nsd::start(&zone).await;
    let registry = connect(&config("{service}.internal", &[nsd.address()]));
    let many = resolve(&registry, "many");
    many.settled().await;
    assert_eq!(many.snapshot().len(), 250);
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_refuses_or_is_silent() {
    let nsd = Nsd::start("orders A 10.0.0.1\n").await;
    let refuses = Liar::start(|question, _| vec![code(question, ResponseCode::Refused)]).await;
    let silent = Liar::start(|_, _| vec![]).await;
    let registry =
        connect(&config("{service}.internal", &[refuses.address(), silent.address(), nsd.address()]));
    until(&resolve(&registry, "orders"), &["http://10.0.0.1:80"]).await;
}

fn name(name: &str) -> Name {
    Name::from_ascii(name).unwrap()
}

/// An honest answer without records, of a server that recurses.
fn empty(question: &Message) -> Message {
    let mut answer = question.clone();
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    answer
}

fn code(question: &Message, code: ResponseCode) -> Vec<u8> {
    let mut answer = empty(question);
    answer.metadata.response_code = code;
    answer.to_vec().unwrap()
}

/// With one address, where addresses of that kind are asked for; for a short time.
fn address(question: &Message, last: u8) -> Message {
    let mut answer = empty(question);
    let query = &question.queries[0];
    if query.query_type == RecordType::A {
        answer.add_answer(Record::from_rdata(query.name.clone(), 0, RData::A(A::new(10, 0, 0, last))));
    }
    answer
}

#[tokio::test]
async fn forged_answers_neither_count_nor_end_the_wait_for_the_true_one() {
    let liar = Liar::start(|question, _| {
        let mut wrong_id = address(question, 66);
        wrong_id.metadata.id = !wrong_id.metadata.id;
        let mut wrong_name = address(question, 66);
        wrong_name.queries[0].name = name("evil.internal.");
        let garbage = [&question.metadata.id.to_be_bytes()[..], &[0xff; 40]].concat();
        let mut elsewhere = empty(question);
        elsewhere.add_answer(Record::from_rdata(name("evil.internal."), 60, RData::A(A::new(10, 0, 0, 66))));
        elsewhere.metadata.id ^= 1;
        let (wrong_id, wrong_name) = (wrong_id.to_vec().unwrap(), wrong_name.to_vec().unwrap());
        vec![
            vec![],
            garbage,
            wrong_id,
            wrong_name,
            elsewhere.to_vec().unwrap(),
            question.to_vec().unwrap(),
            address(question, 1).to_vec().unwrap(),
        ]
    })
    .await;
    let registry = connect(&config("{service}.internal", &[liar.address()]));
    until(&resolve(&registry, "orders"), &["http://10.0.0.1:80"]).await;
}

#[tokio::test]
async fn what_can_not_be_believed_changes_nothing() {
    let liar = Liar::start(|question, _| vec![address(question, 1).to_vec().unwrap()]).await;
    let registry = connect(&config("{service}.internal", &[liar.address()]));
    let orders = resolve(&registry, "orders");
    until(&orders, &["http://10.0.0.1:80"]).await;

    type Answers = fn(&Message, bool) -> Vec<Vec<u8>>;
    let lies: [(&str, Answers); 8] = [
        ("no answer within", |_, _| vec![]),
        ("no answer within", |question, _| {
            vec![[&question.metadata.id.to_be_bytes()[..], &[7; 600]].concat()]
        }),
        ("Server Failure", |question, _| vec![code(question, ResponseCode::ServFail)]),
        ("Refused", |question, _| vec![code(question, ResponseCode::Refused)]),
        ("no authority", |question, _| {
            let mut answer = empty(question);
            answer.metadata.recursion_available = false;
            answer.metadata.response_code = ResponseCode::NXDomain;
            vec![answer.to_vec().unwrap()]
        }),
        // Each name is an alias of another, for ever.
        ("aliases", |question, _| {
            let mut answer = empty(question);
            let query = &question.queries[0];
            let next =
                name(&format!("{}.x.", query.name.num_labels() + 1)).append_domain(&query.name).unwrap();
            answer.add_answer(Record::from_rdata(query.name.clone(), 60, RData::CNAME(CNAME(next))));
            vec![answer.to_vec().unwrap()]
        }),
        ("aliases", |question, _| {
            let mut answer = empty(question);
            let own = question.queries[0].name.clone();
            answer.add_answer(Record::from_rdata(own.clone(), 60, RData::CNAME(CNAME(own))));
            vec![answer.to_vec().unwrap()]
        }),
        // Truncated, with a record that must not be used; and over TCP there is only silence.
        ("over TCP", |question, is_tcp| {
            let mut answer = address(question, 66);
            answer.metadata.truncation = true;
            if is_tcp { vec![b"not dns".to_vec()] } else { vec![answer.to_vec().unwrap()] }
        }),
    ];
    for (part, lie) in lies {
        liar.say(lie);
        until_status(&registry, false, part).await;
        assert_eq!(places(&orders), ["http://10.0.0.1:80"], "{part}");
        liar.say(|question, _| vec![address(question, 1).to_vec().unwrap()]);
        until_status(&registry, true, "").await;
    }
    assert!(liar.asked() < 5000, "{} questions", liar.asked());
}

#[tokio::test]
async fn one_kind_of_address_that_fails_costs_the_other_nothing() {
    let liar = Liar::start(|question, _| match question.queries[0].query_type {
        RecordType::A => vec![address(question, 1).to_vec().unwrap()],
        _ => vec![code(question, ResponseCode::ServFail)],
    })
    .await;
    let registry = connect(&config("{service}.internal", &[liar.address()]));
    let orders = resolve(&registry, "orders");
    until(&orders, &["http://10.0.0.1:80"]).await;
    until_status(&registry, false, "AAAA").await;

    // Nothing is known of one kind, and nothing is there of the other: that is not "no endpoints".
    liar.say(|question, _| match question.queries[0].query_type {
        RecordType::A => vec![code(question, ResponseCode::NXDomain)],
        _ => vec![code(question, ResponseCode::ServFail)],
    });
    let seen = liar.asked();
    while liar.asked() < seen + 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(places(&orders), ["http://10.0.0.1:80"]);
}

#[tokio::test]
async fn an_enormous_answer_is_cut_and_times_to_live_are_bounded() {
    let liar = Liar::start(|question, is_tcp| {
        let mut answer = empty(question);
        if !is_tcp {
            answer.metadata.truncation = true;
            return vec![answer.to_vec().unwrap()];
        }
        if question.queries[0].query_type == RecordType::A {
            for n in 1..=2000u16 {
                let [high, low] = n.to_be_bytes();
                let data = RData::A(A::new(10, 0, high, low));
                answer.add_answer(Record::from_rdata(
                    question.queries[0].name.clone(),
                    i32::MAX as u32,
                    data,
                ));
            }
        }
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let mut bounded = config("{service}.internal", &[liar.address()]);
    bounded.max_ttl = mainstay_core::config::Duration::from_millis(200);
    let registry = connect(&bounded);
    let many = resolve(&registry, "many");
    until_status(&registry, true, "").await;
    assert_eq!(many.snapshot().len(), 1000);
    // 68 years, it says; asked for again nevertheless.
    liar.say(|question, _| vec![address(question, 1).to_vec().unwrap()]);
    until(&many, &["http://10.0.0.1:80"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_know_edns_is_asked_without_it() {
    let liar = Liar::start(|question, _| {
        if question.edns.is_some() {
            let mut refusal = empty(question);
            refusal.edns = None;
            refusal.metadata.response_code = ResponseCode::FormErr;
            return vec![refusal.to_vec().unwrap()];
        }
        vec![address(question, 1).to_vec().unwrap()]
    })
    .await;
    let registry = connect(&config("{service}.internal", &[liar.address()]));
    until(&resolve(&registry, "orders"), &["http://10.0.0.1:80"]).await;
}

#[tokio::test]
async fn search_lists_are_never_used() {
    let liar = Liar::start(|question, _| {
        assert_eq!(question.queries[0].name, name("orders.internal."));
        let mut answer = empty(question);
        let soa = SOA::new(name("ns.internal."), name("h.internal."), 1, 1, 1, 1, 0);
        answer.add_authority(Record::from_rdata(name("internal."), 0, RData::SOA(soa)));
        answer.metadata.response_code = ResponseCode::NXDomain;
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let registry = connect(&config("{service}.internal", &[liar.address()]));
    let orders = resolve(&registry, "orders");
    until(&orders, &[]).await;
    until_status(&registry, true, "").await;
}

/// A port that is free for UDP and TCP.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
            return (socket, listener);
        }
    }
}
