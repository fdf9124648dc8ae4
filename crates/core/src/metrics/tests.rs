use std::{sync::Arc, thread};

use super::*;
use crate::context::TraceContext;

fn definition(name: &'static str) -> Definition {
    Definition::new(name, "1", "for the test")
}

fn only(registry: &Registry) -> Metric {
    let mut all = registry.read();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn what_threads_count_at_once_is_all_there() {
    let registry = Registry::new();
    let counter = registry.counter(definition("a.b"), ["kind"]).unwrap();
    let gauge = registry.up_down_counter(definition("open"), []).unwrap().only();
    let spread = registry.histogram(definition("c"), []).unwrap().only();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let one = counter.with(["one"]);
                for _ in 0..10_000 {
                    one.add(2);
                    gauge.add(1);
                    spread.record(0.5);
                }
                gauge.add(-10_000);
            });
        }
    });
    assert_eq!(counter.with(["one"]).get(), 80_000);
    assert_eq!(gauge.get(), 0);
    let metric = registry.read().into_iter().find(|metric| metric.name == "c").unwrap();
    let Point::Histogram(buckets) = &metric.series[0].point else { panic!("{metric:?}") };
    assert_eq!((buckets.count(), buckets.sum), (40_000, 20_000.0));
}

#[test]
fn a_bound_is_in_the_bucket_below_it() {
    let registry = Registry::new();
    let spread = registry.histogram(definition("c").with_bounds([1.0, 2.0]), []).unwrap().only();
    for value in [0.5, 1.0, 1.5, 2.0, 2.5, f64::INFINITY, f64::NAN] {
        spread.record(value);
    }
    let Point::Histogram(buckets) = only(&registry).series.remove(0).point else { panic!("no histogram") };
    assert_eq!(buckets.counts, [2, 2, 2]);
}

#[test]
fn an_exemplar_names_its_trace() {
    let registry = Registry::new();
    let spread = registry.histogram(definition("c").with_bounds([1.0]), []).unwrap().only();
    let trace = TraceContext::root();
    spread.record(0.5);
    spread.record_in(3.0, trace.trace_id(), trace.span_id());
    let Point::Histogram(buckets) = only(&registry).series.remove(0).point else { panic!("no histogram") };
    assert_eq!(buckets.exemplars[0], None);
    let exemplar = buckets.exemplars[1].unwrap();
    assert_eq!((exemplar.value, exemplar.trace_id), (3.0, trace.trace_id()));
}

#[test]
fn beyond_the_limit_everything_is_one_series() {
    let registry = Registry::new();
    let family = registry.counter(definition("a").with_limit(10), ["path"]).unwrap();
    for index in 0..100_000 {
        family.with([&format!("/{index}")]).add(1);
    }
    let metric = only(&registry);
    assert_eq!(metric.series.len(), 11);
    let overflow = metric.series.last().unwrap();
    assert_eq!(overflow.labels.get("otel.metric.overflow"), Some("true"));
    assert_eq!(overflow.point, Point::Counter(99_990));
}

#[test]
fn values_that_join_to_the_same_text_stay_apart() {
    let registry = Registry::new();
    let family = registry.counter(definition("a"), ["x", "y"]).unwrap();
    family.with(["1:a", "b"]).add(1);
    family.with(["1", "a1:b"]).add(1);
    family.with(["", "x"]).add(1);
    family.with(["x", ""]).add(1);
    assert_eq!(only(&registry).series.len(), 4);
}

#[test]
fn the_same_definition_gives_the_same_family_and_another_is_refused() {
    let registry = Registry::new();
    let first = registry.counter(definition("a"), ["x"]).unwrap();
    registry.counter(definition("a"), ["x"]).unwrap().with(["1"]).add(3);
    assert_eq!(first.with(["1"]).get(), 3);
    let taken = Rejected::Taken("a".to_owned());
    assert_eq!(registry.counter(definition("a"), ["y"]).unwrap_err(), taken);
    assert_eq!(registry.gauge(definition("a"), ["x"]).unwrap_err(), taken);
    assert_eq!(registry.counter(definition("a"), []).unwrap_err(), taken);
}

#[test]
fn what_can_not_be_a_name_is_refused() {
    let registry = Registry::new();
    for name in ["", "1a", "A", "a-b", "a b", "é"] {
        let refused = registry.counter(definition("x"), [name.to_owned().leak()]);
        assert!(matches!(refused, Err(Rejected::Label { .. })), "{name}");
        let named = Definition::new(name.to_owned(), "1", "");
        assert!(matches!(registry.counter(named, []), Err(Rejected::Name(_))), "{name}");
    }
    assert!(matches!(registry.counter(definition("x"), ["a", "a"]), Err(Rejected::Label { .. })));
    for bounds in [vec![], vec![2.0, 1.0], vec![1.0, 1.0], vec![f64::NAN], vec![f64::INFINITY]] {
        let refused = registry.histogram(definition("x").with_bounds(bounds), []);
        assert!(matches!(refused, Err(Rejected::Bounds(_))));
    }
    assert!(registry.read().is_empty());
}

#[test]
fn what_is_counted_elsewhere_is_asked_for_when_it_is_read() {
    let registry = Registry::new();
    let (inside, threads) = (definition("inside"), definition("threads"));
    registry.observe(move |observed| {
        observed.gauge(&threads, [("state", "busy")], 2.0);
        observed.gauge(&threads, [("state", "idle")], 1.0);
        // Not the same kind: it is left out.
        observed.counter(&threads, [("state", "odd")], 1);
    });
    registry.counter(inside, []).unwrap().only().add(1);
    let all = registry.read();
    assert_eq!(all.iter().map(|metric| &*metric.name).collect::<Vec<_>>(), ["inside", "threads"]);
    assert_eq!(all[1].series.len(), 2);
    assert_eq!(all[1].series[0].labels, Labels::from_iter([("state", Arc::from("busy"))]));
}
