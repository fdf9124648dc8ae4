//! A raw HTTP/1.1 client: writes exactly the bytes that a check wants, reads answers as RFC 9112 says.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Endpoint, PATIENCE, Trouble};
use crate::conform::text::{SHOWN, printable};

/// What is held of one answer at most; the endpoints of a large fleet are a page of megabytes.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 16 << 20;

/// A request that the suite writes itself.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    is_anonymous: bool,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// One TCP connection to the service.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    endpoint: Endpoint,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, fields: Vec::new(), body: None, is_anonymous: false }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn with_body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.with("content-type", content_type)
    }

    /// Without the token that requests to this listener carry.
    #[must_use]
    pub(crate) fn anonymous(mut self) -> Self {
        self.is_anonymous = true;
        self
    }

    /// With this token in place of that one.
    #[must_use]
    pub(crate) fn bearing(self, token: &str) -> Self {
        self.anonymous().with("authorization", &format!("Bearer {token}"))
    }

    /// The request as it goes over the wire, with `Host`, `Content-Length` and credentials added.
    pub(crate) fn bytes(&self, endpoint: &Endpoint) -> Vec<u8> {
        let lines = match self.is_anonymous {
            true => endpoint.clone().with_token(None).lines(),
            false => endpoint.lines(),
        };
        let mut head = format!("{} {} HTTP/1.1\r\n{lines}", self.method, self.target);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.body {
            Some(body) => head.push_str(&format!("content-length: {}\r\n\r\n", body.len())),
            None if matches!(self.method.as_str(), "GET" | "HEAD") => head.push_str("\r\n"),
            None => head.push_str("content-length: 0\r\n\r\n"),
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// One line for a verdict.
    pub(crate) fn summary(&self) -> String {
        let mut line = format!("{} {}", self.method, printable(&self.target, 120));
        for (name, value) in &self.fields {
            line.push_str(&format!(" | {name}: {}", printable(value, 80)));
        }
        if let Some(body) = &self.body {
            line.push_str(&format!(" | {}", shown_body(body)));
        }
        line
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        joined(&self.fields, name)
    }

    /// Whether this is the last answer on its connection (RFC 9112 section 9.6).
    pub(crate) fn says_close(&self) -> bool {
        self.field("connection")
            .is_some_and(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")))
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One line for a verdict: the status, the fields a check may be about, the beginning of the body.
    pub(crate) fn summary(&self) -> String {
        let mut line = self.status.to_string();
        for name in ["content-type", "allow", "connection", "retry-after", "www-authenticate"] {
            if let Some(value) = self.field(name) {
                line.push_str(&format!(" | {name}: {}", printable(&value, 80)));
            }
        }
        line.push_str(&format!(" | {}", shown_body(&self.body)));
        line
    }
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Trouble> {
        let stream = endpoint.connect().await?;
        Ok(Self { stream, buffer: Vec::new(), endpoint: endpoint.clone() })
    }

    /// Writes bytes as they are. A peer that stopped reading is no error here: its answer may be waiting.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        match timeout(PATIENCE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => match Trouble::from(error) {
                Trouble::Reset | Trouble::Closed => Ok(()),
                other => Err(other),
            },
            Err(_) => Err(Trouble::Silent(PATIENCE)),
        }
    }

    /// The next answer, waiting for at most `within`.
    pub(crate) async fn answer(&mut self, within: Duration) -> Result<Answer, Trouble> {
        timeout(within, read_answer(&mut self.stream, &mut self.buffer))
            .await
            .map_err(|_| Trouble::Silent(within))?
    }

    pub(crate) async fn send(&mut self, request: &Request, within: Duration) -> Result<Answer, Trouble> {
        let bytes = request.bytes(&self.endpoint);
        self.write(&bytes).await?;
        self.answer(within).await
    }

    /// Writes `bytes` while already reading: who refuses a message early closes before having read all of it.
    pub(crate) async fn write_while_reading(
        &mut self,
        bytes: &[u8],
        within: Duration,
    ) -> Result<Answer, Trouble> {
        let (mut reader, mut writer) = self.stream.split();
        let writing = async {
            // A failed write tells nothing that the answer, or its absence, does not tell better.
            let _ = writer.write_all(bytes).await;
            std::future::pending::<Result<Answer, Trouble>>().await
        };
        let both = async {
            tokio::select! {
                answer = read_answer(&mut reader, &mut self.buffer) => answer,
                never = writing => never,
            }
        };
        timeout(within, both).await.map_err(|_| Trouble::Silent(within))?
    }

    /// Waits for the beginning of an answer that has no end.
    pub(crate) async fn begins(&mut self, within: Duration) -> Result<(), Trouble> {
        let reading = async {
            while parse_head(&self.buffer)?.is_none() {
                fill(&mut self.stream, &mut self.buffer).await?;
            }
            Ok(())
        };
        timeout(within, reading).await.map_err(|_| Trouble::Silent(within))?
    }

    /// Reads on until the peer ends the connection; says whether it did within `within`.
    pub(crate) async fn ends(&mut self, within: Duration) -> bool {
        let drained = async {
            let mut sink = [0; 4096];
            while matches!(self.stream.read(&mut sink).await, Ok(count) if count > 0) {}
        };
        timeout(within, drained).await.is_ok()
    }
}

