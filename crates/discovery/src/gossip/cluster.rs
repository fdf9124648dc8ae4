//! Whole clusters, step by step: a network that loses, delays, repeats and cuts, and a clock that jumps from event to
//! event.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::Instant;

use super::{
    engine::{Engine, MAX_MEMBERS, Options},
    member::MAX_SLOTS,
    wire::{Entry, Head, Message, NodeId, Registration, Writer},
};
use crate::{Endpoint, Health, ServiceName};

const INTERVAL: Duration = Duration::from_millis(250);
const FORGET_AFTER: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

struct Network {
    now: Instant,
    nodes: BTreeMap<SocketAddr, Engine>,
    seeds: Vec<SocketAddr>,
    rng: fastrand::Rng,
    /// Ordered by time, then by number.
    under_way: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    loss: f64,
    twice: f64,
    /// Those that can't reach the others, and are not reached by them.
    cut_off: HashSet<SocketAddr>,
    recorded: Option<Vec<(SocketAddr, Vec<u8>)>>,
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + number))
}

fn orders() -> ServiceName {
    "orders".parse().unwrap()
}

fn endpoint_of(node: SocketAddr) -> Endpoint {
    Endpoint::tcp("10.0.0.1", node.port())
}

impl Network {
    fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            nodes: BTreeMap::new(),
            seeds: vec![address(0), address(1)],
            rng: fastrand::Rng::with_seed(seed),
            under_way: BTreeMap::new(),
            sent: 0,
            loss: 0.0,
            twice: 0.0,
            cut_off: HashSet::new(),
            recorded: None,
        }
    }

    /// As many nodes, each with an endpoint, that know each other.
    fn of(count: u16, seed: u64) -> Self {
        let mut network = Self::new(seed);
        for number in 0..count {
            network.start(number);
        }
        network.agrees_within(Duration::from_secs(5));
        network
    }

    fn start(&mut self, number: u16) {
        let address = address(number);
        self.start_silent(number);
        let (now, registration) =
            (self.now, Registration { service: orders(), endpoint: endpoint_of(address) });
        self.node(number).register(registration, now).unwrap();
    }

    fn start_silent(&mut self, number: u16) {
        let address = address(number);
        let options = Options {
            address,
            interval: INTERVAL,
            forget_after: FORGET_AFTER,
            loopback_only: true,
            has_seeds: true,
        };
        let mut engine = Engine::new(options, self.rng.u64(..), self.now);
        for (index, seed) in self.seeds.iter().enumerate() {
            engine.set_seed(index, vec![*seed]);
        }
        self.nodes.insert(address, engine);
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn node(&mut self, number: u16) -> &mut Engine {
        self.nodes.get_mut(&address(number)).unwrap()
    }

    fn crash(&mut self, number: u16) {
        self.nodes.remove(&address(number)).unwrap();
    }

    /// Lets this much time pass.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.next(until) {}
        self.now = until;
    }

    /// Lets the next thing happen, if it happens by then.
    fn next(&mut self, until: Instant) -> bool {
        let timer = self.nodes.iter().map(|(address, node)| (node.due(), *address)).min();
        let arrival = self.under_way.keys().next().copied();
        match (timer, arrival) {
            (_, Some((at, number)))
                if at <= until && timer.is_none_or(|(due, _)| at <= due.max(self.now)) =>
            {
                self.now = self.now.max(at);
                let (from, to, bytes) = self.under_way.remove(&(at, number)).unwrap();
                if self.cut_off.contains(&from) == self.cut_off.contains(&to)
                    && let Some(node) = self.nodes.get_mut(&to)
                {
                    node.handle(&bytes, self.now);
                    self.collect(to);
                }
                true
            }
            (Some((due, address)), _) if due <= until => {
                self.now = self.now.max(due);
                self.nodes.get_mut(&address).unwrap().step(self.now);
                self.collect(address);
                true
            }
            _ => false,
        }
    }

    fn collect(&mut self, from: SocketAddr) {
        for (to, bytes) in self.nodes.get_mut(&from).unwrap().take_outgoing() {
            if let Some(recorded) = &mut self.recorded {
                recorded.push((to, bytes.clone()));
            }
            let copies = 1 + u32::from(self.rng.f64() < self.twice);
            for _ in 0..copies {
                if self.rng.f64() >= self.loss {
                    let delay = Duration::from_micros(self.rng.u64(100..2_000));
                    self.sent += 1;
                    self.under_way.insert((self.now + delay, self.sent), (from, to, bytes.clone()));
                }
            }
        }
    }

    /// What each node lists, and how.
    fn views(&self) -> BTreeMap<SocketAddr, Vec<Endpoint>> {
        self.nodes
            .iter()
            .map(|(address, node)| {
                let mut endpoints = node.endpoints(&orders());
                endpoints.sort_by_key(|endpoint| endpoint.place().clone());
                (*address, endpoints)
            })
            .collect()
    }

    /// Whether all list exactly what those that run have registered, all serving.
    fn agrees(&self) -> bool {
        let expected: Vec<_> = self.nodes.keys().map(|address| endpoint_of(*address)).collect();
        self.views().values().all(|view| *view == expected)
    }

    fn agrees_within(&mut self, bound: Duration) -> Duration {
        self.until(bound, Self::agrees)
    }

    fn all(&self, lists: impl Fn(&[Endpoint]) -> bool) -> bool {
        self.views().values().all(|view| lists(view))
    }

    /// How long it took, a little more than exactly: looking is what costs time here.
    fn until(&mut self, bound: Duration, reached: impl Fn(&Self) -> bool) -> Duration {
        let (started, step) = (self.now, (bound / 100).max(Duration::from_millis(1)));
        while !reached(self) {
            assert!(self.now < started + bound, "not after {bound:?}: {:#?}", self.views());
            self.run(step);
        }
        self.now - started
    }
}

