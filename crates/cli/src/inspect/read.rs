//! Reading a page of an admin listener, and telling what else it is that answers there.

use std::time::Duration;

use serde_json::Value;

use crate::conform::{
    text::printable,
    wire::{
        Endpoint, Trouble,
        http1::{Answer, Connection, Request},
    },
};

/// What a page says.
#[derive(Debug)]
pub(crate) enum Page {
    Json(Value),
    /// Such as metrics.
    Text(String),
}

/// Why a page can't be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Trouble(String),
    #[error("{0} is no admin listener: {1}")]
    NotAdmin(String, String),
    #[error("{0} has no page `{1}`; it has: {2}")]
    NoPage(String, String, String),
    #[error("`--ask` is a question for `explain`, and `{0}` takes none")]
    NoQuestion(String),
    #[error("{0}{1}: {2}")]
    Unreadable(String, String, String),
}

/// Reads from one listener.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) endpoint: Endpoint,
}

impl Reader {
    /// The page at `path`.
    pub(crate) async fn page(&self, path: &str) -> Result<Page, Error> {
        let at = self.endpoint.authority();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        if !path.chars().all(plain) {
            let path = printable(path, 80);
            let expected =
                "expected `health`, `requests`, `discovery`, `status`, `config` or the path of a page"
                    .to_owned();
            return Err(Error::Unreadable(at, path, expected));
        }
        let answer = self.get(path, "application/json").await?;
        let is_probe = super::PROBES.contains(&path);
        let kind = answer.field("content-type").unwrap_or_default();
        let said = match serde_json::from_slice(&answer.body) {
            Ok(value) if kind.starts_with("application/json") => Some(value),
            _ => None,
        };
        match (answer.status, said) {
            (200 | 503, Some(value)) if is_probe && is_report(&value) => Ok(Page::Json(value)),
            (200, Some(value)) if !is_probe => Ok(Page::Json(value)),
            _ if is_probe => Err(self.not_admin(path, &answer)),
            (status, _) => {
                self.is_admin().await?;
                match status {
                    // Text of a service: its control characters are not for the terminal.
                    200 => Ok(Page::Text(
                        answer.text().lines().map(|line| printable(line, 4096) + "\n").collect(),
                    )),
                    404 => Err(Error::NoPage(at, path.to_owned(), self.pages().await?.join(", "))),
                    _ => Err(Error::Unreadable(at, path.to_owned(), answer.summary())),
                }
            }
        }
    }

    /// What the policies of the process would decide, and why.
    pub(super) async fn explain(&self, question: &str) -> Result<Page, Error> {
        const PATH: &str = "/policy";
        let request = Request::new("POST", PATH).with_body("application/json", question);
        let answer = self.send(request, "application/json").await?;
        match (answer.status, serde_json::from_slice::<Value>(&answer.body)) {
            (200, Ok(said)) => Ok(Page::Json(said)),
            (404, _) => {
                self.is_admin().await?;
                Err(Error::NoPage(self.endpoint.authority(), PATH.to_owned(), self.pages().await?.join(", ")))
            }
            // A problem document names what of the question is wrong.
            (400..=422, Ok(problem)) => {
                let what = printable(&problem.to_string(), 1000);
                Err(Error::Unreadable(self.endpoint.authority(), PATH.to_owned(), what))
            }
            _ => Err(Error::Unreadable(self.endpoint.authority(), PATH.to_owned(), answer.summary())),
        }
    }

    /// Whether what answers there answers as an admin listener does.
    async fn is_admin(&self) -> Result<(), Error> {
        let answer = self.get("/livez", "application/json").await?;
        match serde_json::from_slice(&answer.body) {
            Ok(value) if is_report(&value) => Ok(()),
            _ => Err(self.not_admin("/livez", &answer)),
        }
    }

    fn not_admin(&self, path: &str, answer: &Answer) -> Error {
        let came = format!("{path} answered {}", answer.summary());
        Error::NotAdmin(self.endpoint.authority(), format!("{came}; its address is `admin.address`"))
    }

    /// The paths that its index links.
    async fn pages(&self) -> Result<Vec<String>, Error> {
        let index = self.get("/", "text/html").await?.text();
        let links = index.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        Ok(links.filter(|path| path.starts_with('/')).map(|path| printable(path, 80)).collect())
    }

    /// On a connection of its own: a listener that closes after each answer is as good.
    async fn get(&self, path: &str, accept: &str) -> Result<Answer, Error> {
        self.send(Request::get(path), accept).await
    }

    async fn send(&self, request: Request, accept: &str) -> Result<Answer, Error> {
        let path = request.target().to_owned();
        let request = request.with("accept", accept).with("connection", "close");
        let exchange = async {
            let mut connection = Connection::open(&self.endpoint).await?;
            // Whoever reads pages bounds them all together.
            connection.send(&request, Duration::MAX).await
        };
        exchange.await.map_err(|trouble: Trouble| match trouble {
            Trouble::Connect(..) => Error::Trouble(trouble.to_string()),
            Trouble::Malformed(_) => Error::NotAdmin(self.endpoint.authority(), trouble.to_string()),
            _ => Error::Trouble(format!("{}{path}: {trouble}", self.endpoint.authority())),
        })
    }
}

/// Whether this is what a probe says.
fn is_report(value: &Value) -> bool {
    value.get("checks").is_some_and(Value::is_array) && value.get("status").is_some_and(Value::is_string)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a stand-in of the test's own")]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers the first request with this, and says what it was.
    async fn asked(answer: &'static str) -> (Result<Page, Error>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{\"a\":1}") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let reader = Reader { endpoint: format!("http://{address}").parse().unwrap() };
        let answer = reader.explain("{\"a\":1}").await;
        (answer, serving.await.unwrap())
    }

    #[tokio::test]
    async fn a_question_is_posted_and_its_answer_shown() {
        let (page, request) = asked(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{\"outcome\":\"permit\"}",
        )
        .await;
        assert!(request.starts_with("POST /policy HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/json"), "{request}");
        assert!(matches!(page, Ok(Page::Json(said)) if said["outcome"] == "permit"));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_question_is_told() {
        let (page, _) = asked(
            "HTTP/1.1 422 Unprocessable Content\r\ncontent-type: application/problem+json\r\ncontent-length: 24\r\n\r\n{\"detail\":\"no `a` here\"}",
        )
        .await;
        let told = page.unwrap_err().to_string();
        assert!(told.contains("/policy: ") && told.contains("no `a` here"), "{told}");
    }
}
