//! A server that answers whatever a test wants, true or not.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_proto::op::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

/// The messages to send for a question, and whether it came over TCP.
type Say = Box<dyn Fn(&Message, bool) -> Vec<Vec<u8>> + Send>;

/// Ends on drop.
pub(crate) struct Liar {
    address: SocketAddr,
    say: Arc<Mutex<Say>>,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Liar {
    pub(crate) async fn start(say: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let (socket, listener) = super::sockets();
        let address = socket.local_addr().unwrap();
        socket.set_nonblocking(true).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (socket, listener) =
            (UdpSocket::from_std(socket).unwrap(), TcpListener::from_std(listener).unwrap());
        let (say, asked) = (Arc::new(Mutex::new(Box::new(say) as Say)), Arc::new(AtomicUsize::new(0)));
        let answers = {
            let (say, asked) = (say.clone(), asked.clone());
            move |bytes: &[u8], is_tcp| {
                asked.fetch_add(1, Ordering::Relaxed);
                say.lock().unwrap()(&Message::from_vec(bytes).unwrap(), is_tcp)
            }
        };
        let mut tasks = JoinSet::new();
        let over_tcp = answers.clone();
        tasks.spawn(async move {
            let mut bytes = vec![0; 65536];
            loop {
                // An error is that of a peer that is gone.
                let Ok((length, peer)) = socket.recv_from(&mut bytes).await else { continue };
                for answer in answers(&bytes[..length], false) {
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
        });
        tasks.spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                let Ok(length) = stream.read_u16().await else { continue };
                let mut bytes = vec![0; length.into()];
                if stream.read_exact(&mut bytes).await.is_ok() {
                    for answer in over_tcp(&bytes, true) {
                        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
                        let _ = stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await;
                    }
                }
            }
        });
        Self { address, say, asked, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub(crate) fn say(&self, say: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + 'static) {
        *self.say.lock().unwrap() = Box::new(say);
    }

    /// How many questions have come.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}
