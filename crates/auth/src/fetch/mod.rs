//! Small bounded requests over HTTP/1.1 to who issues tokens: documents are got, forms are posted.

mod connect;
mod kept;
mod metadata;
mod named;
mod url;

use std::{fmt, future::Future, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use mainstay_core::{error::Report, task::Tasks};

use self::kept::{Connection, Kept};
pub use self::named::{Answered, Services};
pub(crate) use self::{
    metadata::endpoint,
    named::Named,
    url::{Url, wrong_url},
};

/// No issuer has more to say.
const MOST: usize = 512 << 10;
/// Nor more of one token.
const MOST_OF_FORM: usize = 128 << 10;

/// Gets documents of issuers.
pub(crate) trait Fetch: Send + Sync + 'static {
    /// The document at `url`.
    fn get(&self, url: &Url) -> impl Future<Output = Result<Document, Failure>> + Send;
}

/// Asks who issues tokens.
pub(crate) trait Post: Fetch {
    /// What is answered to the form, whatever its status.
    fn post(
        &self,
        url: &Url,
        authorization: Option<&HeaderValue>,
        form: String,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// How long it may be taken for new.
    pub(crate) max_age: Option<Duration>,
}

/// The answer to a form. Not shown: it may have a token.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why there is none, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }

    fn of(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(format_args!("{what}: {}", Report::new(error)))
    }
}

/// Over HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    tasks: Tasks,
    /// For all of one request.
    timeout: Duration,
    /// Who may sign the certificate of the other side.
    ca_file: Option<PathBuf>,
    /// Connections on which the next form can be posted.
    kept: Kept,
    /// The service that is asked, whatever the URL says but for its path.
    named: Option<Named>,
}

impl Fetch for Http {
    async fn get(&self, url: &Url) -> Result<Document, Failure> {
        // Documents are fetched every few minutes: nothing is kept for the next one.
        let exchange = async {
            let mut request = self.request(Method::GET, url, Bytes::new())?;
            let headers = request.headers_mut();
            let accepted = HeaderValue::from_static("application/json, application/jwk-set+json");
            headers.insert(header::ACCEPT, accepted);
            let (head, body) = match &self.named {
                Some(named) => named.exchange(url, request, MOST).await?,
                None => {
                    let close = HeaderValue::from_static("close");
                    request.headers_mut().insert(header::CONNECTION, close);
                    let (_connection, head, body) = self.exchange(url, None, request, MOST).await?;
                    (head, body)
                }
            };
            // Redirections are not followed: whoever can redirect could say where keys come from.
            if head.status != StatusCode::OK {
                return Err(Failure::new(format_args!("{url}: the answer is {}", head.status)));
            }
            Ok(Document { body, max_age: max_age(&head.headers) })
        };
        self.bounded(url, exchange).await
    }
}

impl Post for Http {
    async fn post(
        &self,
        url: &Url,
        authorization: Option<&HeaderValue>,
        form: String,
    ) -> Result<Reply, Failure> {
        let form = Bytes::from(form);
        let exchange = async {
            let mut kept = self.kept.take(url);
            loop {
                let mut request = self.request(Method::POST, url, form.clone())?;
                let headers = request.headers_mut();
                headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, form);
                if let Some(authorization) = authorization {
                    headers.insert(header::AUTHORIZATION, authorization.clone());
                }
                if let Some(named) = &self.named {
                    let (head, body) = named.exchange(url, request, MOST_OF_FORM).await?;
                    return Ok(Reply { status: head.status, body });
                }
                let was_kept = kept.is_some();
                match self.exchange(url, kept.take(), request, MOST_OF_FORM).await {
                    Ok((connection, head, body)) => {
                        self.kept.put(url, connection);
                        return Ok(Reply { status: head.status, body });
                    }
                    // It was closed while nobody looked. All that is asked for here may be asked for twice.
                    Err(_) if was_kept => {}
                    Err(failure) => return Err(failure),
                }
            }
        };
        self.bounded(url, exchange).await
    }
}

impl Http {
    pub(crate) fn new(tasks: Tasks, timeout: Duration, ca_file: Option<PathBuf>) -> Self {
        Self { tasks, timeout, ca_file, kept: Kept::default(), named: None }
    }

    /// Asks this service, if there is one.
    #[must_use]
    pub(crate) fn by_name(self, named: Option<Named>) -> Self {
        Self { named, ..self }
    }

    async fn bounded<T>(
        &self,
        url: &Url,
        exchange: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new(format_args!("{url}: no answer within {:?}", self.timeout))),
        }
    }

    fn request(&self, method: Method, url: &Url, body: Bytes) -> Result<Request<Bytes>, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = url.path().parse().map_err(Failure::new)?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::try_from(url.authority()).map_err(Failure::new)?);
        let agent = HeaderValue::from_static(concat!("mainstay/", env!("CARGO_PKG_VERSION")));
        headers.insert(header::USER_AGENT, agent);
        Ok(request)
    }

    async fn exchange(
        &self,
        url: &Url,
        kept: Option<Connection>,
        request: Request<Bytes>,
        most: usize,
    ) -> Result<(Connection, http::response::Parts, Bytes), Failure> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(url, self.ca_file.as_deref(), &self.tasks).await?,
        };
        let answer: Response<Incoming> = connection
            .send(request.map(Full::new))
            .await
            .map_err(|error| Failure::of(&format!("{url}: the request"), &error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| Failure::of(&format!("{url}: the answer"), &*error))?;
        Ok((connection, head, body.to_bytes()))
    }
}

/// RFC 9111 section 5.2.2.1, without what has passed of it already (section 5.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |text: &str| text.trim().trim_matches('"').parse::<u64>().ok().map(Duration::from_secs);
    let control = headers.get(header::CACHE_CONTROL)?.to_str().ok()?;
    let age = headers.get(header::AGE).and_then(|age| seconds(age.to_str().ok()?)).unwrap_or_default();
    let mut max_age = None;
    for directive in control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => max_age = seconds(value),
            _ => {}
        }
    }
    max_age.map(|max_age: Duration| max_age.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_document_is_new_is_read() {
        let read = |control: &str, age: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, control.parse().unwrap());
            headers.insert(header::AGE, age.parse().unwrap());
            max_age(&headers)
        };
        assert_eq!(read("public, max-age=600, must-revalidate", "x"), Some(Duration::from_secs(600)));
        assert_eq!(read("Max-Age=\"600\"", "500"), Some(Duration::from_secs(100)));
        assert_eq!(read("max-age=600", "700"), Some(Duration::ZERO));
        assert_eq!(read("max-age=600, no-store", ""), Some(Duration::ZERO));
        assert_eq!(read("max-age=-1", ""), None);
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
