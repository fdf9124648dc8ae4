//! A well-behaved HTTP/2 connection with prior knowledge (RFC 9113 section 3.3).

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, Request, Response};
use tokio::{task::JoinSet, time::timeout};

use super::{Endpoint, PATIENCE, Trouble};

/// The most that is read of one body.
const MAX_BODY: usize = 1 << 20;

/// One HTTP/2 connection; dropping the last clone closes it.
#[derive(Debug, Clone)]
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    endpoint: Endpoint,
    _driver: Arc<JoinSet<()>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Bytes,
    /// What came after the body, if anything.
    pub(crate) trailers: Option<HeaderMap>,
    /// Whether the answer was a single HEADERS frame.
    pub(crate) header_only: bool,
}

impl Http2 {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Trouble> {
        let stream = endpoint.connect().await?;
        let (requests, connection) = timeout(PATIENCE, h2::client::handshake(stream))
            .await
            .map_err(|_| Trouble::Silent(PATIENCE))??;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // How it ended shows in the streams.
            let _ = connection.await;
        });
        Ok(Self { requests, endpoint: endpoint.clone(), _driver: Arc::new(driver) })
    }

    /// Sends a request and waits for the header of the answer, for at most `within`.
    pub(crate) async fn start(
        &mut self,
        request: http::request::Builder,
        path: &str,
        body: Option<Bytes>,
        within: Duration,
    ) -> Result<Response<RecvStream>, Trouble> {
        let request = match self.endpoint.credentials() {
            Some(credentials) => request.header("authorization", credentials),
            None => request,
        };
        let request = request
            .version(http::Version::HTTP_2)
            .uri(format!("http://{}{path}", self.endpoint.authority()))
            .body(())
            .map_err(|error| Trouble::Malformed(error.to_string()))?;
        let mut requests = self.requests.clone();
        let exchange = async move {
            poll_fn(|context| requests.poll_ready(context)).await?;
            let (answer, mut stream) = requests.send_request(request, body.is_none())?;
            if let Some(body) = body {
                stream.send_data(body, true)?;
            }
            answer.await
        };
        Ok(timeout(within, exchange).await.map_err(|_| Trouble::Silent(within))??)
    }

    /// Sends a request and waits for all of the answer.
    pub(crate) async fn send(
        &mut self,
        request: http::request::Builder,
        path: &str,
        body: Option<Bytes>,
        within: Duration,
    ) -> Result<Whole, Trouble> {
        let exchange = async {
            let (head, mut stream) = self.start(request, path, body, within).await?.into_parts();
            let header_only = stream.is_end_stream();
            let mut body = BytesMut::new();
            while let Some(data) = data(&mut stream).await? {
                body.extend_from_slice(&data);
                if body.len() > MAX_BODY {
                    return Err(Trouble::Unusable("an answer longer than the suite reads".to_owned()));
                }
            }
            let trailers = poll_fn(|context| stream.poll_trailers(context)).await?;
            Ok(Whole { head, body: body.freeze(), trailers, header_only })
        };
        timeout(within, exchange).await.map_err(|_| Trouble::Silent(within))?
    }

    pub(crate) async fn get(&mut self, path: &str, within: Duration) -> Result<Whole, Trouble> {
        self.send(Request::get("/"), path, None, within).await
    }
}

/// The next piece of a body, its flow-control window given back.
pub(crate) async fn data(stream: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(data) = poll_fn(|context| stream.poll_data(context)).await else { return Ok(None) };
    let data = data?;
    stream.flow_control().release_capacity(data.len())?;
    Ok(Some(data))
}
