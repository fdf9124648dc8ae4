//! Connections against peers that do what a test says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use h2::{
    Reason,
    server::{Builder, SendResponse},
};
use http_body_util::BodyExt as _;
use mainstay_discovery::Endpoint;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

use super::*;

/// Longer than anything should take on a loaded machine.
const LONG: Duration = Duration::from_secs(30);

fn settings(change: impl FnOnce(&mut Config)) -> Arc<Settings> {
    let mut config = Config { connect_timeout: LONG.into(), ..Config::default() };
    change(&mut config);
    Arc::new(Settings::new(config, &crate::tls::Config::default(), Tasks::new()))
}

async fn listen() -> (TcpListener, Place) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::from(listener.local_addr().unwrap());
    (listener, endpoint.place().clone())
}

fn get() -> Request<Body> {
    Request::get("http://stock/").version(http::Version::HTTP_2).body(Body::empty()).unwrap()
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("in time")
}

type Exchange = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// A server of HTTP/2 whose requests come out of a channel, to be answered by the test.
struct Http2 {
    place: Place,
    requests: mpsc::UnboundedReceiver<Exchange>,
    /// Connections so far, and those that have ended.
    opened: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    /// Says GOAWAY on each.
    leave: Arc<Notify>,
}

impl Http2 {
    async fn start(tasks: &Tasks, max_streams: u32) -> Self {
        let (listener, place) = listen().await;
        let (sender, requests) = mpsc::unbounded_channel();
        let (opened, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let leave = Arc::new(Notify::new());
        let all = (tasks.clone(), opened.clone(), ended.clone(), leave.clone());
        tasks.spawn_detached(async move {
            let (tasks, opened, ended, leave) = all;
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, opened, ended) = (sender.clone(), opened.clone(), ended.clone());
                let leave = leave.clone();
                tasks.spawn_detached(async move {
                    let mut builder = Builder::new();
                    let handshake = builder.max_concurrent_streams(max_streams).handshake(stream);
                    let Ok(mut connection) = handshake.await else { return };
                    opened.fetch_add(1, Ordering::SeqCst);
                    loop {
                        tokio::select! {
                            accepted = connection.accept() => match accepted {
                                Some(Ok(exchange)) => drop(sender.send(exchange)),
                                _ => break,
                            },
                            () = leave.notified() => connection.graceful_shutdown(),
                        }
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { place, requests, opened, ended, leave }
    }

    async fn request(&mut self) -> Exchange {
        soon(self.requests.recv()).await.expect("a request")
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    async fn until_ended(&self, count: usize) {
        soon(async {
            while self.ended.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

fn answer((_request, mut respond): Exchange, body: &'static str) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
}

async fn text(answer: Answer) -> String {
    let body = soon(answer.response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// A request that runs by itself.
fn spawn(
    pools: &Arc<Pools>,
    place: &Place,
    settings: &Arc<Settings>,
    request: Request<Body>,
) -> tokio::task::JoinHandle<Result<Answer, Failed>> {
    let (pools, place, of) = (pools.clone(), place.clone(), settings.clone());
    settings.tasks.spawn_detached(async move { pools.send(&place, Version::Http2, &of, request).await })
}

#[tokio::test]
async fn more_connections_are_opened_when_streams_run_out_and_beyond_them_requests_wait_their_turn() {
    let settings = settings(|config| config.max_connections = 2);
    let mut server = Http2::start(&settings.tasks, 2).await;
    let pools = Arc::new(Pools::default());
    let calls: Vec<_> = (0..6)
        .map(|_| spawn(&pools, &server.place, &settings, get()))
        .map(|call| settings.tasks.spawn_detached(async { text(call.await.unwrap().unwrap()).await }))
        .collect();

    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(server.request().await);
    }
    assert_eq!(server.opened(), 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(server.requests.try_recv().is_err(), "two of two streams on two of two connections");
    for _ in 0..2 {
        answer(held.pop().unwrap(), "ok");
        held.push(server.request().await);
    }
    held.into_iter().for_each(|exchange| answer(exchange, "ok"));
    for call in calls {
        assert_eq!(soon(call).await.unwrap(), "ok");
    }
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_stream_is_free_again_when_its_answer_is_dropped_or_its_request_given_up() {
    let settings = settings(|config| config.max_connections = 1);
    let mut server = Http2::start(&settings.tasks, 1).await;
    let pools = Arc::new(Pools::default());

    let given_up = spawn(&pools, &server.place, &settings, get());
    let (_, mut respond) = server.request().await;
    given_up.abort();
    let reset = soon(std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap();
    assert_eq!(reset, Reason::CANCEL);

    let half_read = spawn(&pools, &server.place, &settings, get());
    let (_, mut respond) = server.request().await;
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    drop(soon(half_read).await.unwrap().unwrap());
    let reset = soon(std::future::poll_fn(|cx| stream.poll_reset(cx))).await.unwrap();
    assert_eq!(reset, Reason::CANCEL);

    let last = spawn(&pools, &server.place, &settings, get());
    answer(server.request().await, "third");
    assert_eq!(text(soon(last).await.unwrap().unwrap()).await, "third");
}

#[tokio::test]
async fn a_connection_that_is_going_away_takes_no_request_and_keeps_those_that_it_has() {
    let settings = settings(|config| config.max_connections = 1);
    let mut server = Http2::start(&settings.tasks, 1).await;
    let pools = Arc::new(Pools::default());
    let first = spawn(&pools, &server.place, &settings, get());
    let held = server.request().await;
    // Waits for the only stream: it must not wait for the end of the first request when that connection is leaving.
    let second = spawn(&pools, &server.place, &settings, get());
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.leave.notify_waiters();
    answer(server.request().await, "second");
    assert_eq!(text(soon(second).await.unwrap().unwrap()).await, "second");
    assert_eq!(server.opened(), 2);
    answer(held, "first");
    assert_eq!(text(soon(first).await.unwrap().unwrap()).await, "first");
    server.until_ended(1).await;
}

#[tokio::test]
async fn connections_without_requests_are_closed_and_those_with_one_are_not() {
    let settings = settings(|config| config.idle_timeout = Duration::from_millis(50).into());
    let mut server = Http2::start(&settings.tasks, 10).await;
    let pools = Arc::new(Pools::default());
    let call = spawn(&pools, &server.place, &settings, get());
    let held = server.request().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    answer(held, "late");
    assert_eq!(text(soon(call).await.unwrap().unwrap()).await, "late");
    server.until_ended(1).await;
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn an_old_connection_finishes_what_it_has_and_is_replaced() {
    let settings = settings(|config| config.max_age = Duration::from_millis(50).into());
    let mut server = Http2::start(&settings.tasks, 10).await;
    let pools = Arc::new(Pools::default());
    let old = spawn(&pools, &server.place, &settings, get());
    let held = server.request().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let new = spawn(&pools, &server.place, &settings, get());
    answer(server.request().await, "new");
    assert_eq!(text(soon(new).await.unwrap().unwrap()).await, "new");
    assert_eq!(server.opened(), 2);
    answer(held, "old");
    assert_eq!(text(soon(old).await.unwrap().unwrap()).await, "old");
    server.until_ended(2).await;
}

/// Reads what comes and says nothing, after the SETTINGS of an HTTP/2 server where that is wanted.
async fn mute(stream: &mut TcpStream, settings: bool) {
    if settings {
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    }
    while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_peer_that_does_not_answer_a_ping_is_given_up_and_one_that_does_is_not() {
    let settings = settings(|config| {
        config.keep_alive_interval = Duration::from_millis(30).into();
        config.keep_alive_timeout = Duration::from_millis(30).into();
    });
    let (listener, place) = listen().await;
    settings.tasks.spawn_detached(async move { mute(&mut listener.accept().await.unwrap().0, true).await });
    let pools = Arc::new(Pools::default());
    let failed = soon(pools.send(&place, Version::Http2, &settings, get())).await.unwrap_err();
    assert_eq!((failed.at, failed.failure), (Step::Exchange, Failure::Unknown));
    assert!(failed.cause.to_string().contains("ping"), "{}", failed.cause);

    let patient = Config { keep_alive_timeout: LONG.into(), ..settings.config.clone() };
    let settings = Arc::new(Settings::new(patient, &crate::tls::Config::default(), settings.tasks.clone()));
    let mut server = Http2::start(&settings.tasks, 10).await;
    let call = spawn(&pools, &server.place, &settings, get());
    let held = server.request().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    answer(held, "slow");
    assert_eq!(text(soon(call).await.unwrap().unwrap()).await, "slow");
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn nothing_is_sent_before_the_peer_has_said_that_it_is_there() {
    let settings = settings(|config| config.connect_timeout = Duration::from_millis(300).into());
    let (listener, place) = listen().await;
    let (heard, mut hears) = mpsc::unbounded_channel();
    settings.tasks.spawn_detached(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                all.extend_from_slice(&bytes[..read]);
            }
            heard.send(all).unwrap();
        }
    });
    let pools = Arc::new(Pools::default());
    let failed = soon(pools.send(&place, Version::Http2, &settings, get())).await.unwrap_err();
    assert_eq!((failed.at, failed.failure), (Step::Connect, Failure::Unsent));
    assert!(failed.body.is_some());
    let bytes = soon(hears.recv()).await.unwrap();
    let mut frames = &bytes[24..];
    while let [a, b, c, kind, ..] = frames {
        assert_ne!(*kind, 1, "HEADERS");
        frames = &frames[9 + usize::from(*a) * 65536 + usize::from(*b) * 256 + usize::from(*c)..];
    }
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_told_apart() {
    let settings = settings(|_| {});
    let (listener, place) = listen().await;
    settings.tasks.spawn_detached(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        mute(&mut stream, false).await;
    });
    let failed = soon(Pools::default().send(&place, Version::Http2, &settings, get())).await.unwrap_err();
    assert_eq!((failed.at, failed.failure), (Step::Connect, Failure::Unsent));
    assert_eq!(failed.cause.to_string(), "no HTTP/2 from the peer");
}

#[tokio::test]
async fn a_peer_that_wants_fewer_pings_gets_half_as_many() {
    let settings = settings(|config| config.keep_alive_interval = Duration::from_millis(50).into());
    let (listener, place) = listen().await;
    settings.tasks.spawn_detached(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let _exchange = connection.accept().await;
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        while connection.accept().await.is_some() {}
    });
    let pools = Arc::new(Pools::default());
    soon(pools.send(&place, Version::Http2, &settings, get())).await.unwrap_err();
    soon(async {
        while pools.0.here().http2.calm() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn both_bodies_stream_and_dropping_the_answer_ends_the_request() {
    let settings = settings(|_| {});
    let mut server = Http2::start(&settings.tasks, 10).await;
    let pools = Arc::new(Pools::default());
    let (pieces, body) = mpsc::unbounded_channel::<Bytes>();
    let body = stream::unfold(body, |mut body| async { Some((Ok::<_, BoxError>(body.recv().await?), body)) });
    let request = Request::post("http://stock/").body(Body::from_stream(body)).unwrap();
    let call = spawn(&pools, &server.place, &settings, request);

    let (request, mut respond) = server.request().await;
    let (head, mut upload) = request.into_parts();
    assert!(!head.headers.contains_key("content-length"));
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    let mut answer = soon(call).await.unwrap().unwrap().response.into_body();
    for piece in ["a", "b"] {
        pieces.send(piece.into()).unwrap();
        let seen = soon(upload.data()).await.unwrap().unwrap();
        download.send_data(seen, false).unwrap();
        let echoed = soon(answer.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(echoed, piece);
    }
    drop(answer);
    let reset = soon(upload.data()).await.unwrap().unwrap_err();
    assert_eq!(reset.reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_request_that_is_answered_before_its_end_is_not_sent_for_ever() {
    let settings = settings(|_| {});
    let mut server = Http2::start(&settings.tasks, 10).await;
    let pools = Arc::new(Pools::default());
    let body = Body::from_stream(stream::pending::<Result<Bytes, BoxError>>());
    let request = Request::post("http://stock/").body(body).unwrap();
    let call = spawn(&pools, &server.place, &settings, request);
    let (mut request, mut respond) = server.request().await;
    respond.send_response(Response::builder().status(413).body(()).unwrap(), true).unwrap();
    let answer = soon(call).await.unwrap().unwrap();
    assert_eq!(answer.response.status(), 413);
    assert_eq!(text(answer).await, "");
    let reset = soon(request.body_mut().data()).await.unwrap().unwrap_err();
    assert_eq!(reset.reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn large_bodies_go_both_ways_and_a_cut_one_is_an_error() {
    let settings = settings(|_| {});
    let mut server = Http2::start(&settings.tasks, 10).await;
    let pools = Arc::new(Pools::default());
    let large = Bytes::from(vec![7; 3 << 20]);
    let request = Request::post("http://stock/").body(Body::from(large.clone())).unwrap();
    let call = spawn(&pools, &server.place, &settings, request);

    let (request, mut respond) = server.request().await;
    assert_eq!(request.headers()["content-length"], "3145728");
    let mut upload = request.into_body();
    let mut seen = 0;
    while let Some(data) = soon(upload.data()).await {
        let data = data.unwrap();
        upload.flow_control().release_capacity(data.len()).unwrap();
        seen += data.len();
    }
    assert_eq!(seen, large.len());
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    download.send_data(large.clone(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    download.send_trailers(trailers).unwrap();
    let answer = soon(call).await.unwrap().unwrap();
    let all = soon(answer.response.into_body().collect()).await.unwrap();
    assert_eq!(all.trailers().unwrap()["x-sum"], "7");
    assert_eq!(all.to_bytes(), large);

    // Whatever the reason says: without END_STREAM something is missing.
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let call = spawn(&pools, &server.place, &settings, get());
        let (_, mut respond) = server.request().await;
        let mut download = respond.send_response(Response::new(()), false).unwrap();
        download.send_data("half".into(), false).unwrap();
        let mut body = soon(call).await.unwrap().unwrap().response.into_body();
        assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "half");
        download.send_reset(reason);
        assert!(soon(body.frame()).await.unwrap().is_err(), "{reason:?}");
    }
}

#[tokio::test]
async fn a_request_that_waits_for_a_connection_takes_one_that_becomes_free() {
    let settings = settings(|_| {});
    // A listener whose queue is full takes no more connections, and refuses none.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let address = listener.local_addr().unwrap();
    let place = Endpoint::from(address).place().clone();

    let pools = Arc::new(Pools::default());
    let send = || {
        let (pools, place, of) = (pools.clone(), place.clone(), settings.clone());
        let request = Request::get("/").header("host", "stock").body(Body::empty()).unwrap();
        settings.tasks.spawn_detached(async move { pools.send(&place, Version::Http1, &of, request).await })
    };
    let first = send();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    assert!(soon(stream.read(&mut [0; 1024])).await.unwrap() > 0);
    let mut fill = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        fill.push(connected.unwrap());
    }

    let second = send();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(ok).await.unwrap();
    text(soon(first).await.unwrap().unwrap()).await;
    assert!(soon(stream.read(&mut [0; 1024])).await.unwrap() > 0, "on the same connection");
    stream.write_all(ok).await.unwrap();
    text(soon(second).await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn a_connection_that_nobody_waits_for_any_more_is_kept_for_the_next() {
    let settings = settings(|_| {});
    let (listener, place) = listen().await;
    let pools = Arc::new(Pools::default());
    let request = || Request::get("/").header("host", "stock").body(Body::empty()).unwrap();
    {
        let mut left = Box::pin(pools.send(&place, Version::Http1, &settings, request()));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(left.as_mut().poll(cx).is_pending()));
        assert!(polled.await);
    }
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let sent = pools.send(&place, Version::Http1, &settings, request());
    let serve = async {
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let (answer, ()) = soon(async { tokio::join!(sent, serve) }).await;
    assert_eq!(answer.unwrap().response.status(), 204);
}

#[tokio::test]
async fn an_old_http1_connection_gets_no_more_requests() {
    let settings = settings(|config| config.max_age = Duration::from_millis(50).into());
    let (listener, place) = listen().await;
    let pools = Arc::new(Pools::default());
    for _ in 0..2 {
        let request = Request::get("/").header("host", "stock").body(Body::empty()).unwrap();
        let sent = pools.send(&place, Version::Http1, &settings, request);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            stream
        };
        let (answer, stream) = soon(async { tokio::join!(sent, serve) }).await;
        text(answer.unwrap()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(stream);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_fault_of_the_request_and_not_of_the_endpoint() {
    for version in [Version::Http1, Version::Http2] {
        let settings = settings(|_| {});
        let (listener, place) = listen().await;
        let is_http2 = version == Version::Http2;
        settings
            .tasks
            .spawn_detached(async move { mute(&mut listener.accept().await.unwrap().0, is_http2).await });
        let pieces = stream::iter([Ok("x"), Err(std::io::Error::other("broke off"))]).then(|piece| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            piece
        });
        let body = Body::from_stream(pieces);
        let request = Request::post("http://stock/").header("host", "stock").body(body).unwrap();
        let failed = soon(Pools::default().send(&place, version, &settings, request)).await.unwrap_err();
        assert_eq!((failed.at, failed.failure), (Step::Exchange, Failure::Request), "{version:?}");
    }
}