fn health_of(view: &[Endpoint], number: u16) -> Option<Health> {
    let place = endpoint_of(address(number)).place().clone();
    view.iter().find(|endpoint| *endpoint.place() == place).map(Endpoint::health)
}

#[test]
fn all_see_a_change_within_one_interval() {
    for (nodes, seed) in [(2, 1), (3, 2), (10, 3), (50, 4)] {
        let mut network = Network::of(nodes, seed);
        network.run(SECOND * 20);
        let now = network.now();
        let other = Registration { service: orders(), endpoint: Endpoint::tcp("new", 1) };
        let slot = network.node(nodes - 1).register(other, now).unwrap();
        let took = network.until(INTERVAL, |network| {
            network.all(|view| view.iter().any(|endpoint| endpoint.address().to_string() == "new:1"))
        });
        assert!(took <= INTERVAL, "{nodes} nodes: {took:?}");
        network.node(nodes - 1).withdraw(slot, now + took);
        network.agrees_within(INTERVAL);
        let version = network.node(nodes - 1).version();
        network.run(SECOND);
        assert!(network.node(nodes - 1).is_known_to_all(version));
    }
}

#[test]
fn what_is_lost_on_the_way_is_told_again() {
    let mut network = Network::new(7);
    (network.loss, network.twice) = (0.3, 0.1);
    for number in 0..20 {
        network.start(number);
    }
    network.agrees_within(SECOND * 10);
    network.run(SECOND * 60);
    let failing = |network: &Network| {
        network.views().values().flatten().filter(|endpoint| endpoint.health() == Health::Failing).count()
    };
    assert_eq!(failing(&network), 0, "a third of all datagrams lost is no reason to give somebody up");
}

#[test]
fn a_process_that_leaves_is_gone_before_the_next_round() {
    let mut network = Network::of(10, 11);
    network.run(SECOND * 5);
    let now = network.now();
    network.node(4).leave(now);
    let took = network.until(INTERVAL, |network| network.all(|view| health_of(view, 4).is_none()));
    assert!(took < Duration::from_millis(50), "{took:?}");
    let version = network.node(4).version();
    network.run(INTERVAL);
    assert!(network.node(4).is_known_to_all(version), "it knows that it may end");
    network.crash(4);
    network.run(SECOND * 120);
    assert!(network.agrees(), "and it does not come back");
}

