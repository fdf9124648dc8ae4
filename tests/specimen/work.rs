//! Work that is written into a book before it is answered, and that goes wrong on command: what the tests count, and how
//! they make an endpoint misbehave.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use mainstay::{
    Client, Error, Result,
    axum::{
        Router,
        body::{Body, Bytes},
        extract::{Path, State},
        http::{Method, StatusCode},
        response::{IntoResponse as _, Response},
        routing::{get, put},
    },
};

/// How much an answer has: more than fits beside the head in what a wire lets through.
const ANSWER: usize = 4096;

pub(crate) fn routes() -> Router {
    // Appended to, line by line: what was written stays when the process is killed.
    let book = std::env::var_os("SPECIMEN_BOOK").map(|path| {
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    let shop = Arc::new(Shop { book, behaviour: Mutex::default() });
    Router::new()
        .route("/work/{id}", get(work).post(work))
        .route("/behave", put(behave))
        .with_state(shop)
        .route("/relay/{id}", get(relay).post(relay))
}

struct Shop {
    book: Option<File>,
    behaviour: Mutex<Behaviour>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Behaviour {
    #[default]
    Well,
    /// Takes so long.
    Slow(Duration),
    /// Answers with this.
    Status(StatusCode),
    /// Does not answer.
    Never,
    /// Breaks off in the middle of the answer.
    Half,
}

impl FromStr for Behaviour {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::invalid("behaviour", "`well`, `slow MS`, `status CODE`, `never` or `half`");
        let (kind, value) = text.split_once(' ').unwrap_or((text, ""));
        let number = || value.parse::<u16>().map_err(|_| unknown());
        Ok(match kind {
            "well" => Self::Well,
            "slow" => Self::Slow(Duration::from_millis(number()?.into())),
            "status" => Self::Status(StatusCode::from_u16(number()?).map_err(|_| unknown())?),
            "never" => Self::Never,
            "half" => Self::Half,
            _ => return Err(unknown()),
        })
    }
}

async fn behave(State(shop): State<Arc<Shop>>, behaviour: String) -> Result<()> {
    *shop.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour.parse()?;
    Ok(())
}

async fn work(State(shop): State<Arc<Shop>>, method: Method, Path(id): Path<String>) -> Result<Response> {
    if let Some(mut book) = shop.book.as_ref() {
        book.write_all(format!("{method} {id}\n").as_bytes())?;
    }
    let behaviour = *shop.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
    match behaviour {
        Behaviour::Well => {}
        Behaviour::Slow(time) => tokio::time::sleep(time).await,
        Behaviour::Status(status) => return Ok(status.into_response()),
        Behaviour::Never => std::future::pending().await,
        Behaviour::Half => {
            let broken = async {
                // The beginning is on its way by then.
                tokio::time::sleep(Duration::from_millis(10)).await;
                Err(std::io::Error::other("no more"))
            };
            let parts = stream::once(async { Ok(Bytes::from_static(b"half")) });
            return Ok(Body::from_stream(parts.chain(stream::once(broken))).into_response());
        }
    }
    Ok("x".repeat(ANSWER).into_response())
}

/// Has it done by the next service, by the same method.
async fn relay(client: Client, method: Method, Path(id): Path<String>) -> Result<String> {
    let request = client.request(method, format!("http://dependency/work/{id}"));
    Ok(request.send().await?.error_for_status()?.text().await?)
}
