//! Worlds with a server in the middle that is a process.

use std::{marker::PhantomData, net::SocketAddr, path::Path, time::Duration};

use mainstay_core::config;
use mainstay_discovery::Config;

use crate::{
    proxy::Proxy,
    server::Server,
    world::{Outage, Process, Served, World, name, until_told},
};

/// How long entries live in them.
pub(crate) const TTL: Duration = Duration::from_secs(4);

/// What of a server is its own.
pub(crate) trait Software {
    /// The program, and the package of Debian that has it.
    const PROGRAM: (&'static str, &'static str);

    /// Its arguments, for its folder and two free ports, of which the first one is spoken to.
    fn arguments(data: &Path, ports: &[u16]) -> Vec<String>;

    /// Makes it the registry, at `address`, with entries that live for `ttl` and requests that take `timeout`.
    fn configure(config: &mut Config, address: SocketAddr, ttl: config::Duration, timeout: config::Duration);

    /// Writes `value` as an entry, in its own way; and what else nobody should believe.
    fn write(
        address: SocketAddr,
        service: &str,
        id: &str,
        value: &[u8],
    ) -> impl std::future::Future<Output = ()>;
}

/// A world with a server in the middle, which is a process.
pub(crate) struct Running<S> {
    pub(crate) server: Server,
    software: PhantomData<S>,
}

impl<S: Software> Running<S> {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_, _| Vec::new()).await
    }

    /// With more arguments, for its folder and its ports.
    pub(crate) async fn start_with(
        more: impl Fn(&Path, &[u16]) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        let arguments = move |data: &Path, ports: &[u16]| {
            let mut arguments = S::arguments(data, ports);
            arguments.extend(more(data, ports));
            arguments
        };
        Self { server: Server::start(S::PROGRAM, Box::new(arguments)).await, software: PhantomData }
    }

    /// A process whose configuration is changed for the address of its wire.
    pub(crate) async fn process_with(&self, change: impl FnOnce(&mut Config, SocketAddr)) -> Process {
        let wire = Proxy::to(self.server.address()).await;
        let mut config = Config::default();
        let timeout = config::Duration::from_secs(1);
        S::configure(&mut config, wire.address, config::Duration::from_secs(TTL.as_secs()), timeout);
        change(&mut config, wire.address);
        Process::connected(&config, wire).await
    }
}

impl<S: Software> World for Running<S> {
    fn ttl(&self) -> Duration {
        TTL
    }

    async fn process(&self) -> Process {
        self.process_with(|_, _| ()).await
    }

    async fn calm_process(&self) -> Process {
        // Some sync each registration to the disk.
        let (ttl, timeout) = (config::Duration::from_secs(600), config::Duration::from_secs(60));
        self.process_with(|config, address| S::configure(config, address, ttl, timeout)).await
    }
}

impl<S: Software> Outage for Running<S> {
    async fn stop(&self) {
        self.server.kill();
    }

    async fn start(&self) {
        self.server.restart().await;
    }

    fn pause(&self) {
        self.server.signal("STOP");
    }

    fn resume(&self) {
        self.server.signal("CONT");
    }
}

impl<S: Software> Served for Running<S> {
    fn wipe(&self) {
        self.server.wipe();
    }

    async fn disturb(&self, service: &str) {
        let address = self.server.address();
        let long = format!(r#"{{"version":1,"address":"http://long","x":"{}"}}"#, "x".repeat(500_000));
        let deep = "[".repeat(10_000);
        let values: [&[u8]; 10] = [
            b"",
            b"\x00\xff\xfe",
            b"null",
            b"{}",
            long.as_bytes(),
            deep.as_bytes(),
            br#"{"version":1,"address":"unix:/var/run/engine.sock"}"#,
            br#"{"version":1,"address":"http://0.0.0.0:80"}"#,
            br#"{"version":1,"address":"http://bad:80","weight":4294967295}"#,
            br#"{"version":9,"address":"http://newer:80"}"#,
        ];
        for (number, value) in values.iter().enumerate() {
            S::write(address, service, &format!("stranger-{number}"), value).await;
        }
        S::write(address, "Not-A-Name", "1", br#"{"version":1,"address":"http://b:80"}"#).await;
        let newer = br#"{"version":1,"address":"http://z:80","mood":{"good":true},"health":"tired"}"#;
        S::write(address, service, "newer", newer).await;
    }
}

/// Waits until the process is told all of `told`, and nothing that should stay with it.
pub(crate) async fn is_refused(process: &Process, told: &[&str]) {
    let watch = process.registry.resolve(&name("orders"));
    let message = until_told(process, told[0]).await;
    for part in told {
        assert!(message.contains(part), "`{part}` is not in {message}");
    }
    assert!(!message.contains("wrong-") && !message.contains("secret"), "{message}");
    assert!(!watch.is_settled(), "nobody has answered");
}
