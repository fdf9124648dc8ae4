//! A stand-in for a service that the service under test calls: answers, or misbehaves, as a check wants.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Endpoint, Trouble,
    http1::{fields, fill, joined, malformed, read_framed},
};

/// What the suite holds of the calls between two looks at them.
const MOST_CALLS: usize = 10_000;

/// What becomes of a call that has come in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 200 and the JSON `{}`.
    Answer,
    /// 503, without saying when to come back.
    Refuse,
    /// The connection is closed without an answer.
    Break,
    /// As `Break`, once; then `Answer`.
    BreakOnce,
    /// The connection is closed in the middle of the answer.
    BreakOff,
    /// No answer, for as long as the connection lasts.
    Hang,
}

/// A call that came in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) target: String,
    fields: Vec<(String, String)>,
}

/// Listens in the place of a dependency, until dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    manner: Mutex<Manner>,
    calls: Mutex<Vec<Call>>,
    /// Calls that hang at this moment.
    hanging: AtomicUsize,
    answered: AtomicBool,
}

impl StandIn {
    /// # Errors
    /// A sentence that names the address.
    pub(crate) async fn listen(at: &Endpoint) -> Result<Self, String> {
        let state = Arc::new(State {
            manner: Mutex::new(Manner::Answer),
            calls: Mutex::default(),
            hanging: AtomicUsize::new(0),
            answered: AtomicBool::new(false),
        });
        let tasks = listen("--dependency", at, {
            let state = Arc::clone(&state);
            move |stream| serve(stream, Arc::clone(&state))
        });
        Ok(Self { _tasks: tasks.await?, state })
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *lock(&self.state.manner) = manner;
    }

    /// The calls that have come in since the last time.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.state.calls))
    }

    /// Whether a call was ever answered here.
    pub(crate) fn has_answered(&self) -> bool {
        self.state.answered.load(Ordering::SeqCst)
    }

    /// Whether, within `within`, no call waits any more for an answer that will not come.
    pub(crate) async fn is_let_go(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.state.hanging.load(Ordering::SeqCst) > 0 {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        true
    }
}

impl Call {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        joined(&self.fields, name)
    }
}

impl State {
    /// Notes a call, and says what to do with it.
    fn note(&self, call: Call) -> Manner {
        let mut calls = lock(&self.calls);
        if calls.len() < MOST_CALLS {
            calls.push(call);
        }
        let mut manner = lock(&self.manner);
        match *manner {
            Manner::BreakOnce => {
                *manner = Manner::Answer;
                Manner::Break
            }
            other => other,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens in somebody's place, and serves each connection, until it is dropped. The error is a sentence that names `option` and
/// the address.
pub(super) async fn listen<F>(
    option: &str,
    at: &Endpoint,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Result<JoinSet<()>, String>
where
    F: Future<Output = Result<(), Trouble>> + Send + 'static,
{
    let listener = TcpListener::bind(at.parts())
        .await
        .map_err(|error| format!("{option}: can't listen on {} in its place: {error}", at.authority()))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, serve));
    Ok(tasks)
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = Result<(), Trouble>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // It costs the connection only.
                let _ = stream.set_nodelay(true);
                let serving = serve(stream);
                connections.spawn(async move {
                    // What a peer does wrong is for its own checks; here it costs it the connection.
                    let _ = serving.await;
                });
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) -> Result<(), Trouble> {
    let mut buffer = Vec::new();
    loop {
        let (call, _) = read_call(&mut stream, &mut buffer).await?;
        match state.note(call) {
            Manner::Answer => {
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await?;
                state.answered.store(true, Ordering::SeqCst);
            }
            Manner::Refuse => {
                let refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(refusal).await?;
            }
            Manner::Break | Manner::BreakOnce => return Ok(()),
            Manner::BreakOff => {
                let half =
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2000\r\n\r\n{";
                stream.write_all(half).await?;
                stream.flush().await?;
                // Time to be handed on.
                sleep(Duration::from_millis(50)).await;
                return Ok(());
            }
            Manner::Hang => return hang(stream, &state).await.map_err(Into::into),
        }
    }
}

async fn hang(mut stream: TcpStream, state: &State) -> io::Result<()> {
    struct Counted<'a>(&'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    state.hanging.fetch_add(1, Ordering::SeqCst);
    let _counted = Counted(&state.hanging);
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// A whole request with its body, as RFC 9112 section 3 says.
pub(super) async fn read_call(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Result<(Call, Vec<u8>), Trouble> {
    let end = loop {
        match buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end,
            None => fill(stream, buffer).await?,
        }
    };
    let head: Vec<u8> = buffer.drain(..end + 4).take(end).collect();
    let text = std::str::from_utf8(&head).map_err(|_| malformed("a header that is text", &head))?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(malformed("a request line", &head));
    };
    let call = Call { method: method.to_owned(), target: target.to_owned(), fields: fields(lines)? };
    let body = read_framed(stream, buffer, &call.fields).await?;
    Ok((call, body.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Manner, StandIn};
    use crate::conform::{
        subject::exchange,
        wire::{PATIENCE, Trouble, http1::Request},
    };

    #[tokio::test]
    async fn it_behaves_as_it_is_told_and_notes_every_call() {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let at: Endpoint = format!("http://127.0.0.1:{port}").parse().expect("a URL");
        let stand_in = StandIn::listen(&at).await.expect("the port is free");
        let request = Request::new("POST", "/x").with("x-request-id", "7").with_body("text/plain", "abc");

        let answer = exchange(&at, &request, PATIENCE).await.came.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        let calls = stand_in.take();
        assert_eq!((calls.len(), calls[0].method.as_str(), calls[0].target.as_str()), (1, "POST", "/x"));
        assert_eq!(calls[0].field("X-Request-Id").as_deref(), Some("7"));

        stand_in.behave(Manner::Refuse);
        assert_eq!(exchange(&at, &request, PATIENCE).await.came.expect("an answer").status, 503);
        stand_in.behave(Manner::BreakOnce);
        assert!(matches!(exchange(&at, &request, PATIENCE).await.came, Err(Trouble::Closed)));
        assert!(exchange(&at, &request, PATIENCE).await.came.is_ok());
        stand_in.behave(Manner::BreakOff);
        assert!(matches!(exchange(&at, &request, PATIENCE).await.came, Err(Trouble::Closed)));
        stand_in.behave(Manner::Hang);
        let short = std::time::Duration::from_millis(100);
        assert!(matches!(exchange(&at, &request, short).await.came, Err(Trouble::Silent(_))));
        assert!(stand_in.is_let_go(PATIENCE).await);
        assert_eq!(stand_in.take().len(), 5);
    }
}