#[test]
fn a_crash_is_noticed_in_seconds_and_forgotten_later() {
    for nodes in [3, 30] {
        let mut network = Network::of(nodes, 13);
        network.run(SECOND * 30);
        network.crash(2);
        network.run(SECOND);
        assert!(network.all(|view| health_of(view, 2) == Some(Health::Serving)), "nobody is hasty");
        network.until(SECOND * 6, |network| network.all(|view| health_of(view, 2) == Some(Health::Failing)));
        network.until(FORGET_AFTER, |network| network.all(|view| health_of(view, 2).is_none()));
        assert!(network.agrees(), "nobody else was suspected");
        // The same process, which others have only lost from sight, would be back at once; this one is another.
        network.start(2);
        network.agrees_within(SECOND * 2);
    }
}

#[test]
fn a_restart_at_the_same_address_replaces_what_was_there() {
    let mut network = Network::of(6, 17);
    network.run(SECOND * 10);
    network.crash(3);
    network.start_silent(3);
    let endpoint = Endpoint::tcp("10.9.9.9", 9);
    let now = network.now();
    network.node(3).register(Registration { service: orders(), endpoint: endpoint.clone() }, now).unwrap();
    network.until(SECOND, |network| {
        network.all(|view| health_of(view, 3).is_none() && view.contains(&endpoint))
    });
}

#[test]
fn a_partition_heals_whatever_each_side_believes() {
    // Cut for a moment; until the others count as failing; until they are forgotten; for longer than they are tried.
    for (cut, nodes) in [(1, 8), (20, 8), (100, 8), (4000, 3)] {
        let mut network = Network::of(nodes, 19);
        network.run(SECOND * 5);
        network.cut_off.extend((nodes / 2..nodes).map(address));
        network.run(SECOND * cut);
        network.cut_off.clear();
        network.agrees_within(SECOND * 10);
    }
}

#[test]
fn a_partition_heals_when_the_seeds_were_restarted_meanwhile() {
    let mut network = Network::of(8, 23);
    network.run(SECOND * 5);
    network.cut_off.extend((2..8).map(address));
    network.run(SECOND * 100);
    for seed in [0, 1] {
        network.crash(seed);
        network.start(seed);
    }
    network.run(SECOND * 100);
    network.cut_off.clear();
    network.agrees_within(SECOND * 10);
}

#[test]
fn a_process_that_is_cut_off_keeps_what_it_knows_as_failing() {
    let mut network = Network::of(5, 29);
    network.run(SECOND * 5);
    network.cut_off.insert(address(4));
    network.run(SECOND * 200);
    let views = network.views();
    assert_eq!(views[&address(4)].len(), 5, "nothing is forgotten by who hears nobody");
    assert_eq!(health_of(&views[&address(4)], 0), Some(Health::Failing));
    assert_eq!(health_of(&views[&address(4)], 4), Some(Health::Serving), "it knows that it serves itself");
    assert_eq!(health_of(&views[&address(0)], 4), None, "the others forget it");
    network.cut_off.clear();
    network.agrees_within(SECOND * 5);
}

#[test]
fn a_process_that_was_stopped_itself_does_not_give_up_the_others() {
    let mut network = Network::of(5, 31);
    network.run(SECOND * 5);
    // It neither hears nor does anything for 40 seconds; then its timer is long overdue.
    let stopped = network.nodes.remove(&address(2)).unwrap();
    network.run(SECOND * 40);
    assert_eq!(health_of(&network.views()[&address(0)], 2), Some(Health::Failing));
    network.nodes.insert(address(2), stopped);
    network.run(Duration::from_millis(1));
    let view = network.views()[&address(2)].clone();
    assert!(view.iter().all(|endpoint| endpoint.health() == Health::Serving), "{view:?}");
    network.agrees_within(SECOND * 2);
}

