//! W3C Baggage, and what of a stranger is not passed on.

use crate::harness::{Forwarder, StandIn, traceparent};

fn sent(service: &Forwarder, standin: &StandIn, lines: &[&str]) -> Option<String> {
    let lines: Vec<_> = lines.iter().map(|line| ("baggage", *line)).collect();
    service.forward(standin, &lines).joined("baggage")
}

#[test]
fn a_list_is_passed_on_with_a_trace_and_without_one() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let most = vec!["key=value"; 64].join(",");
    let longest = format!("key={}", "v".repeat(8188));
    for list in [
        "userId=alice",
        "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue",
        "userId=Am%C3%A9lie,serverNode=DF%2028,isProduction=false",
        "key=a=b==,key=again,empty=",
        &most,
        &longest,
    ] {
        assert_eq!(sent(&service, &standin, &[list]).as_deref(), Some(list));
    }
    let lines = [("Baggage", "user=7"), ("traceparent", &*traceparent("01")), ("BAGGAGE", "a=1, b=2")];
    let sent = service.forward(&standin, &lines);
    sent.assert_continued();
    let lists: Vec<_> = sent.joined("baggage").unwrap().split(',').map(|it| it.trim().to_owned()).collect();
    assert_eq!(lists, ["user=7", "a=1", "b=2"]);
}

#[test]
fn what_is_malformed_of_it_is_left_out() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    for member in ["", "key", "=value", "k y=v", "key=a b", "key=\"v\"", "key=a\\b", "key=\u{e4}", "key=v;=p"]
    {
        assert_eq!(sent(&service, &standin, &[member]), None, "{member}");
        let lines = ["a=1", member, "b=2"];
        assert_eq!(sent(&service, &standin, &lines).as_deref(), Some("a=1,b=2"), "{member}");
    }
}

#[test]
fn beyond_64_members_or_8192_bytes_whole_members_are_left_out() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let members: Vec<_> = (0..80).map(|number| format!("key{number}=value")).collect();
    let lines: Vec<_> = members.iter().map(String::as_str).collect();
    assert_eq!(sent(&service, &standin, &lines), Some(members[..64].join(",")));

    let large = format!("large={}", "v".repeat(6000));
    let lines = [large.as_str(), large.as_str(), "small=1"];
    assert_eq!(sent(&service, &standin, &lines), Some(format!("{large},small=1")));
}

#[test]
fn a_stranger_brings_neither_trace_nor_baggage() {
    let service = Forwarder::start_with(&["request.trust_ids=false"]);
    let standin = StandIn::start();
    let lines = [
        ("traceparent", &*traceparent("01")),
        ("tracestate", "foo=1"),
        ("baggage", "user=7"),
        ("x-request-id", "chosen"),
    ];
    let sent = service.forward(&standin, &lines);
    // New in every field, the wish to be recorded too.
    let trace = sent.assert_restarted();
    assert_eq!(trace.flags, 0x02);
    assert_eq!(sent.joined("baggage"), None);
    assert_eq!(sent.joined("x-request-id"), Some(trace.id));
}