async fn read_answer<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut Vec<u8>) -> Result<Answer, Trouble> {
    loop {
        let (head, length) = loop {
            if let Some(parsed) = parse_head(buffer)? {
                break parsed;
            }
            fill(reader, buffer).await?;
        };
        buffer.drain(..length);
        if (100..200).contains(&head.status) && head.status != 101 {
            continue;
        }
        let body = read_body(reader, buffer, &head).await?;
        return Ok(Answer { body, ..head });
    }
}

/// RFC 9112 section 6.3, for answers to anything but HEAD and CONNECT.
async fn read_body<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut Vec<u8>,
    head: &Answer,
) -> Result<Vec<u8>, Trouble> {
    if matches!(head.status, 101 | 204 | 304) {
        return Ok(Vec::new());
    }
    if let Some(body) = read_framed(reader, buffer, &head.fields).await? {
        return Ok(body);
    }
    loop {
        match fill(reader, buffer).await {
            Ok(()) => {}
            Err(Trouble::Closed) => return Ok(std::mem::take(buffer)),
            Err(other) => return Err(other),
        }
    }
}

/// A body that says itself where it ends, chunked or by its length; `None` where it does not.
pub(super) async fn read_framed<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut Vec<u8>,
    fields: &[(String, String)],
) -> Result<Option<Vec<u8>>, Trouble> {
    if joined(fields, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            if let Some((body, length)) = dechunk(buffer)? {
                buffer.drain(..length);
                return Ok(Some(body));
            }
            fill(reader, buffer).await?;
        }
    }
    let Some(length) = joined(fields, "content-length") else { return Ok(None) };
    let length: usize =
        length.parse().map_err(|_| Trouble::Malformed(format!("content-length `{length}`")))?;
    if length > MAX_BODY {
        return Err(Trouble::Unusable(format!("a body of {length} bytes, more than is read")));
    }
    while buffer.len() < length {
        fill(reader, buffer).await?;
    }
    Ok(Some(buffer.drain(..length).collect()))
}

pub(super) async fn fill<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut Vec<u8>) -> Result<(), Trouble> {
    if buffer.len() > MAX_HEAD + MAX_BODY {
        return Err(Trouble::Unusable("a message longer than is read".to_owned()));
    }
    match reader.read_buf(buffer).await {
        Ok(0) => Err(Trouble::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The status line and fields at the start of `bytes`, and how long they are; `None` while they are incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Trouble> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        if bytes.len() > MAX_HEAD {
            return Err(Trouble::Malformed("no end of the header in 64 KiB".to_owned()));
        }
        // Tell at once what is no HTTP/1 at all, instead of waiting for the rest of it.
        let known = bytes.len().min(5);
        if bytes.get(..known) != b"HTTP/".get(..known) {
            return Err(malformed("no status line", bytes));
        }
        return Ok(None);
    };
    let head = bytes.get(..end).unwrap_or_default();
    let text = std::str::from_utf8(head).map_err(|_| malformed("a header that is no text", head))?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 ")))
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .filter(|code| (100..600).contains(code))
        .ok_or_else(|| malformed("no status line", head))?;
    Ok(Some((Answer { status, fields: fields(lines)?, body: Vec::new() }, end + 4)))
}

/// Field lines (RFC 9112 section 5).
pub(super) fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>, Trouble> {
    let field = |line: &'a str| match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t']) => {
            Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        }
        _ => Err(malformed("a field line", line.as_bytes())),
    };
    lines.map(field).collect()
}

