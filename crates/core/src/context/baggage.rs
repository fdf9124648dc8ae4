//! What the application sends along with a request: W3C Baggage, section 3.
//!
//! It is passed on, and nothing here reads it.

use std::borrow::Cow;

/// Section 3.3.2: what must at least be passed on, and here the most.
const BYTES: usize = 8192;
const MEMBERS: usize = 64;

/// The list as it is passed on: as it came, where it is well-formed and within the limits; else those of its members that
/// are well-formed, in their order, as many as the limits let through, each whole. `None` where that leaves none.
pub(crate) fn passed_on(list: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_whole = list.len() <= BYTES
        && list.split(is_comma).count() <= MEMBERS
        && list.split(is_comma).all(|member| is_member(member.trim_ascii()));
    if is_whole { Some(Cow::Borrowed(list)) } else { what_is_left(list) }
}

#[cold]
fn what_is_left(list: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut left = Vec::new();
    let mut count = 0;
    for member in list.split(is_comma).map(<[u8]>::trim_ascii) {
        let comma = usize::from(count > 0);
        if count < MEMBERS && left.len() + comma + member.len() <= BYTES && is_member(member) {
            left.extend_from_slice(&b","[..comma]);
            left.extend_from_slice(member);
            count += 1;
        }
    }
    (count > 0).then_some(Cow::Owned(left))
}

/// `key OWS "=" OWS value *( OWS ";" OWS property )`, without white space around it.
fn is_member(member: &[u8]) -> bool {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(is_pair) && parts.all(|property| is_pair(property) || is_token(property))
}

fn is_pair(pair: &[u8]) -> bool {
    // Later ones are a part of the value.
    let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = pair.split_at(equals);
    let value = value.get(1..).unwrap_or_default().trim_ascii_start();
    is_token(key.trim_ascii_end()) && value.iter().all(|byte| is_octet(*byte))
}

/// RFC 9110 section 5.6.2.
fn is_token(token: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !token.is_empty() && token.iter().all(is_tchar)
}

/// A `baggage-octet`: visible ASCII but `"`, `,`, `;` and `\`.
fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(list: &str) -> Option<String> {
        passed_on(list.as_bytes()).map(|list| String::from_utf8(list.into_owned()).unwrap())
    }

    #[test]
    fn a_list_is_passed_on_as_it_came() {
        let most = vec!["k=v"; 64].join(",");
        let longest = format!("k={}", "v".repeat(8190));
        let good = [
            "k=v",
            // The examples of the specification.
            "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue",
            "userId=Am%C3%A9lie,serverNode=DF%2028,isProduction=false",
            "userId =   alice, isProduction\t=\tfalse",
            "k=",
            "k=a=b==",
            "k=1,k=2",
            "!#$%&'*+-.^_`|~0aZ=!#$%&'()*+-./:<=>?@[]^_`{|}~",
            "k=v;p=",
            "k=v;p=a=b;p",
            &most,
            &longest,
        ];
        for good in good {
            assert_eq!(sent(good).as_deref(), Some(good));
        }
    }

    #[test]
    fn a_malformed_member_is_left_out_and_the_others_are_passed_on() {
        let bad = [
            "",
            " ",
            "k",
            "=v",
            "k k=v",
            "k\"=v",
            "k\u{e4}=v",
            "k=a b",
            "k=\"v\"",
            "k=a\\b",
            "k=\u{e4}",
            "k=\u{7f}",
            "k=v;",
            "k=v;;p",
            "k=v;p q",
            "k=v;=q",
            "k=v;p=a b",
            "p;k=v",
        ];
        for bad in bad {
            assert_eq!(sent(bad), None, "{bad}");
            let list = format!("a=1, {bad} ,b=2;p");
            assert_eq!(sent(&list).as_deref(), Some("a=1,b=2;p"), "{bad}");
        }
    }

    #[test]
    fn of_more_than_the_limits_whole_members_are_left() {
        let members: Vec<_> = (0..65).map(|number| format!("k{number}=v")).collect();
        assert_eq!(sent(&members.join(",")), Some(members[..64].join(",")));

        let large = format!("large={}", "v".repeat(5000));
        let list = format!("{large},{large},small=1");
        assert_eq!(sent(&list), Some(format!("{large},small=1")));
        assert_eq!(sent(&format!("k={}", "v".repeat(8191))), None);
        // White space counts, while it is there.
        assert_eq!(sent(&format!("a=1,{}b=2", " ".repeat(8192))).as_deref(), Some("a=1,b=2"));
    }

    proptest! {
        /// What is passed on is taken as it is by the next one.
        #[test]
        fn what_is_passed_on_is_a_list(list in "[ak=;, \t\"%]{0,60}") {
            if let Some(list) = passed_on(list.as_bytes()) {
                prop_assert!(matches!(passed_on(&list), Some(Cow::Borrowed(again)) if again == &*list));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = passed_on(&bytes);
        }
    }
}
