use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::*;
use crate::context::{RequestContext, TraceContext};

#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl Sink for Ended {
    fn take(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

impl Ended {
    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|span| span.name.to_string()).collect()
    }
}

fn root(ended: &Ended) -> Span {
    let tracer = Tracer::new(Sampler::share(1.0), ended.clone());
    tracer.start(SpanData::new("test".into(), "root", Kind::Server, TraceContext::root().sampled(true)))
}

#[test]
fn a_child_has_its_parents_trace_and_an_id_of_its_own() {
    let ended = Ended::default();
    let span = root(&ended);
    let trace = *span.trace().unwrap();
    span.child("inner").end();
    span.end();
    let spans = ended.0.lock().unwrap().clone();
    assert_eq!(spans[0].trace.trace_id(), trace.trace_id());
    assert_eq!(spans[0].parent(), Some(trace.span_id()));
    assert_ne!(spans[0].trace.span_id(), trace.span_id());
    assert_eq!(&*spans[0].service, "test");
    assert_eq!(ended.names(), ["inner", "root"]);
}

#[test]
fn a_span_ends_once_and_with_its_last_clone() {
    let ended = Ended::default();
    let span = root(&ended);
    let clone = span.clone();
    drop(span);
    assert!(ended.names().is_empty());
    clone.end();
    clone.set("late", true);
    drop(clone);
    assert_eq!(ended.names(), ["root"]);
    assert!(ended.0.lock().unwrap()[0].attributes.is_empty());
}

#[test]
fn the_innermost_that_was_entered_is_current_and_that_of_the_request_around_it() {
    let ended = Ended::default();
    let span = root(&ended);
    let id = |span: &Span| span.trace().map(TraceContext::span_id);
    let context = RequestContext::new().with_span(span.clone());
    assert!(!Span::current().is_recording());
    context.sync_scope(|| {
        assert_eq!(id(&Span::current()), id(&span));
        let inner = span.child("inner");
        inner.scope(|| {
            assert_eq!(id(&Span::current()), id(&inner));
            // Nothing leaves it as it is.
            Span::none().scope(|| assert_eq!(id(&Span::current()), id(&inner)));
            // A request that is called in this process has its own.
            RequestContext::new().sync_scope(|| assert!(!Span::current().is_recording()));
            assert_eq!(id(&Span::current()), id(&inner));
        });
        assert_eq!(id(&Span::current()), id(&span));
    });
    assert!(!Span::current().is_recording());
}

#[test]
fn what_is_too_much_is_counted() {
    let ended = Ended::default();
    let span = root(&ended);
    for index in 0..200 {
        span.set(format!("a{index}"), index);
        span.event("again", [("index", index)]);
    }
    span.set("a0", "é".repeat(4096));
    span.end();
    let span = ended.0.lock().unwrap().remove(0);
    assert_eq!((span.attributes.len(), span.dropped_attributes), (128, 72));
    assert_eq!((span.events.len(), span.dropped_events), (128, 72));
    assert_eq!(span.get("a0"), Some(&Value::from("é".repeat(2048))));
}

#[test]
fn the_caller_decides_and_else_the_share() {
    let now = Instant::now();
    let sampled = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let not = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    for (share, of_roots) in [(0.0, 0..=0), (0.25, 2200..=2800), (1.0, 10_000..=10_000)] {
        let tracer = Tracer::new(Sampler::share(share), Ended::default());
        assert!(tracer.samples(&TraceContext::parse(sampled).unwrap(), now));
        assert!(!tracer.samples(&TraceContext::parse(not).unwrap(), now));
        let count = (0..10_000).filter(|_| tracer.samples(&TraceContext::root(), now)).count();
        assert!(of_roots.contains(&count), "{count} of 10,000 at {share}");
    }
    assert!(!Tracer::default().samples(&TraceContext::parse(sampled).unwrap(), now));
}

#[test]
fn no_more_than_so_many_begin_in_a_second() {
    let tracer = Tracer::new(Sampler::share(1.0).at_most(3), Ended::default());
    let now = Instant::now();
    let admitted = |now| (0..10).filter(|_| tracer.samples(&TraceContext::root(), now)).count();
    assert_eq!(admitted(now), 3);
    assert_eq!(admitted(now + Duration::from_secs(1)), 3);
    let none = Tracer::new(Sampler::share(1.0).at_most(0), Ended::default());
    assert!(!none.samples(&TraceContext::root(), now + Duration::from_secs(5)));
}

#[test]
fn what_is_kept_although_its_trace_is_not() {
    let keep = Keep::default().errors(true).slower_than(Duration::from_secs(1));
    let tracer = Tracer::new(Sampler::share(0.0), Ended::default()).keeping(keep);
    assert!(tracer.keeps(true, Duration::ZERO) && tracer.keeps(false, Duration::from_secs(2)));
    assert!(!tracer.keeps(false, Duration::from_millis(900)));
    assert!(!Tracer::default().keeps(true, Duration::from_secs(9)));
}