/// The value of a field; several lines of it are joined with `, ` (RFC 9110 section 5.3).
pub(super) fn joined(fields: &[(String, String)], name: &str) -> Option<String> {
    let lines = fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let lines: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// The content of a chunked body (RFC 9112 section 7.1) and its length on the wire; `None` while incomplete.
fn dechunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Trouble> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line_at(bytes, at) else { return Ok(None) };
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size)
            .ok()
            .and_then(|size| usize::from_str_radix(size.trim(), 16).ok())
            .filter(|size| *size <= MAX_BODY)
            .ok_or_else(|| malformed("a chunk size", line))?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size) else { return Ok(None) };
        match bytes.get(at + size..at + size + 2) {
            Some(b"\r\n") => {}
            Some(other) => return Err(malformed("the end of a chunk", other)),
            None => return Ok(None),
        }
        body.extend_from_slice(chunk);
        at += size + 2;
    }
    // The trailer section, which no check looks at, ends with an empty line.
    while let Some(line) = line_at(bytes, at) {
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(Some((body, at)));
        }
    }
    Ok(None)
}

fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    rest.get(..rest.windows(2).position(|window| window == b"\r\n")?)
}

pub(super) fn malformed(what: &str, bytes: &[u8]) -> Trouble {
    Trouble::Malformed(format!("expected {what}, came `{}`", printable(&String::from_utf8_lossy(bytes), 60)))
}

fn shown_body(body: &[u8]) -> String {
    match body.len() {
        0 => "no body".to_owned(),
        length => {
            let start = String::from_utf8_lossy(body.get(..SHOWN * 4).unwrap_or(body)).into_owned();
            format!("{length} bytes: {}", printable(&start, 300))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Trouble, dechunk, parse_head, read_answer};

    #[test]
    fn a_header_is_read_only_when_it_is_whole() {
        let whole =
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain \r\nallow: GET\r\nAllow: HEAD\r\n\r\nbody";
        let (answer, length) = parse_head(whole).expect("is HTTP").expect("is whole");
        assert_eq!((answer.status, length), (404, whole.len() - 4));
        assert_eq!(answer.field("content-type").as_deref(), Some("text/plain"));
        assert_eq!(answer.field("allow").as_deref(), Some("GET, HEAD"));
        for cut in 0..whole.len() - 4 {
            assert!(parse_head(&whole[..cut]).expect("a prefix is no error").is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_http_is_said_so() {
        for wrong in [
            "SSH-2.0-x",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 999 ?\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        ] {
            assert!(matches!(parse_head(wrong.as_bytes()), Err(Trouble::Malformed(_))), "{wrong}");
        }
    }

    #[test]
    fn chunks_are_joined_only_when_all_have_come() {
        let whole = b"3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nx: y\r\n\r\nnext";
        assert_eq!(
            dechunk(whole).expect("is chunked"),
            Some((b"abc0123456789abcdef".to_vec(), whole.len() - 4))
        );
        for cut in 0..whole.len() - 4 {
            assert_eq!(dechunk(&whole[..cut]).expect("a prefix is no error"), None, "cut at {cut}");
        }
        for wrong in ["z\r\n", "3\r\nabcd\r\n", "ffffffffffffffff\r\n", "-1\r\n"] {
            assert!(dechunk(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn interim_answers_are_passed_over_and_a_body_without_length_runs_to_the_end() {
        let mut wire: &[u8] =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nconnection: Close\r\n\r\nall of it";
        let answer = read_answer(&mut wire, &mut Vec::new()).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "all of it"));
        assert!(answer.says_close());
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_closed_connection() {
        let mut wire: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        assert!(matches!(read_answer(&mut wire, &mut Vec::new()).await, Err(Trouble::Closed)));
    }
}
