//! The spans of the service, sent one by one as OTLP over HTTP to where the environment says.

use axum::body::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Of the request, for the calls that are made for it: lower-case hexadecimal digits, as all ids here.
#[derive(Debug, Clone)]
pub(crate) struct Own(pub(crate) String);

pub(crate) const SERVER: u8 = 2;
pub(crate) const CLIENT: u8 = 3;

#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: u8,
    pub(crate) attributes: Vec<(&'static str, String)>,
}

impl Span {
    /// Sends it in its own time; nobody hears of it when that fails.
    pub(crate) fn send(self) {
        let Ok(endpoint) = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT") else { return };
        tokio::spawn(async move {
            let _ = post(endpoint.trim_start_matches("http://"), self.message()).await;
        });
    }

    /// `ExportTraceServiceRequest` of the one span.
    fn message(&self) -> Vec<u8> {
        let mut span = Vec::new();
        for (number, id) in [(1, &self.trace), (2, &self.id), (4, &self.parent)] {
            let digits: Vec<char> = id.chars().collect();
            let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("are digits");
            field(&mut span, number, &digits.chunks(2).map(byte).collect::<Vec<u8>>());
        }
        field(&mut span, 5, self.name.as_bytes());
        span.extend([6 << 3, self.kind]);
        for (name, value) in &self.attributes {
            let (mut any, mut pair) = (Vec::new(), Vec::new());
            field(&mut any, 1, value.as_bytes());
            field(&mut pair, 1, name.as_bytes());
            field(&mut pair, 2, &any);
            field(&mut span, 9, &pair);
        }
        // In spans, in scope_spans, in resource_spans.
        [2, 2, 1].into_iter().fold(span, |inner, number| {
            let mut outer = Vec::new();
            field(&mut outer, number, &inner);
            outer
        })
    }
}

/// A field with a length, which is below 2¹⁴ here.
fn field(to: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    to.extend([number << 3 | 2, (bytes.len() & 0x7f) as u8 | 0x80, (bytes.len() >> 7) as u8]);
    to.extend_from_slice(bytes);
}

async fn post(to: &str, message: Vec<u8>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(to).await?)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::post("/v1/traces").header("host", to);
    let request = request.header("content-type", "application/x-protobuf");
    sender.send_request(request.body(Full::new(Bytes::from(message)))?).await?;
    Ok(())
}