#[test]
fn what_was_recorded_and_is_sent_again_changes_nothing() {
    let mut network = Network::of(5, 37);
    network.recorded = Some(Vec::new());
    network.run(SECOND * 20);
    network.crash(4);
    let now = network.now();
    network.node(3).leave(now);
    network.run(SECOND * 2);
    network.crash(3);
    let mut recorded = network.recorded.take().unwrap();
    // Both while the tokens in it are still accepted and when they are not.
    for wait in [10, 100, 3700] {
        network.run(SECOND * wait);
        network.rng.shuffle(&mut recorded);
        let before = network.views();
        for (to, bytes) in &recorded {
            let now = network.now();
            if let Some(node) = network.nodes.get_mut(to) {
                node.handle(bytes, now);
                node.take_outgoing();
            }
        }
        let changed =
            |view: &[Endpoint]| view.iter().map(|endpoint| endpoint.place().clone()).collect::<BTreeSet<_>>();
        for (node, view) in network.views() {
            assert_eq!(changed(&view), changed(&before[&node]), "after {wait} s");
            assert_ne!(health_of(&view, 4), Some(Health::Serving), "the dead stay dead, after {wait} s");
            assert_eq!(health_of(&view, 3), None, "who has left has left, after {wait} s");
        }
    }
    network.run(SECOND * 5);
    assert!(network.agrees());
}

#[test]
fn answers_to_what_is_sent_again_are_few_and_go_to_nobody_else() {
    let mut network = Network::of(2, 41);
    network.recorded = Some(Vec::new());
    network.run(SECOND * 2);
    let recorded = network.recorded.take().unwrap();
    network.run(SECOND * 100);
    let to_first: Vec<_> = recorded.into_iter().filter(|(to, _)| *to == address(0)).collect();
    let now = network.now();
    let node = network.node(0);
    for _ in 0..1000 {
        for (_, bytes) in &to_first {
            node.handle(bytes, now);
        }
    }
    let answers = node.take_outgoing();
    assert!(answers.len() <= 64, "{}", answers.len());
    assert!(answers.iter().all(|(to, bytes)| *to == address(1) && bytes.len() < 60));
}

#[test]
fn two_processes_that_advertise_one_address_are_noticed() {
    let mut network = Network::of(3, 43);
    network.run(SECOND * 2);
    // What somebody says who believes that the node is gone.
    let now = network.now();
    let own = network.node(1).take_outgoing();
    assert!(own.is_empty());
    let views = network.views();
    assert_eq!(views[&address(0)].len(), 3);
    let stats = network.node(1).stats;
    assert_eq!(stats.renamed, 0);
    // A second process at the same address: the first one's peers hear of it, and tell the first that it is gone.
    let original = network.nodes.remove(&address(1)).unwrap();
    network.start_silent(1);
    network.run(SECOND);
    let other = network.nodes.insert(address(1), original).unwrap();
    drop(other);
    network.run(SECOND * 10);
    assert!(network.node(1).stats.renamed > 0);
    assert!(network.now() > now);
    network.agrees_within(SECOND * 5);
}

#[test]
fn who_hears_nobody_settles_after_a_while_and_who_joins_when_it_knows_all() {
    let mut network = Network::new(47);
    network.start(0);
    network.run(INTERVAL);
    assert!(!network.node(0).is_settled());
    network.run(INTERVAL * 11);
    assert!(network.node(0).is_settled());

    let mut network = Network::of(30, 53);
    network.start_silent(40);
    let now = network.now();
    while !network.node(40).is_settled() {
        network.next(now + SECOND * 10);
    }
    assert_eq!(network.views()[&address(40)].len(), 30, "settled means that it knows");
    assert!(network.now() - now < SECOND);
}

