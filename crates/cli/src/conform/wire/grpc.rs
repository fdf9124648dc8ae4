//! gRPC over HTTP/2 by hand: the framing of `PROTOCOL-HTTP2.md` and the three messages of `grpc.health.v1`.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Request};
use tokio::time::timeout;

use super::{
    Endpoint, Trouble,
    http2::{Http2, data},
    protobuf::{Fields, Value},
};
use crate::conform::text::printable;

pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const NOT_FOUND: u32 = 5;
pub(crate) const PERMISSION_DENIED: u32 = 7;
pub(crate) const UNIMPLEMENTED: u32 = 12;
pub(crate) const UNAUTHENTICATED: u32 = 16;

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
pub(crate) const SERVING: u64 = 1;
pub(crate) const SERVICE_UNKNOWN: u64 = 3;

/// How a unary call ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) http_status: u16,
    pub(crate) content_type: String,
    /// `grpc-status`; `None` when the answer has none.
    pub(crate) code: Option<u32>,
    pub(crate) message: String,
    /// Whether the status came in the one HEADERS frame of the answer.
    pub(crate) trailers_only: bool,
    /// The first message, if one came.
    pub(crate) reply: Option<Bytes>,
}

/// A call whose answers are still coming.
pub(crate) struct Watching {
    // Held because dropping it closes the connection.
    _connection: Http2,
    stream: RecvStream,
    buffer: BytesMut,
}

impl Outcome {
    /// One line for a verdict.
    pub(crate) fn summary(&self) -> String {
        let status =
            self.code.map_or_else(|| "no grpc-status".to_owned(), |code| format!("grpc-status: {code}"));
        format!(
            "{} | content-type: {} | {status} | {} | {}",
            self.http_status,
            printable(&self.content_type, 60),
            if self.trailers_only { "trailers-only" } else { "header, body and trailers" },
            printable(&self.message, 120),
        )
    }
}

/// Makes a unary call on a connection of its own.
pub(crate) async fn call(
    endpoint: &Endpoint,
    method: &str,
    message: &[u8],
    grpc_timeout: Option<&str>,
    within: Duration,
) -> Result<Outcome, Trouble> {
    let mut connection = Http2::open(endpoint).await?;
    let mut request = request();
    if let Some(value) = grpc_timeout {
        request = request.header("grpc-timeout", value);
    }
    let whole = connection.send(request, method, Some(framed(message)), within).await?;
    let trailers_only = whole.header_only;
    let status = if trailers_only { Some(&whole.head.headers) } else { whole.trailers.as_ref() };
    Ok(Outcome {
        http_status: whole.head.status.as_u16(),
        content_type: text(&whole.head.headers, "content-type").unwrap_or_default(),
        code: status.and_then(|fields| text(fields, "grpc-status")).and_then(|code| code.parse().ok()),
        message: status.and_then(|fields| text(fields, "grpc-message")).unwrap_or_default(),
        trailers_only,
        reply: unframed(&whole.body).map(|(message, _)| Bytes::copy_from_slice(message)),
    })
}

/// Starts a server-streaming call.
pub(crate) async fn watch(
    endpoint: &Endpoint,
    method: &str,
    message: &[u8],
    within: Duration,
) -> Result<Watching, Trouble> {
    let mut connection = Http2::open(endpoint).await?;
    let answer = connection.start(request(), method, Some(framed(message)), within).await?;
    Ok(Watching { _connection: connection, stream: answer.into_body(), buffer: BytesMut::new() })
}

impl Watching {
    /// The next message; `None` when the stream ended; `Trouble::Silent` when neither came in time.
    pub(crate) async fn next(&mut self, within: Duration) -> Result<Option<Bytes>, Trouble> {
        let reading = async {
            loop {
                if let Some((message, length)) = unframed(&self.buffer) {
                    let message = Bytes::copy_from_slice(message);
                    let _ = self.buffer.split_to(length);
                    return Ok(Some(message));
                }
                match data(&mut self.stream).await? {
                    Some(data) if self.buffer.len() + data.len() <= 1 << 20 => {
                        self.buffer.extend_from_slice(&data);
                    }
                    Some(_) => {
                        return Err(Trouble::Unusable("a message longer than the suite reads".to_owned()));
                    }
                    None => return Ok(None),
                }
            }
        };
        timeout(within, reading).await.map_err(|_| Trouble::Silent(within))?
    }
}

