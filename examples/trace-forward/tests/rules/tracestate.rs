//! Section 3.3: `tracestate`.

use crate::harness::{Forwarder, StandIn, traceparent};

/// What comes out where these lines go in with a valid `traceparent`; the trace is continued in any case.
fn sent(service: &Forwarder, standin: &StandIn, states: &[&str]) -> Option<String> {
    let parent = traceparent("00");
    let states = states.iter().map(|state| ("tracestate", *state));
    let lines: Vec<_> = [("traceparent", parent.as_str())].into_iter().chain(states).collect();
    let sent = service.forward(standin, &lines);
    sent.assert_continued();
    sent.joined("tracestate")
}

/// `count` members with keys of their own.
fn list(count: usize) -> String {
    (1..=count).map(|number| format!("bar{number:02}={number:02}")).collect::<Vec<_>>().join(",")
}

#[test]
fn without_a_valid_traceparent_it_is_dropped() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    service.forward(&standin, &[("tracestate", "foo=1,bar=2")]).assert_restarted();
    let lines = [("tracestate", "foo=1"), ("traceparent", "00-malformed"), ("tracestate", "bar=2")];
    service.forward(&standin, &lines).assert_restarted();
}

#[test]
fn its_name_is_one_word_in_any_case() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let parent = traceparent("00");
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        let sent = service.forward(&standin, &[("traceparent", &parent), (name, "foo=1")]);
        assert_eq!(sent.joined("tracestate").as_deref(), Some("foo=1"), "{name}");
    }
    for name in ["trace-state", "trace.state", "trace_state"] {
        let sent = service.forward(&standin, &[("traceparent", &parent), (name, "foo=1")]);
        assert_eq!(sent.joined("tracestate"), None, "{name}");
    }
}

#[test]
fn several_lines_are_one_list_in_their_order() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    for (lines, expected) in [
        (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"][..], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        (&["z=1", "a=2", "m=3"], "z=1,a=2,m=3"),
        (&["foo=1", ""], "foo=1"),
        (&["", "foo=1"], "foo=1"),
    ] {
        assert_eq!(sent(&service, &standin, lines).as_deref(), Some(expected), "{lines:?}");
    }
}

#[test]
fn empty_members_and_white_space_say_nothing() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    for empty in ["", " ", ",", " , \t,"] {
        assert_eq!(sent(&service, &standin, &[empty]), None, "{empty:?}");
    }
    for list in [
        "foo=1,,bar=2",
        "foo=1, ,bar=2",
        ",foo=1,bar=2,",
        "foo=1 \t , \t bar=2",
        "foo=1\t \t,\t \tbar=2",
        " foo=1,bar=2",
        "\tfoo=1,bar=2",
        "foo=1,bar=2 ",
        "foo=1,bar=2\t",
        "\t foo=1,bar=2 \t",
    ] {
        let sent = sent(&service, &standin, &[list]).unwrap_or_default();
        let members: Vec<_> = sent.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
        assert_eq!(members, ["foo=1", "bar=2"], "{list:?}");
    }
}

#[test]
fn well_formed_members_are_passed_on_as_they_are() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|character| !",=".contains(*character)).collect();
    let (key, tenant) = ("z".repeat(256), format!("{}@{}", "t".repeat(241), "v".repeat(14)));
    for list in [
        &format!("{letters}={value}"),
        &format!("{letters}@a-z0-9_-*/={value}"),
        &format!("foo=1,{key}=1"),
        &format!("foo=1,{tenant}=1"),
        &format!("foo=1,bar={}", "v".repeat(256)),
        "0tenant@vendor=1",
        // Keys that level 2 has and level 1 has not.
        "0=1,1foo=2",
        "foo@=1,bar=2",
        "foo@@bar=1,bar=2",
        "foo@bar@baz=1,bar=2",
        &format!("foo=1,{}@v=1", "t".repeat(242)),
        &format!("foo=1,t@{}=1", "v".repeat(15)),
        // Values may begin with spaces, which belong to them.
        "foo=  1,bar=2",
    ] {
        assert_eq!(sent(&service, &standin, &[list]).as_deref(), Some(list));
    }
}

#[test]
fn a_malformed_member_makes_it_no_list() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    for member in [
        "foo",
        "=1",
        "foo=",
        "foo= ",
        "foo =1",
        "FOO=1",
        "foO=1",
        "foo.bar=1",
        "foo:bar=1",
        "@foo=1",
        "_foo=1",
        "-foo=1",
        "*foo=1",
        "/foo=1",
        "foo=bar=baz",
        "foo=a\tb",
        "foo=\u{e4}",
        &format!("{}=1", "z".repeat(257)),
        &format!("foo={}", "v".repeat(257)),
    ] {
        let list = format!("bar=2,{member},baz=3");
        assert_eq!(sent(&service, &standin, &[&list]), None, "{member}");
        assert_eq!(sent(&service, &standin, &["bar=2", member]), None, "{member}");
    }
}

#[test]
fn it_has_32_members_at_most() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let (most, more) = (list(32), list(33));
    assert_eq!(sent(&service, &standin, &[&most]).as_deref(), Some(most.as_str()));
    assert_eq!(sent(&service, &standin, &[&more]), None);
    let lines: Vec<&str> = most.split(',').collect();
    assert_eq!(sent(&service, &standin, &lines).as_deref(), Some(most.as_str()));
    let lines: Vec<&str> = more.split(',').collect();
    assert_eq!(sent(&service, &standin, &lines), None);
}

#[test]
fn of_members_with_one_key_the_newest_is_passed_on() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    for (lines, expected) in [
        (&["foo=1,foo=1"][..], "foo=1"),
        (&["foo=1,foo=2"], "foo=1"),
        (&["foo=1", "foo=1"], "foo=1"),
        (&["foo=1", "bar=2,foo=2", "baz=3"], "foo=1,bar=2,baz=3"),
    ] {
        assert_eq!(sent(&service, &standin, lines).as_deref(), Some(expected), "{lines:?}");
    }
}

/// Section 3.3.1.5: at least 512 characters. All that a list can have are 16 KiB.
#[test]
fn its_length_is_bounded_by_its_members_only() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let of = |count: usize, key: usize, value: usize| {
        let member = |number: usize| format!("{number:0key$}={}", "v".repeat(value));
        (0..count).map(member).collect::<Vec<_>>().join(",")
    };
    for list in [of(2, 1, 253), of(4, 100, 200), of(32, 256, 256)] {
        assert!(list.len() >= 511);
        assert_eq!(sent(&service, &standin, &[&list]).as_deref(), Some(list.as_str()));
    }
}
