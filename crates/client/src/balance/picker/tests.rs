//! What the choice does over many requests, on a paused clock and with seeded randomness.

use std::{collections::HashMap, time::Duration};

use mainstay_discovery::{Address, Endpoint, Health, watch::Publisher};
use proptest::prelude::*;
use tokio::time::{Instant, advance};

use super::*;
use crate::balance::{InFlight, ejection::Reason, state::State, state::Tier};

type Choice = Picker<()>;

fn endpoints(count: u16) -> Vec<Endpoint> {
    (1..=count).map(|port| Endpoint::tcp("h", port)).collect()
}

fn in_zones(zones: &[(&str, u16)]) -> Vec<Endpoint> {
    let mut all = Vec::new();
    for (zone, count) in zones {
        all.extend((1..=*count).map(|port| Endpoint::tcp(*zone, port).with_zone(*zone)));
    }
    all
}

struct Bed {
    publisher: Publisher,
    picker: Choice,
}

impl Bed {
    fn new(endpoints: Vec<Endpoint>, config: Config) -> Self {
        Self::with(endpoints, config, ejection::Config::default(), Origin::default().with_id("test"))
    }

    fn with(endpoints: Vec<Endpoint>, config: Config, ejection: ejection::Config, origin: Origin) -> Self {
        fastrand::seed(7);
        let publisher = Publisher::new();
        publisher.publish(endpoints);
        let picker = Choice::new(publisher.watch(), origin, config, ejection);
        Self { publisher, picker }
    }

    fn of_policy(policy: Policy, endpoints: Vec<Endpoint>) -> Self {
        Self::new(endpoints, Config { policy, ..Config::default() })
    }

    fn in_zone(zone: &str, endpoints: Vec<Endpoint>, config: Config) -> Self {
        let origin = Origin::default().with_id("test").with_zone(zone);
        Self::with(endpoints, config, ejection::Config::default(), origin)
    }

    fn choose(&self) -> String {
        name(&self.picker.choose(&[], None).unwrap())
    }

    fn begin(&self) -> (String, InFlight<()>) {
        let member = self.picker.choose(&[], None).unwrap();
        (name(&member), member.start(Instant::now() + Duration::from_secs(60)))
    }

    /// A request to `wanted`, chosen or not.
    fn begin_at(&self, wanted: &str) -> InFlight<()> {
        let known = self.picker.0.known.load();
        let members = (0..known.slots.len()).map(|index| known.member(index, Claim::Ordinary).unwrap());
        let member = members.into_iter().find(|member| name(member) == wanted).unwrap();
        member.start(Instant::now() + Duration::from_secs(60))
    }

    /// Requests one after the other that are answered at once, by endpoint.
    fn shares(&self, requests: u32) -> HashMap<String, f64> {
        let mut shares = HashMap::new();
        for _ in 0..requests {
            let (name, mut request) = self.begin();
            request.ended(Some(true), false);
            *shares.entry(name).or_default() += 1.0 / f64::from(requests);
        }
        shares
    }

    fn share_of(&self, requests: u32, prefix: &str) -> f64 {
        self.shares(requests)
            .into_iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, share)| share)
            .sum()
    }

    fn state_of(&self, name: &str) -> State {
        let state = self.picker.state("stock".parse().unwrap());
        state.endpoints.iter().find(|endpoint| endpoint.place.ends_with(name)).unwrap().state
    }
}

fn name(member: &Member<()>) -> String {
    member.endpoint.address().to_string()
}

fn near(share: f64, expected: f64) -> bool {
    (share - expected).abs() < 0.03 + expected * 0.1
}

