//! `google.rpc.RetryInfo`, out of `grpc-status-details-bin`.
//!
//! That header is a `google.rpc.Status` in base64, whose details are messages of any kind. One field of one of them is
//! wanted, so what there is of protobuf is read here: a peer has written it, and nothing of it is believed.

use std::time::Duration;

/// What gRPC takes of metadata by default. More is not looked at.
const LONGEST: usize = 8 << 10;

/// How long the status asks to wait, if it says so. `header` is the value of `grpc-status-details-bin`.
pub(super) fn retry_delay(header: &[u8]) -> Option<Duration> {
    if header.len() > LONGEST {
        return None;
    }
    // google.rpc.Status: `repeated google.protobuf.Any details = 3`.
    let status = decode(header)?;
    let mut details = Fields(&status).filter_map(|field| field.bytes(3));
    details.find_map(|any| {
        // google.protobuf.Any: `string type_url = 1`, `bytes value = 2`.
        let name = Fields(any).find_map(|field| field.bytes(1))?;
        let info = Fields(any).find_map(|field| field.bytes(2))?;
        if !name.ends_with(b"/google.rpc.RetryInfo") {
            return None;
        }
        // RetryInfo: `google.protobuf.Duration retry_delay = 1`, of `int64 seconds = 1`, `int32 nanos = 2`.
        let delay = Fields(info).find_map(|field| field.bytes(1))?;
        let part = |number| Fields(delay).find_map(|field| field.varint(number)).unwrap_or(0) as i64;
        // What is negative asks for no wait.
        let (seconds, nanos) = (u64::try_from(part(1)).ok()?, u64::try_from(part(2)).ok()?);
        Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos)))
    })
}

/// A field of a message of protobuf: its number and what it holds.
struct Field<'a> {
    number: u64,
    value: Value<'a>,
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of eight or four bytes, which nothing here wants.
    Fixed,
}

impl<'a> Field<'a> {
    fn bytes(&self, number: u64) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) if self.number == number => Some(bytes),
            _ => None,
        }
    }

    fn varint(&self, number: u64) -> Option<u64> {
        match self.value {
            Value::Varint(value) if self.number == number => Some(value),
            _ => None,
        }
    }
}

/// The fields of a message; it ends where it is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which proto3 does not have.
            _ => return None,
        };
        Some(Field { number: key >> 3, value })
    }
}

/// Base64 as in `-Bin` headers of gRPC: the standard alphabet, padded or not.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let (digits, padding) = text.split_at_checked(end)?;
    if padding.len() > 2 || padding.iter().any(|byte| *byte != b'=') {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            let six = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let [_, one, two, three] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match group.len() {
            4 => bytes.extend([one, two, three]),
            3 => bytes.extend([one, two]),
            2 => bytes.push(one),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    /// As tonic writes it.
    fn header(details: ErrorDetails) -> Vec<u8> {
        let status = tonic::Status::with_error_details(tonic::Code::Unavailable, "busy", details);
        let mut headers = http::HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        headers["grpc-status-details-bin"].as_bytes().to_vec()
    }

    fn retry(delay: Duration) -> ErrorDetails {
        let mut details = ErrorDetails::with_error_info("BUSY", "test", std::collections::HashMap::new());
        details.set_retry_info(Some(delay));
        details
    }

    #[test]
    fn the_delay_is_found_among_other_details() {
        for delay in [Duration::ZERO, Duration::from_millis(1500), Duration::from_secs(300_000_000)] {
            assert_eq!(retry_delay(&header(retry(delay))), Some(delay));
        }
        let others = ErrorDetails::with_error_info("BUSY", "test", std::collections::HashMap::new());
        assert_eq!(retry_delay(&header(others)), None);
    }

    #[test]
    fn what_is_malformed_or_negative_says_nothing() {
        // A delay of -1 s: RetryInfo { retry_delay: Duration { seconds: -1 } } in an Any in a Status.
        let delay = [&[0x08][..], &[0xff; 9], &[0x01]].concat();
        let info = [&[0x0a, delay.len() as u8][..], &delay].concat();
        let name = b"type.googleapis.com/google.rpc.RetryInfo";
        let any = [&[0x0a, name.len() as u8][..], name, &[0x12, info.len() as u8], &info].concat();
        let status = [&[0x1a, any.len() as u8][..], &any].concat();
        let mut text = String::new();
        for chunk in status.chunks(3) {
            let mut bytes = [0; 4];
            bytes[1..=chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes(bytes);
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            text.extend(
                (0..=chunk.len()).map(|digit| char::from(alphabet[(bits >> (18 - 6 * digit) & 63) as usize])),
            );
        }
        assert_eq!(decode(text.as_bytes()), Some(status));
        assert_eq!(retry_delay(text.as_bytes()), None);
        for malformed in ["", "=", "A", "AAAAA", "AA=A", "AA===", "****", "\u{e9}"] {
            assert_eq!(retry_delay(malformed.as_bytes()), None, "{malformed}");
        }
        let long = vec![b'A'; LONGEST + 1];
        assert_eq!(retry_delay(&long), None);
    }

    proptest! {
        #[test]
        fn whatever_a_peer_sends_is_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0usize..200,
            flipped in 0usize..200,
        ) {
            let _ = retry_delay(&bytes);
            let _ = Fields(&bytes).count();
            let mut real = header(retry(Duration::from_secs(2)));
            if let Some(byte) = real.get_mut(flipped) {
                *byte ^= 1;
            }
            real.truncate(cut);
            let _ = retry_delay(&real);
        }
    }
}
