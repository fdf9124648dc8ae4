//! The wire, as low as a check needs it: exact bytes out, strict reading in, every wait bounded.

pub(crate) mod exposition;
pub(crate) mod frame;
pub(crate) mod grpc;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod issuer;
pub(crate) mod otlp;
mod protobuf;
pub(crate) mod stand_in;

use std::{io, str::FromStr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

/// How long an ordinary answer may take before the suite calls the service silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Where a listener of the service is, from `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    /// What every request to it carries that says nothing else of itself.
    token: Option<String>,
}

/// Why an exchange gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("could not connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("the connection was closed without an answer")]
    Closed,
    #[error("the connection was reset without an answer")]
    Reset,
    #[error("nothing within {0:?}")]
    Silent(Duration),
    #[error("not HTTP: {0}")]
    Malformed(String),
    /// HTTP, but not what the check can go on with.
    #[error("{0}")]
    Unusable(String),
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("{0}")]
    Io(io::Error),
}

impl Trouble {
    /// Whether the peer ended the connection, politely or not.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Closed | Self::Reset => true,
            Self::Http2(error) => error.is_go_away() || error.is_io(),
            _ => false,
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl Endpoint {
    /// `host:port`, as it stands in `Host` and `:authority`.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same, and requests to it carry this token.
    #[must_use]
    pub(crate) fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// `Authorization` (RFC 6750 section 2.1).
    pub(crate) fn credentials(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// `Host` and `Authorization`, as they stand in every request to it, each with its line end.
    pub(crate) fn lines(&self) -> String {
        let credentials = self.credentials().map(|credentials| format!("authorization: {credentials}\r\n"));
        format!("host: {}\r\n{}", self.authority(), credentials.unwrap_or_default())
    }

    /// Host and port, as sockets want them.
    fn parts(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Opens a TCP connection.
    pub(crate) async fn connect(&self) -> Result<TcpStream, Trouble> {
        let stream = timeout(PATIENCE, TcpStream::connect(self.parts()))
            .await
            .map_err(|_| Trouble::Silent(PATIENCE))?
            .map_err(|error| Trouble::Connect(self.authority(), error))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` {why}: expected one like `http://127.0.0.1:8080`");
        let uri: http::Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("wants TLS, which is not spoken here yet")),
            _ => return Err(wrong("has no `http://`")),
        }
        if uri.path_and_query().is_some_and(|path| path != "/") {
            return Err(wrong("has a path; which ones are asked for is known"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("has a user"));
        }
        Ok(Self { host: authority.host().to_owned(), port: authority.port_u16().unwrap_or(80), token: None })
    }
}

impl<'de> serde::Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn a_listener_is_named_by_scheme_host_and_port() {
        let parsed: Endpoint = "http://[::1]:8080/".parse().expect("a good URL");
        assert_eq!(parsed.authority(), "[::1]:8080");
        for (wrong, why) in [
            ("127.0.0.1:8080", "http://"),
            ("https://localhost", "TLS"),
            ("http://localhost/products", "path"),
            ("http://me@localhost", "user"),
            ("http://", "not a URL"),
        ] {
            let error = wrong.parse::<Endpoint>().expect_err(wrong);
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
