//! Several requests, one after the other and behind each other.

use std::collections::HashSet;

use serde_json::json;

use crate::harness::{Forwarder, StandIn, TRACE_ID, traceparent};

/// Section 3.2.2.4: it is the id of the request that is sent, not of the one that arrived.
#[test]
fn each_request_that_is_sent_has_a_parent_of_its_own() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let (good, bad) = (traceparent("01"), traceparent("01").replace(TRACE_ID, &"0".repeat(32)));
    for lines in [vec![("traceparent", good.as_str())], vec![], vec![("traceparent", bad.as_str())]] {
        let post = |path: &str| json!({ "url": standin.url(path), "arguments": [] });
        let body = json!([post("/0"), post("/1"), post("/2")]);
        assert_eq!(service.post(&lines, &body.to_string()).0, 200);
        let all: Vec<_> = (0..3).map(|_| standin.next()).collect();
        let targets: Vec<_> = all.iter().map(|sent| sent.target.as_str()).collect();
        assert_eq!(targets, ["/0", "/1", "/2"]);
        let traces: Vec<_> = all.iter().map(super::harness::Sent::trace).collect();
        let parents: HashSet<_> = traces.iter().map(|trace| &trace.parent).collect();
        assert_eq!(parents.len(), 3, "{traces:?}");
        assert!(traces.iter().all(|trace| trace.id == traces[0].id && trace.flags == traces[0].flags));
        assert_eq!(traces[0].id == TRACE_ID, lines.contains(&("traceparent", good.as_str())));
    }
}

#[test]
fn a_trace_goes_through_several_services_with_all_that_belongs_to_it() {
    let (first, second, standin) = (Forwarder::start(), Forwarder::start(), StandIn::start());
    let parent = traceparent("03");
    let lines =
        [("traceparent", &*parent), ("tracestate", "foo=1"), ("tracestate", "bar=2"), ("baggage", "user=7")];
    let post = |url: String, arguments| json!({ "url": url, "arguments": arguments });
    let body = json!([
        post(standin.url("/near"), json!([])),
        post(second.url(), json!([post(standin.url("/far"), json!({ "some": ["thing"] }))])),
        // To itself.
        post(first.url(), json!([post(second.url(), json!([post(standin.url("/farther"), json!(7))]))])),
    ]);
    assert_eq!(first.post(&lines, &body.to_string()).0, 200);
    let mut parents = HashSet::new();
    for (target, arguments) in
        [("/near", json!([])), ("/far", json!({ "some": ["thing"] })), ("/farther", json!(7))]
    {
        let sent = standin.next();
        assert_eq!((sent.target.as_str(), &sent.body), (target, &arguments));
        let trace = sent.assert_continued();
        assert_eq!(trace.flags, 0x03);
        assert!(parents.insert(trace.parent));
        assert_eq!(sent.joined("tracestate").as_deref(), Some("foo=1,bar=2"));
        assert_eq!(sent.joined("baggage").as_deref(), Some("user=7"));
    }
    assert!(standin.is_left_alone());
}
