//! A wire to an endpoint or a registry that can be cut, broken, and told to say good-bye.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How many connections wait to be accepted before the kernel drops what asks for one more.
const BACKLOG: u32 = 16;
/// How long a message is on the way.
const TRAVEL: Duration = Duration::from_millis(20);

/// In front of one address. Gone when dropped, with all that goes through it.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    /// Fill the backlog while it is cut.
    waiting: Vec<TcpStream>,
}

struct Shared {
    server: SocketAddr,
    state: watch::Sender<State>,
    /// After how many bytes of answers a connection is reset.
    reset_after: AtomicUsize,
    /// Counts the good-byes.
    leaving: watch::Sender<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing comes through, nothing is accepted, and nobody is told.
    Cut,
    Gone,
}

impl Wire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        Self::start(server, false)
    }

    /// One that knows HTTP/2 frames.
    pub(crate) async fn http2(server: SocketAddr) -> Self {
        Self::start(server, true)
    }

    fn start(server: SocketAddr, http2: bool) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            state: watch::Sender::new(State::Open),
            reset_after: AtomicUsize::new(usize::MAX),
            leaving: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(shared.clone().accept(listener, http2));
        Self { address, shared, accepting, waiting: Vec::new() }
    }

    /// From now on all that is sent into it is lost; connections are not even refused.
    pub(crate) async fn cut(&mut self) {
        self.shared.state.send_replace(State::Cut);
        sleep(TRAVEL).await;
        while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(self.address)).await
        {
            self.waiting.push(connected.unwrap());
            assert!(self.waiting.len() < 1000, "the backlog has an end");
        }
    }

    pub(crate) fn heal(&mut self) {
        self.waiting.clear();
        self.shared.state.send_replace(State::Open);
    }

    /// Resets connections after so many bytes of answers.
    pub(crate) fn reset_after(&self, bytes: usize) {
        self.shared.reset_after.store(bytes, Ordering::Relaxed);
    }

    /// Each connection is told, in the middle of what it does, that it takes no more (GOAWAY, RFC 9113 section 6.8).
    pub(crate) fn say_goodbye(&self) {
        self.shared.leaving.send_modify(|times| *times += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.state.send_replace(State::Gone);
        self.accepting.abort();
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener, http2: bool) {
        let mut state = self.state.subscribe();
        loop {
            let _ = state.wait_for(|state| *state == State::Open).await;
            // Not while it is cut, not even the one that came in that moment.
            let accepted = tokio::select! {
                biased;
                _ = state.wait_for(|state| *state != State::Open) => continue,
                accepted = listener.accept() => accepted,
            };
            let Ok((client, _)) = accepted else { continue };
            let shared = self.clone();
            tokio::spawn(async move {
                let mut gone = shared.state.subscribe();
                tokio::select! {
                    _ = gone.wait_for(|state| *state == State::Gone) => {}
                    () = shared.carry(client, http2) => {}
                }
            });
        }
    }

    async fn carry(&self, client: TcpStream, http2: bool) {
        let Ok(server) = TcpStream::connect(self.server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        if http2 {
            return self.carry_frames(from_client, to_client, from_server, to_server).await;
        }
        tokio::select! {
            () = self.pump(from_client, to_server) => {}
            () = self.answers(from_server, to_client) => {}
        }
    }

    async fn is_open(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state == State::Open).await;
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.is_open().await;
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
        // A peer that hangs up while the wire is cut is not heard either.
        self.is_open().await;
    }

    async fn answers(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 16 * 1024];
        let mut passed = 0;
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.is_open().await;
            let most = self.reset_after.load(Ordering::Relaxed);
            if most == usize::MAX {
                passed = 0;
            }
            let part = read.min(most.saturating_sub(passed));
            passed += part;
            if to.write_all(&buffer[..part]).await.is_err() {
                return;
            }
            if part < read {
                // What was let through arrives before the end does.
                sleep(TRAVEL).await;
                #[allow(deprecated, reason = "only a blocking linger is discouraged; zero does not block")]
                let _ = to.as_ref().set_linger(Some(Duration::ZERO));
                // Without the FIN that its drop would send first.
                to.forget();
                return;
            }
        }
        self.is_open().await;
    }

    /// Both ways, and what the good-bye says is true: streams beyond the last one that it names do not reach the server.
    async fn carry_frames(
        &self,
        mut from_client: OwnedReadHalf,
        to_client: OwnedWriteHalf,
        mut from_server: OwnedReadHalf,
        mut to_server: OwnedWriteHalf,
    ) {
        let streams = Mutex::new(Streams::default());
        let to_client = tokio::sync::Mutex::new(to_client);
        let requests = async {
            let mut preface = [0; 24];
            if from_client.read_exact(&mut preface).await.is_err()
                || to_server.write_all(&preface).await.is_err()
            {
                return;
            }
            while let Some(frame) = frame(&mut from_client).await {
                if streams.lock().unwrap().passes(&frame) && to_server.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        let answers = async {
            while let Some(frame) = frame(&mut from_server).await {
                if to_client.lock().await.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        let goodbye = async {
            let _ = self.leaving.subscribe().changed().await;
            let last = streams.lock().unwrap().close();
            // Streams that begin while it is on the way are beyond the last one.
            sleep(TRAVEL).await;
            let mut goaway = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
            goaway.extend(last.to_be_bytes());
            goaway.extend(0_u32.to_be_bytes());
            let _ = to_client.lock().await.write_all(&goaway).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = requests => {}
            () = answers => {}
            () = goodbye => {}
        }
    }
}

/// The streams of a connection, as far as its requests say.
#[derive(Default)]
struct Streams {
    last: u32,
    closed: bool,
}

impl Streams {
    /// Whether the server gets this frame.
    fn passes(&mut self, frame: &[u8]) -> bool {
        let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap()) & 0x7fff_ffff;
        if self.closed {
            return stream <= self.last;
        }
        self.last = self.last.max(stream);
        true
    }

    /// From now on no stream begins; the last one that did.
    fn close(&mut self) -> u32 {
        self.closed = true;
        self.last
    }
}

/// One frame, RFC 9113 section 4.1.
async fn frame(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut frame = vec![0; 9];
    from.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
    frame.resize(9 + length as usize, 0);
    from.read_exact(&mut frame[9..]).await.ok()?;
    Some(frame)
}
