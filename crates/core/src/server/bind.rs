//! Opening the listening sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Address, Config, InvalidSetting, Shape, address::Inherited};

/// The server could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Settings that can't be.
    #[error("the settings of the server are wrong: {}", join(.0))]
    Settings(Vec<InvalidSetting>),
    /// The socket can't be opened.
    #[error("can't listen on {address} ({setting}): {}", reason(.error))]
    #[non_exhaustive]
    Listen {
        /// The setting that gives the address, such as `server.address`.
        setting: String,
        /// The address, as configured.
        address: Address,
        /// What the system said. Not returned as the source: it is in the text.
        error: io::Error,
    },
    /// The certificates can't be used.
    #[error("{0}")]
    Tls(String),
}

fn join(problems: &[InvalidSetting]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The words of the system for the errors people meet, without `(os error 98)`.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// A listening socket that no runtime knows yet.
#[derive(Debug)]
pub(super) enum Socketed {
    Tcp(TcpListener),
    Unix(UnixListener, Option<Unlink>),
}

/// Removes the file of a Unix socket when the listener is gone.
#[derive(Debug)]
pub(super) struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // Somebody may have removed it already, which is just as well.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Opens `count` listeners on the one address of `config`, which `setting` gives.
pub(super) fn listen(config: &Config, setting: &str, count: usize) -> Result<Vec<Socketed>, BindError> {
    let failed =
        |error| BindError::Listen { setting: setting.to_owned(), address: config.address.clone(), error };
    let first = match &config.address {
        Address::Tcp(address) if config.shape == Shape::PerCore => {
            return tcp_per_core(*address, config, count).map_err(failed);
        }
        Address::Tcp(address) => tcp(*address, config, false).map(Socketed::Tcp),
        Address::Unix(path) => unix(path),
        Address::Inherited(which) => inherited(which),
    };
    let first = first.map_err(failed)?;
    let mut listeners = Vec::with_capacity(count);
    // Not TCP of ours: the workers share one accept queue.
    for _ in 1..count {
        listeners.push(match &first {
            Socketed::Tcp(listener) => Socketed::Tcp(listener.try_clone().map_err(failed)?),
            Socketed::Unix(listener, _) => Socketed::Unix(listener.try_clone().map_err(failed)?, None),
        });
    }
    listeners.insert(0, first);
    Ok(listeners)
}

fn tcp_per_core(address: SocketAddr, config: &Config, count: usize) -> io::Result<Vec<Socketed>> {
    if address.port() != 0 {
        // SO_REUSEPORT would silently share the port with another process of the same user: find out first.
        drop(tcp_socket(address, false)?);
    }
    let first = tcp(address, config, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![Socketed::Tcp(first)];
    for _ in 1..count {
        listeners.push(Socketed::Tcp(tcp(address, config, true)?));
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr, config: &Config, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = tcp_socket(address, reuse_port)?;
    socket.listen(i32::from(config.backlog.0))?;
    Ok(socket.into())
}

fn tcp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn unix(path: &Path) -> io::Result<Socketed> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            // Left behind by a process that was killed: nobody answers on it.
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(Socketed::Unix(listener, Some(Unlink(path.to_owned()))))
}

fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What the service manager handed over. Read once: taking it clears the variables, so that children don't see them.
static HANDED_OVER: LazyLock<Mutex<(ListenFd, Vec<String>)>> = LazyLock::new(|| {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    Mutex::new((ListenFd::from_env(), names.split(':').map(str::to_owned).collect()))
});

fn inherited(which: &Inherited) -> io::Result<Socketed> {
    let mut handed_over = HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner);
    let (sockets, names) = &mut *handed_over;
    let missing = |text: String| io::Error::new(io::ErrorKind::NotFound, text);
    if sockets.len() == 0 {
        return Err(missing(
            "the service manager handed over no socket (LISTEN_FDS is not set for this process)".into(),
        ));
    }
    let index = match which {
        Inherited::Index(index) => *index,
        Inherited::Name(name) => names.iter().position(|known| known == name).ok_or_else(|| {
            missing(format!("no socket of that name was handed over, only: {}", names.join(", ")))
        })?,
    };
    if index >= sockets.len() {
        return Err(missing(format!("only {} sockets were handed over, counted from 0", sockets.len())));
    }
    // Fails, and keeps the socket, where it is of the other kind.
    if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
        listener.set_nonblocking(true)?;
        return Ok(Socketed::Tcp(listener));
    }
    match sockets.take_unix_listener(index)? {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            Ok(Socketed::Unix(listener, None))
        }
        None => Err(io::Error::new(io::ErrorKind::AddrInUse, "that socket is in use already")),
    }
}

/// What is set on every accepted TCP connection. Failures are ignored: the peer may be gone already.
pub(super) fn tune(stream: &tokio::net::TcpStream, keep_alive: std::time::Duration) {
    // An answer is written whole: waiting for more to send only adds delay.
    let _ = stream.set_nodelay(true);
    if !keep_alive.is_zero() {
        let probes =
            socket2::TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive / 4).with_retries(4);
        let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
    }
}