#[tokio::test(start_paused = true)]
async fn a_place_keeps_what_is_known_of_it_while_it_is_listed() {
    let bed = Bed::new(vec![], Config::default());
    assert!(bed.picker.choose(&[], None).is_none());
    bed.publisher.publish([Endpoint::tcp("a", 1)]);
    let first = bed.picker.choose(&[], None).unwrap();
    bed.publisher.publish([Endpoint::tcp("a", 1).with_weight(7), Endpoint::tcp("b", 1)]);
    let other = bed.picker.choose(std::slice::from_ref(&first.place), None).unwrap();
    assert_eq!(name(&other), "b:1", "the one that was not tried");
    bed.publisher.publish([Endpoint::tcp("a", 1).with_weight(9)]);
    let again = bed.picker.choose(&[], None).unwrap();
    assert!(Arc::ptr_eq(&first.place, &again.place));
    assert_eq!(again.endpoint.weight(), 9);
    bed.publisher.publish([]);
    assert!(bed.picker.choose(&[], None).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_avoided_but_never_lost() {
    for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin, Policy::Hash] {
        let bed = Bed::of_policy(policy, endpoints(2));
        let (failing, mut request) = bed.begin();
        request.failed();
        drop(request);
        for _ in 0..100 {
            assert_ne!(bed.choose(), failing, "{policy:?}");
        }
        // The other one fails too: any is better than none.
        let (_, mut request) = bed.begin();
        request.failed();
        drop(request);
        assert!(bed.picker.choose(&[], None).is_some());
        advance(Duration::from_secs(5)).await;
        assert!((0..100).any(|_| bed.choose() == failing), "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_endpoints_have_the_shares_of_their_weights() {
    for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin] {
        let all = (1..=4).map(|weight| Endpoint::tcp("h", weight as u16).with_weight(weight)).collect();
        let bed = Bed::of_policy(policy, all);
        // Measured once, so that none of them is new.
        bed.shares(1000);
        let shares = bed.shares(20_000);
        for weight in 1..=4 {
            let share = shares[&format!("h:{weight}")];
            assert!(near(share, f64::from(weight) / 10.0), "{policy:?} {weight}: {share}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_are_spread_by_weight() {
    for policy in [Policy::PeakEwma, Policy::LeastRequest] {
        let all = vec![Endpoint::tcp("a", 1), Endpoint::tcp("b", 1).with_weight(3)];
        let bed = Bed::of_policy(policy, all);
        bed.shares(100);
        let under_way: Vec<_> = (0..400).map(|_| bed.begin()).collect();
        let light = under_way.iter().filter(|(name, _)| name == "a:1").count();
        assert!((85..=115).contains(&light), "{policy:?}: {light} of 400");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_is_avoided_by_its_latency() {
    let bed = Bed::new(endpoints(10), Config::default());
    let mut slow = 0;
    for _ in 0..2000 {
        let (name, mut request) = bed.begin();
        let is_slow = name == "h:3";
        slow += u32::from(is_slow);
        advance(Duration::from_millis(if is_slow { 100 } else { 1 })).await;
        request.ended(Some(true), false);
    }
    assert!((1..=20).contains(&slow), "{slow} of 2000");
}

#[tokio::test(start_paused = true)]
async fn the_registrys_word_orders_the_endpoints() {
    let all = vec![
        Endpoint::tcp("draining", 1).with_health(Health::Draining),
        Endpoint::tcp("failing", 1).with_health(Health::Failing),
        Endpoint::tcp("serving", 1),
    ];
    for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin, Policy::Hash] {
        let bed = Bed::of_policy(policy, all.clone());
        let mut tried = Vec::new();
        for expected in ["serving:1", "draining:1", "failing:1"] {
            for _ in 0..50 {
                assert_eq!(
                    name(&bed.picker.choose(&tried, Some(Key::of("k"))).unwrap()),
                    expected,
                    "{policy:?}"
                );
            }
            tried.push(bed.picker.choose(&tried, None).unwrap().place);
        }
        // All were tried: any is better than none.
        assert!(bed.picker.choose(&tried, None).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_is_preferred_as_far_as_it_has_its_part() {
    // As many here as elsewhere on average: all stay.
    let even = in_zones(&[("a", 3), ("b", 3), ("c", 3)]);
    for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin] {
        let config = Config { policy, ..Config::default() };
        let bed = Bed::in_zone("a", even.clone(), config.clone());
        assert!(bed.share_of(3000, "a:") > 0.999, "{policy:?}");
        // One of ten, two zones: a fifth stays, so that it does not carry half of the load.
        let uneven = in_zones(&[("a", 1), ("b", 9)]);
        let bed = Bed::in_zone("a", uneven, config.clone());
        let share = bed.share_of(10_000, "a:");
        assert!(near(share, 0.2), "{policy:?}: {share}");
        // Turned off, or in no zone that has endpoints: all alike.
        let off = Config { prefer_zone: false, ..config.clone() };
        for bed in [Bed::in_zone("a", even.clone(), off), Bed::in_zone("x", even.clone(), config)] {
            bed.shares(1000);
            let share = bed.share_of(10_000, "a:");
            assert!(near(share, 1.0 / 3.0), "{policy:?}: {share}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_own_zone_cant_carry_spills_over() {
    for policy in [Policy::PeakEwma, Policy::LeastRequest] {
        let config = Config { policy, ..Config::default() };
        let bed = Bed::in_zone("a", in_zones(&[("a", 2), ("b", 2)]), config);
        let under_way: Vec<_> = (0..100).map(|_| bed.begin()).collect();
        let here = under_way.iter().filter(|(name, _)| name.starts_with("a:")).count();
        // `zone_spill` is 2: twice as many here as elsewhere.
        assert!((60..=72).contains(&here), "{policy:?}: {here} of 100");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_zone_gives_its_part_to_the_others() {
    let bed = Bed::in_zone("a", in_zones(&[("a", 4), ("b", 4)]), Config::default());
    assert!(bed.share_of(1000, "a:") > 0.999);
    for port in 1..=3 {
        let mut request = bed.begin_at(&format!("a:{port}"));
        request.failed();
    }
    // One of four is left here and four there: a fifth of all, times two zones.
    let share = bed.share_of(2000, "a:");
    assert!(near(share, 0.4), "{share}");
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_comes_up_to_its_share_slowly() {
    for policy in [Policy::LeastRequest, Policy::RoundRobin] {
        let bed = Bed::of_policy(policy, endpoints(3));
        bed.shares(100);
        bed.publisher.publish(endpoints(4));
        bed.shares(1);
        assert!(matches!(bed.state_of(":4"), State::Starting { .. }));
        let mut last = 0.0;
        for (seconds, part) in [(0, 0.1), (5, 0.5), (5, 1.0)] {
            advance(Duration::from_secs(seconds)).await;
            let share = bed.share_of(20_000, "h:4");
            // Passed over by some of the draws, the others take over what it has not: near, not exact.
            assert!(
                share > last && share < 0.25 * part * 1.35 + 0.02,
                "{policy:?} after {seconds} s: {share}"
            );
            last = share;
        }
        assert!(near(last, 0.25), "{last}");
        assert_eq!(bed.state_of(":4"), State::Well);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_list_does_not_start_slowly() {
    let bed = Bed::new(vec![], Config::default());
    bed.publisher.publish(endpoints(2));
    bed.choose();
    assert_eq!(bed.state_of(":1"), State::Well);
}

#[tokio::test(start_paused = true)]
async fn at_most_a_share_is_ejected_however_many_answer_badly() {
    let bed = Bed::of_policy(Policy::RoundRobin, endpoints(10));
    for _ in 0..500 {
        let (_, mut request) = bed.begin();
        request.ended(Some(false), false);
    }
    let state = bed.picker.state("stock".parse().unwrap());
    assert_eq!((state.listed, state.ejected, state.panic), (10, 3, false));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_often_but_not_in_a_row_is_found_by_comparison() {
    let bed = Bed::of_policy(Policy::RoundRobin, endpoints(10));
    let mut spans = Vec::new();
    // Half of its answers are bad, each time that it is back; those to a probe, the first in its second, are good.
    for second in 0..300 {
        let mut turn = 0;
        for _ in 0..200 {
            let (name, mut request) = bed.begin();
            turn += u32::from(name == "h:5");
            request.ended(Some(name != "h:5" || turn % 2 == 1), false);
        }
        advance(Duration::from_secs(1)).await;
        let is_ejected = match bed.state_of(":5") {
            State::Ejected { reason, .. } => {
                assert_eq!(reason, Reason::SuccessRate);
                true
            }
            _ => false,
        };
        match spans.last_mut() {
            Some((was, length)) if *was == is_ejected => *length += 1,
            _ => spans.push((is_ejected, 1)),
        }
        assert!(second < 20 || spans.len() > 1, "it is found within two intervals");
    }
    let mut times = spans.into_iter().filter(|(ejected, _)| *ejected).map(|(_, seconds)| seconds);
    let (first, second, third) = (times.next().unwrap(), times.next().unwrap(), times.next().unwrap());
    assert!((4..=7).contains(&first) && second > first && third > second, "{first}, {second}, {third} s");
}

#[tokio::test(start_paused = true)]
async fn when_most_cant_be_reached_the_ejected_are_used_again() {
    let bed = Bed::of_policy(Policy::LeastRequest, endpoints(10));
    (0..5).for_each(|_| bed.begin_at("h:10").ended(Some(false), false));
    assert!(matches!(bed.state_of(":10"), State::Ejected { reason: Reason::Answers, .. }));
    assert_eq!(bed.share_of(1000, "h:10"), 0.0);
    for port in 1..=5 {
        bed.begin_at(&format!("h:{port}")).failed();
    }
    let shares = bed.shares(1000);
    assert!(shares.contains_key("h:10"), "four of ten are well, which is below a half: {shares:?}");
    assert!((1..=5).all(|port| !shares.contains_key(&format!("h:{port}"))), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_is_found_whatever_the_policy() {
    for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin] {
        let bed = Bed::of_policy(policy, endpoints(4));
        let mut lost = 0;
        for _ in 0..200 {
            let member = bed.picker.choose(&[], None).unwrap();
            let mut request = member.start(Instant::now() + Duration::from_millis(100));
            if name(&member) == "h:2" {
                lost += 1;
                advance(Duration::from_millis(100)).await;
            } else {
                advance(Duration::from_millis(1)).await;
                request.ended(Some(true), false);
            }
        }
        assert!(lost <= 6, "{policy:?}: {lost} of 200");
        if policy == Policy::RoundRobin {
            assert!(matches!(bed.state_of(":2"), State::Ejected { reason: Reason::NoAnswer, .. }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_early_tells_nothing_about_the_endpoint() {
    let bed = Bed::of_policy(Policy::RoundRobin, endpoints(4));
    for _ in 0..200 {
        drop(bed.begin());
    }
    assert_eq!(bed.picker.state("stock".parse().unwrap()).out, 0);
}

#[tokio::test(start_paused = true)]
async fn equal_keys_go_to_the_same_endpoint_while_it_is_well() {
    let bed = Bed::of_policy(Policy::Hash, endpoints(10));
    let of = |key: u32| name(&bed.picker.choose(&[], Some(Key::of(key.to_be_bytes()))).unwrap());
    let before: Vec<_> = (0..1000).map(of).collect();
    assert!((1..=10).all(|port| before.contains(&format!("h:{port}"))));
    assert_eq!(before, (0..1000).map(of).collect::<Vec<_>>());
    let other = Bed::of_policy(Policy::Hash, endpoints(10).into_iter().rev().collect());
    let there: Vec<_> = (0..1000u32)
        .map(|key| name(&other.picker.choose(&[], Some(Key::of(key.to_be_bytes()))).unwrap()))
        .collect();
    assert_eq!(before, there, "all clients agree, whatever the order of the registry");

    bed.begin_at("h:4").failed();
    let after: Vec<_> = (0..1000).map(of).collect();
    for (before, after) in before.iter().zip(&after) {
        assert!(after != "h:4" && (before == after || before == "h:4"), "only its keys move");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_does_not_put_more_than_the_bound_on_one_endpoint() {
    let bed = Bed::of_policy(Policy::Hash, endpoints(10));
    let mut under_way = Vec::new();
    let mut counts = HashMap::<String, u32>::new();
    for _ in 0..400 {
        let member = bed.picker.choose(&[], Some(Key::of("hot"))).unwrap();
        *counts.entry(name(&member)).or_default() += 1;
        under_way.push(member.start(Instant::now() + Duration::from_secs(60)));
    }
    assert!(counts.len() >= 8, "{counts:?}");
    assert!(counts.values().all(|count| *count <= 51), "1.25 times 40: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_subset_is_the_same_each_time_and_changes_by_one() {
    let config = Config { subset: 5, ..Config::default() };
    let of = |endpoints: Vec<Endpoint>, id: &str| {
        let origin = Origin::default().with_id(id);
        let bed = Bed::with(endpoints, config.clone(), ejection::Config::default(), origin);
        let state = bed.picker.state("stock".parse().unwrap());
        let mut used: Vec<_> = state
            .endpoints
            .into_iter()
            .filter(|endpoint| endpoint.tier == Tier::Elsewhere)
            .map(|endpoint| endpoint.place)
            .collect();
        used.sort();
        used
    };
    let mine = of(endpoints(100), "client-1");
    assert_eq!(mine.len(), 5);
    assert_eq!(mine, of(endpoints(100), "client-1"));
    let after = of(endpoints(99), "client-1");
    assert!(mine.iter().filter(|place| !after.contains(place)).count() <= 1);

    // Two hundred clients with five each: ten for each endpoint on average, spread as by chance.
    let mut counts = HashMap::<String, u32>::new();
    for client in 0..200 {
        for place in of(endpoints(100), &format!("client-{client}")) {
            *counts.entry(place).or_default() += 1;
        }
    }
    assert!(counts.len() >= 99);
    assert!(counts.values().all(|count| *count <= 25), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn outside_of_a_subset_that_failed_whole_others_are_used() {
    let bed = Bed::new(endpoints(20), Config { subset: 2, ..Config::default() });
    let mut used: Vec<String> = bed.shares(1000).into_keys().collect();
    assert_eq!(used.len(), 2);
    for name in &used {
        bed.begin_at(name).failed();
    }
    assert!(!used.contains(&bed.choose()));
    advance(Duration::from_secs(5)).await;
    let mut back: Vec<String> = bed.shares(1000).into_keys().filter(|name| used.contains(name)).collect();
    used.sort();
    back.sort();
    assert_eq!(used, back);
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_holds_for_the_next_choice_and_what_is_known_stays() {
    let bed = Bed::of_policy(Policy::RoundRobin, endpoints(2));
    bed.begin_at("h:1").failed();
    bed.picker.configure(Config::default(), ejection::Config::default());
    assert_eq!(bed.choose(), "h:2");
    assert_eq!(bed.picker.state("stock".parse().unwrap()).policy, Policy::PeakEwma);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_endpoints_are_sorted_away_from_the_callers() {
    let bed = Bed::new(endpoints(10_000), Config::default());
    bed.publisher.publish(endpoints(9_999));
    // At once, from what was known.
    assert!(bed.picker.choose(&[], None).is_some());
    while bed.picker.state("stock".parse().unwrap()).listed != 9_999 {
        let _ = bed.picker.choose(&[], None);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!bed.picker.0.working.load(Ordering::Relaxed) || bed.picker.choose(&[], None).is_some());
}

proptest! {
    #[test]
    fn the_best_class_that_is_left_is_chosen(
        all in proptest::collection::vec((0..3u8, any::<bool>(), any::<bool>()), 0..12),
        policy in prop_oneof![Just(Policy::PeakEwma), Just(Policy::LeastRequest), Just(Policy::RoundRobin), Just(Policy::Hash)],
    ) {
        let health = |number| [Health::Serving, Health::Draining, Health::Failing][usize::from(number)];
        let listed = all.iter().zip(1..).map(|((number, _, _), port)| Endpoint::tcp("h", port).with_health(health(*number)));
        let config = Config { policy, panic_threshold: 0.0, ..Config::default() };
        let bed = Bed::new(listed.collect(), config);
        let known = bed.picker.0.known.load_full();
        let of = |index: usize| {
            let Address::Tcp(_, port) = known.endpoints[index].address() else { panic!("not TCP") };
            all[usize::from(*port) - 1]
        };
        let mut tried = Vec::new();
        for (index, slot) in known.slots.iter().enumerate() {
            let (_, failing, was_tried) = of(index);
            if failing {
                known.member(index, Claim::Ordinary).unwrap().start(Instant::now()).failed();
            }
            if was_tried {
                tried.push(slot.place.clone());
            }
        }
        let Some(chosen) = bed.picker.choose(&tried, Some(Key::of("k"))) else {
            prop_assert!(all.is_empty());
            return Ok(());
        };
        // Available first, by the word of the registry; then what was not tried, then anything.
        let class = |index: usize| match of(index) {
            (number, false, false) => number,
            (_, true, false) => 3,
            (_, _, true) => 4,
        };
        let index = known.slots.iter().position(|slot| Arc::ptr_eq(&slot.place, &chosen.place)).unwrap();
        // One alone is chosen whatever it is.
        prop_assert!(all.len() == 1 || Some(class(index)) == (0..all.len()).map(class).min());
    }
}
