//! What other tracing systems say of a trace: `tracestate` of W3C Trace Context, section 3.3.
//!
//! It is passed on, and nothing here reads it. What is no list as levels 1 and 2 say is not passed on at all; where they
//! differ, in keys, level 2 has every key of level 1 and more, and holds.

use std::borrow::Cow;

/// Section 3.3.1: a list with more members is none.
const MEMBERS: usize = 32;
/// Section 3.3.1.3.1 and 3.3.1.3.2: of a key, and of a value.
const LONGEST: usize = 256;

/// The list as it is passed on: as it came, but for empty members, which are allowed and should not be sent, and those
/// whose key was there before; the first of a key is the newest. `None` where it is no list, or an empty one.
pub(crate) fn passed_on(list: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut keys: [&[u8]; MEMBERS] = [&[]; MEMBERS];
    let (mut count, mut is_whole) = (0, true);
    for member in members(list) {
        let Some(key) = key(member) else {
            if member.is_empty() {
                is_whole = false;
                continue;
            }
            return None;
        };
        is_whole &= !keys.iter().take(count).any(|known| *known == key);
        *keys.get_mut(count)? = key;
        count += 1;
    }
    match (count, is_whole) {
        (0, _) => None,
        (_, true) => Some(Cow::Borrowed(list)),
        (_, false) => Some(Cow::Owned(first_of_each_key(list))),
    }
}

#[cold]
fn first_of_each_key(list: &[u8]) -> Vec<u8> {
    let mut kept: Vec<(&[u8], &[u8])> = Vec::with_capacity(MEMBERS);
    for member in members(list) {
        if let Some(key) = key(member)
            && !kept.iter().any(|(known, _)| *known == key)
        {
            kept.push((key, member));
        }
    }
    let kept: Vec<_> = kept.into_iter().map(|(_, member)| member).collect();
    kept.join(&b","[..])
}

/// Without the optional white space around them.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// The key of a well-formed member.
fn key(member: &[u8]) -> Option<&[u8]> {
    let equals = member.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (member.get(..equals)?, member.get(equals + 1..)?);
    let is_key = key.len() <= LONGEST
        && key.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && key.iter().all(|byte| is_key_char(*byte));
    // What it begins with may be spaces; what it ends with is none, or it would have been trimmed.
    let is_value = (1..=LONGEST).contains(&value.len())
        && value.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'=');
    (is_key && is_value).then_some(key)
}

fn is_key_char(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(list: &str) -> Option<String> {
        passed_on(list.as_bytes()).map(|list| String::from_utf8(list.into_owned()).unwrap())
    }

    /// `count` members with keys of their own.
    fn list(count: usize) -> String {
        (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_list_is_passed_on_as_it_came() {
        let (long, longer) = ("k".repeat(256), "v".repeat(256));
        let tenant = format!("{}@{}", "t".repeat(241), "v".repeat(14));
        // Section 3.3.1.3.2: 0x20 to 0x7e without `,` and `=`; it may begin with spaces.
        let every: String = (' '..='~').filter(|value| !",=".contains(*value)).collect();
        let good = [
            "a=1",
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "z=1,a=2,m=3",
            // What a key is made of.
            "abcdefghijklmnopqrstuvwxyz0123456789_-*/=1",
            "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/=1",
            "0tenant@vendor=1",
            // Level 2: a digit first in any key, `@` anywhere behind that.
            "0=1",
            "foo@=1,bar=2",
            "foo@@bar=1",
            "foo@bar@baz=1",
            &format!("{}@v=1", "t".repeat(242)),
            &format!("t@{}=1", "v".repeat(15)),
            // White space around members.
            "foo=1 \t , \t bar=2, \t baz=3",
            " foo=1\t",
            "foo=  two spaces first",
            // Lengths.
            &format!("{long}=1"),
            &format!("{tenant}=1"),
            &format!("k={longer}"),
            &format!("k={every}"),
            &list(32),
        ];
        for good in good {
            assert_eq!(sent(good).as_deref(), Some(good));
        }
    }

    #[test]
    fn what_is_no_list_is_not_passed_on() {
        let bad = [
            "foo",
            "=1",
            "foo=",
            "foo= ",
            "foo =1",
            "foo\t=1",
            "FOO=1",
            "foO=1",
            "foo.bar=1",
            "_foo=1",
            "-foo=1",
            "*foo=1",
            "/foo=1",
            "@foo=1,bar=2",
            "foo=bar=baz",
            "foo=a\tb",
            "foo=\u{e4}",
            "foo=\u{7f}",
            "f\u{e4}=1",
            "foo=1;bar=2,baz",
            &format!("{}=1", "k".repeat(257)),
            &format!("k={}", "v".repeat(257)),
            &list(33),
        ];
        for bad in bad {
            assert_eq!(sent(bad), None, "{bad}");
            assert_eq!(sent(&format!("good=1,{bad}")), None, "{bad}");
        }
    }

    #[test]
    fn empty_members_are_taken_and_not_sent() {
        for (list, expected) in [
            ("", None),
            (" \t", None),
            (",", None),
            (" ,\t, ", None),
            ("foo=1,", Some("foo=1")),
            (",foo=1", Some("foo=1")),
            ("foo=1, ,\t,bar=2", Some("foo=1,bar=2")),
        ] {
            assert_eq!(sent(list).as_deref(), expected, "{list:?}");
        }
        // They are no members of the 32.
        let (all, spread) = (list(32), list(32).replace(',', ",,"));
        assert_eq!(sent(&spread).as_deref(), Some(all.as_str()));
    }

    #[test]
    fn of_several_members_with_one_key_the_first_is_passed_on() {
        for (list, expected) in [
            ("foo=1,foo=1", "foo=1"),
            ("foo=1,foo=2", "foo=1"),
            ("foo=1,bar=2,foo=3,baz=4", "foo=1,bar=2,baz=4"),
        ] {
            assert_eq!(sent(list).as_deref(), Some(expected));
        }
        assert_eq!(sent(&vec!["foo=1"; 33].join(",")), None, "more than 32 members");
    }

    proptest! {
        /// What is passed on is taken as it is by the next one.
        #[test]
        fn what_is_passed_on_is_a_list(bytes in "[a-z0@=, \t~]{0,60}") {
            if let Some(list) = passed_on(bytes.as_bytes()) {
                prop_assert!(matches!(passed_on(&list), Some(Cow::Borrowed(again)) if again == &*list));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = passed_on(&bytes);
        }
    }
}
