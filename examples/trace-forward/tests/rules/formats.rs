//! Formats of trace context beside that of the W3C.

use std::collections::HashSet;

use serde_json::json;

use crate::harness::{Forwarder, PARENT_ID, StandIn, TRACE_ID, traceparent};

const STATE: (&str, &str) = ("tracestate", "foo=1");

#[test]
fn unless_they_are_listed_they_say_nothing() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let (b3, jaeger) = (format!("{TRACE_ID}-{PARENT_ID}-1"), format!("{TRACE_ID}:{PARENT_ID}:0:1"));
    let lines = [
        ("b3", &*b3),
        ("X-B3-TraceId", TRACE_ID),
        ("X-B3-SpanId", PARENT_ID),
        ("X-B3-Sampled", "1"),
        ("uber-trace-id", &jaeger),
    ];
    let sent = service.forward(&standin, &lines);
    sent.assert_restarted();
    assert!(lines.iter().all(|(name, _)| sent.joined(name).is_none()), "{sent:?}");
}

#[test]
fn each_is_read_and_all_are_sent() {
    let service = Forwarder::start_with(&[r#"request.propagation=["w3c","b3","b3multi","jaeger"]"#]);
    let standin = StandIn::start();
    let (b3, jaeger) = (format!("{TRACE_ID}-{PARENT_ID}-1"), format!("{TRACE_ID}:{PARENT_ID}:0:1"));
    let parent = traceparent("01");
    let multi = [("X-B3-TraceId", TRACE_ID), ("X-B3-SpanId", PARENT_ID), ("X-B3-Flags", "1")];
    for lines in [&[("traceparent", &*parent)][..], &[("b3", &b3)], &multi, &[("Uber-Trace-Id", &jaeger)]] {
        let sent = service.forward(&standin, &[lines, &[("baggage", "user=7")]].concat());
        let trace = sent.assert_continued();
        assert_eq!(trace.flags, 0x01, "{lines:?}");
        let own = trace.parent;
        assert_eq!(sent.joined("b3"), Some(format!("{TRACE_ID}-{own}-1")));
        assert_eq!(sent.joined("x-b3-traceid").as_deref(), Some(TRACE_ID));
        assert_eq!(sent.joined("x-b3-spanid"), Some(own.clone()));
        assert_eq!(sent.joined("x-b3-sampled").as_deref(), Some("1"));
        assert_eq!(sent.joined("x-b3-flags"), None);
        assert_eq!(sent.joined("uber-trace-id"), Some(format!("{TRACE_ID}:{own}:0:01")));
        assert_eq!(sent.joined("baggage").as_deref(), Some("user=7"));
    }
    // The first of the list that is well-formed.
    let other = format!("{}-{PARENT_ID}-1", TRACE_ID.replace('2', "3"));
    service.forward(&standin, &[("b3", &other), ("traceparent", &parent)]).assert_continued();
    service
        .forward(&standin, &[("b3", "malformed"), ("traceparent", "00"), ("uber-trace-id", &jaeger)])
        .assert_continued();
    service.forward(&standin, &[("b3", "0")]).assert_restarted();
}

#[test]
fn without_that_of_the_w3c_it_is_neither_read_nor_sent() {
    let service = Forwarder::start_with(&[r#"request.propagation=["b3"]"#]);
    let standin = StandIn::start();
    let body = json!([
        { "url": standin.url("/0"), "arguments": [] },
        { "url": service.url(), "arguments": [{ "url": standin.url("/1"), "arguments": [] }] },
    ]);
    let b3 = format!("{TRACE_ID}-{PARENT_ID}-0");
    let lines = [("b3", &*b3), ("traceparent", &*traceparent("01")), STATE];
    assert_eq!(service.post(&lines, &body.to_string()).0, 200);
    let mut spans = HashSet::from([PARENT_ID.to_owned()]);
    for _ in 0..2 {
        let sent = standin.next();
        assert_eq!((sent.joined("traceparent"), sent.joined("tracestate")), (None, None));
        let b3 = sent.joined("b3").unwrap();
        let fields: Vec<_> = b3.split('-').collect();
        assert_eq!((fields[0], fields[2]), (TRACE_ID, "0"), "{b3}");
        assert!(spans.insert(fields[1].to_owned()), "{b3}");
    }
    // Its state belongs to the traceparent, which says nothing here.
    let sent = service.forward(&standin, &[("traceparent", &traceparent("01")), STATE]);
    assert!(!sent.joined("b3").unwrap().starts_with(TRACE_ID) && sent.joined("tracestate").is_none());
}

#[test]
fn a_stranger_is_not_believed_in_any_of_them() {
    let settings = [r#"request.propagation=["w3c","b3"]"#, "request.trust_ids=false"];
    let (service, standin) = (Forwarder::start_with(&settings), StandIn::start());
    let b3 = format!("{TRACE_ID}-{PARENT_ID}-1");
    let sent = service.forward(&standin, &[("b3", &b3)]);
    let trace = sent.assert_restarted();
    assert_eq!(sent.joined("b3"), Some(format!("{}-{}-0", trace.id, trace.parent)));
}

#[test]
fn a_list_that_is_none_is_refused_at_the_start() {
    for (list, expected) in [
        ("[]", "expected: one or more of `w3c`, `b3`, `b3multi` and `jaeger`, each once"),
        (r#"["b3","b3"]"#, "each once"),
        (r#"["w3c","zipkin"]"#, "one of `w3c`, `b3`, `b3multi`, `jaeger`"),
    ] {
        let (status, text) = Forwarder::refused(&[&format!("request.propagation={list}")]);
        assert_eq!(status, Some(78), "{text}");
        assert!(text.contains("request.propagation") && text.contains(expected), "{text}");
    }
}