#[test]
fn a_process_has_room_for_its_registrations_and_no_more() {
    let mut network = Network::of(2, 59);
    let now = network.now();
    let mut slots = Vec::new();
    for number in 0..u16::MAX {
        let endpoint = Endpoint::tcp("a", number + 1);
        match network.node(0).register(Registration { service: orders(), endpoint }, now) {
            Ok(slot) => slots.push(slot),
            Err(_) => break,
        }
    }
    assert_eq!(slots.len(), usize::from(MAX_SLOTS) - 1);
    // More than fits into one datagram, or ten.
    network.until(SECOND * 2, |network| network.all(|view| view.len() == slots.len() + 2));
    for slot in slots {
        network.node(0).withdraw(slot, now);
    }
    network.agrees_within(SECOND * 2);
}

/// A holder of the key that tells lies.
struct Liar {
    beat: u64,
    token: u64,
}

impl Liar {
    /// Gets the token of node 0.
    fn new(network: &mut Network) -> Self {
        let mut liar = Self { beat: 0, token: 0 };
        let now = network.now();
        let hello = liar.say(|_| {});
        network.node(0).handle(&hello, now);
        let answers = network.node(0).take_outgoing();
        let (_, bytes) = answers.iter().find(|(to, _)| *to == address(999)).unwrap();
        liar.token = Message::decode(bytes).unwrap().head.token;
        liar
    }

    fn say(&mut self, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        self.beat += 1;
        let sender = Entry {
            id: NodeId(999),
            address: address(999),
            beat: self.beat,
            version: 0,
            age: 0,
            left: false,
        };
        let head = Head { to: self.token, token: 1, pushed: true, wants_answer: true, ..Head::default() };
        let mut writer = Writer::new(head, &sender);
        write(&mut writer);
        writer.finish(head)
    }
}

#[test]
fn memory_is_bounded_whatever_a_holder_of_the_key_says() {
    let mut network = Network::of(2, 61);
    let mut liar = Liar::new(&mut network);
    let registration = Registration { service: orders(), endpoint: Endpoint::tcp("a".repeat(200), 1) };
    for id in 0..2000 {
        let bytes = liar.say(|writer| {
            let id = NodeId(10_000 + id);
            writer.entry(&Entry { id, address: address(5), beat: 1, version: u64::MAX, age: 0, left: false });
            let facts = (0..u16::MAX).map(|slot| (slot, u64::from(slot) + 1, Some(&registration)));
            writer.delta(id, 0, facts);
        });
        let now = network.now();
        network.node(0).handle(&bytes, now);
        network.node(0).take_outgoing();
    }
    let now = network.now();
    assert!(network.node(0).known(now).len() <= MAX_MEMBERS);
    assert!(network.node(0).stats.refused > 0);
    // And the time comes when the lies are forgotten, and only the truth is left.
    network.run(SECOND * 200);
    assert!(network.agrees());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_happens_they_agree_in_the_end(
        seed in any::<u64>(),
        events in prop::collection::vec((0..6u8, 0..8u16, 0..8u64), 1..16),
        loss in 0.0..0.4f64,
    ) {
        let mut network = Network::of(8, seed);
        (network.loss, network.twice) = (loss, 0.1);
        for (event, number, seconds) in events {
            let (node, now) = (address(number), network.now());
            match event {
                0 if network.nodes.contains_key(&node) && network.nodes.len() > 2 => network.crash(number),
                1 if !network.nodes.contains_key(&node) => network.start(number),
                2 => { network.cut_off.insert(node); }
                3 => network.cut_off.clear(),
                4 if network.nodes.contains_key(&node) && network.nodes.len() > 2 => {
                    network.node(number).leave(now);
                    network.run(Duration::from_millis(20));
                    network.crash(number);
                }
                _ => {}
            }
            network.run(SECOND * u32::try_from(seconds).unwrap());
        }
        network.cut_off.clear();
        network.loss = 0.05;
        // Who crashed is listed, as failing, until it is forgotten.
        network.agrees_within(FORGET_AFTER + SECOND * 30);
    }

    #[test]
    fn no_message_of_a_holder_of_the_key_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut network = Network::of(2, 67);
        let mut liar = Liar::new(&mut network);
        let mut message = liar.say(|_| {});
        message.extend_from_slice(&bytes);
        let now = network.now();
        network.node(0).handle(&message, now);
        network.node(0).handle(&bytes, now);
    }
}
