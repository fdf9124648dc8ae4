//! Section 3.2: `traceparent`.

use crate::harness::{Forwarder, PARENT_ID, StandIn, TRACE_ID, traceparent};

/// What a list of the tracing systems says, to see whether it goes with the trace.
const STATE: (&str, &str) = ("tracestate", "foo=1");

#[test]
fn without_one_a_trace_is_begun() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let first = service.forward(&standin, &[]).assert_restarted();
    let second = service.forward(&standin, &[STATE]).assert_restarted();
    assert_ne!(first.id, second.id);
    // Level 2: its id is random, and says so; nobody has asked for it to be recorded.
    assert_eq!((first.flags, second.flags), (0x02, 0x02));
}

#[test]
fn a_trace_is_continued_by_another_parent() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let sent = service.forward(&standin, &[("traceparent", &traceparent("01")), STATE]);
    assert_eq!(sent.assert_continued().flags, 0x01);
    assert_eq!(sent.joined("tracestate").as_deref(), Some("foo=1"));
    // Section 3.2.1 and 3.3.1: written in lower case.
    let names: Vec<_> = sent.lines.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"traceparent") && names.contains(&"tracestate"), "{names:?}");
}

#[test]
fn what_is_malformed_begins_a_new_trace_without_state() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let (zero_trace, zero_parent) = ("0".repeat(32), "0".repeat(16));
    let letters = "abcdefabcdefabcdefabcdefabcdefab";
    let malformed = [
        // Fields that are missing.
        String::new(),
        "00".into(),
        format!("00-{TRACE_ID}"),
        format!("00-{TRACE_ID}-{PARENT_ID}"),
        format!("00-{TRACE_ID}-{PARENT_ID}-"),
        format!("{TRACE_ID}-{PARENT_ID}-01"),
        // The version.
        format!("ff-{TRACE_ID}-{PARENT_ID}-01"),
        format!(".0-{TRACE_ID}-{PARENT_ID}-01"),
        format!("0.-{TRACE_ID}-{PARENT_ID}-01"),
        format!("0-{TRACE_ID}-{PARENT_ID}-01"),
        format!("000-{TRACE_ID}-{PARENT_ID}-01"),
        format!("0000-{TRACE_ID}-{PARENT_ID}-01"),
        format!("CC-{TRACE_ID}-{PARENT_ID}-01"),
        // Version 00 ends with its flags.
        format!("00-{TRACE_ID}-{PARENT_ID}-01."),
        format!("00-{TRACE_ID}-{PARENT_ID}-01-"),
        format!("00-{TRACE_ID}-{PARENT_ID}-01-what-the-future-will-be-like"),
        // The id of the trace.
        format!("00-{zero_trace}-{PARENT_ID}-01"),
        format!("00-{}-{PARENT_ID}-01", letters.to_uppercase()),
        format!("00-.{}-{PARENT_ID}-01", &TRACE_ID[1..]),
        format!("00-{}.-{PARENT_ID}-01", &TRACE_ID[..31]),
        format!("00-{TRACE_ID}3-{PARENT_ID}-01"),
        format!("00-{}-{PARENT_ID}-01", &TRACE_ID[..31]),
        // The id of the parent.
        format!("00-{TRACE_ID}-{zero_parent}-01"),
        format!("00-{TRACE_ID}-{}-01", letters[..16].to_uppercase()),
        format!("00-{TRACE_ID}-.{}-01", &PARENT_ID[1..]),
        format!("00-{TRACE_ID}-{}.-01", &PARENT_ID[..15]),
        format!("00-{TRACE_ID}-{PARENT_ID}7-01"),
        format!("00-{TRACE_ID}-{}-01", &PARENT_ID[..15]),
        // The flags.
        format!("00-{TRACE_ID}-{PARENT_ID}-.0"),
        format!("00-{TRACE_ID}-{PARENT_ID}-0."),
        format!("00-{TRACE_ID}-{PARENT_ID}-0A"),
        format!("00-{TRACE_ID}-{PARENT_ID}-001"),
        format!("00-{TRACE_ID}-{PARENT_ID}-1"),
        // What stands between them.
        format!("00_{TRACE_ID}_{PARENT_ID}_01"),
        format!("00 {TRACE_ID} {PARENT_ID} 01"),
        // Two of them.
        format!("{0},{0}", traceparent("01")),
        // What nobody should send.
        "\"".repeat(55),
        "-".repeat(55),
        "0".repeat(8000),
    ];
    for value in malformed {
        let trace = service.forward(&standin, &[("traceparent", &value), STATE]).assert_restarted();
        assert_ne!(trace.id, letters, "{value}");
        assert_eq!(trace.flags, 0x02, "{value}");
    }
}

#[test]
fn several_are_as_good_as_none() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let other = format!("00-{}-{PARENT_ID}-01", TRACE_ID.replace('2', "3"));
    for second in [other, traceparent("01"), "malformed".into()] {
        let lines = [("traceparent", &*traceparent("01")), ("TraceParent", &second), STATE];
        let trace = service.forward(&standin, &lines).assert_restarted();
        assert_ne!(trace.id, TRACE_ID.replace('2', "3"));
    }
}

#[test]
fn its_name_is_one_word_in_any_case() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let value = traceparent("01");
    for name in ["traceparent", "TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        service.forward(&standin, &[(name, &value)]).assert_continued();
    }
    for name in ["trace-parent", "trace.parent", "trace_parent"] {
        service.forward(&standin, &[(name, &value)]).assert_restarted();
    }
}

#[test]
fn white_space_around_it_is_no_part_of_it() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let value = traceparent("01");
    for value in [
        format!(" {value}"),
        format!("\t{value}"),
        format!("{value} "),
        format!("{value}\t"),
        format!("\t {value} \t"),
    ] {
        service.forward(&standin, &[("traceparent", &value)]).assert_continued();
    }
}

/// Section 3.2.4: what is known of it is used, and sent on as version 00.
#[test]
fn a_higher_version_is_continued_as_version_00() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    for version in ["01", "cc", "fe"] {
        for rest in ["", "-", "-what-the-future-will-be-like", "-00-.A"] {
            let value = format!("{version}-{TRACE_ID}-{PARENT_ID}-01{rest}");
            let sent = service.forward(&standin, &[("traceparent", &value), STATE]);
            assert_eq!(sent.assert_continued().flags, 0x01, "{value}");
            assert_eq!(sent.joined("tracestate").as_deref(), Some("foo=1"), "{value}");
        }
        for rest in [".what-the-future-will-be-like", "0", "0-"] {
            let value = format!("{version}-{TRACE_ID}-{PARENT_ID}-01{rest}");
            service.forward(&standin, &[("traceparent", &value)]).assert_restarted();
        }
        let short = format!("{version}-{TRACE_ID}-{PARENT_ID}-1");
        service.forward(&standin, &[("traceparent", &short)]).assert_restarted();
    }
}

/// Section 3.2.2.5: each is a bit; level 2 knows the second one; the others are sent as zero.
#[test]
fn of_the_flags_those_that_are_known_are_sent_on() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    for (flags, expected) in [
        ("00", 0x00),
        ("01", 0x01),
        ("02", 0x02),
        ("03", 0x03),
        ("04", 0x00),
        ("fc", 0x00),
        ("fd", 0x01),
        ("ff", 0x03),
    ] {
        let sent = service.forward(&standin, &[("traceparent", &traceparent(flags))]);
        assert_eq!(sent.assert_continued().flags, expected, "{flags}");
    }
}