fn request() -> http::request::Builder {
    Request::post("/").header("content-type", "application/grpc").header("te", "trailers")
}

fn text(fields: &HeaderMap, name: &str) -> Option<String> {
    fields.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A message with its prefix: not compressed, four bytes of length.
fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(message);
    bytes.freeze()
}

/// The first message and its length on the wire; `None` while it is incomplete.
fn unframed(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (prefix, rest) = bytes.split_first_chunk::<5>()?;
    let [_, a, b, c, d] = *prefix;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    Some((rest.get(..length)?, 5 + length))
}

/// `HealthCheckRequest { service }`.
pub(crate) fn health_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        // A service name longer than a varint byte is cut: the suite asks for none.
        let name = service.as_bytes().get(..127).unwrap_or(service.as_bytes());
        message.push(name.len() as u8);
        message.extend_from_slice(name);
    }
    message
}

/// `HealthCheckResponse.status`; absent means UNKNOWN, 0.
pub(crate) fn health_status(message: &[u8]) -> Option<u64> {
    let mut status = 0;
    for field in Fields(message) {
        if let (1, Value::Varint(value)) = field? {
            status = value;
        }
    }
    Some(status)
}

/// `HealthListResponse.statuses`, a map from service to status.
pub(crate) fn health_list(message: &[u8]) -> Option<Vec<(String, u64)>> {
    let mut list = Vec::new();
    for field in Fields(message) {
        let (1, Value::Bytes(entry)) = field? else { continue };
        let (mut service, mut status) = (String::new(), 0);
        for field in Fields(entry) {
            match field? {
                (1, Value::Bytes(name)) => service = String::from_utf8_lossy(name).into_owned(),
                (2, Value::Bytes(response)) => status = health_status(response)?,
                _ => {}
            }
        }
        list.push((service, status));
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::{framed, health_list, health_request, health_status, unframed};

    #[test]
    fn messages_are_framed_and_read_back_never_from_a_part() {
        let wire = framed(b"hello");
        assert_eq!(wire[..5], [0, 0, 0, 0, 5]);
        assert_eq!(unframed(&wire), Some((&b"hello"[..], 10)));
        for cut in 0..wire.len() {
            assert_eq!(unframed(&wire[..cut]), None);
        }
    }

    #[test]
    fn health_messages_are_those_protoc_would_make() {
        assert_eq!(health_request(""), b"");
        assert_eq!(health_request("shop"), b"\x0a\x04shop");
        assert_eq!(health_status(b""), Some(0));
        assert_eq!(health_status(b"\x08\x01"), Some(1));
        // An unknown field of each wire type is passed over.
        assert_eq!(health_status(b"\x10\x05\x19........\x22\x01x\x2d....\x08\x03"), Some(3));
        assert_eq!(
            health_list(b"\x0a\x04\x12\x02\x08\x01\x0a\x06\x0a\x01a\x12\x01\x08"),
            None,
            "a cut status is malformed"
        );
        assert_eq!(
            health_list(b"\x0a\x04\x12\x02\x08\x01\x0a\x07\x0a\x01a\x12\x02\x08\x02"),
            Some(vec![(String::new(), 1), ("a".to_owned(), 2)])
        );
    }

    #[test]
    fn no_bytes_make_the_readers_panic() {
        let mut state = 1u32;
        for length in 0..64 {
            for _ in 0..200 {
                let bytes: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    })
                    .collect();
                let _ = (health_status(&bytes), health_list(&bytes), unframed(&bytes).is_some());
            }
        }
    }
}
