//! etcd, version 3.4 in Debian 12.

use std::{path::Path, time::Duration};

use mainstay_core::{config, task::Tasks};
use mainstay_discovery::{Config, registry::Kind};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    proxy::Proxy,
    server::Server,
    world::{Process, Served, Vigil, World, endpoint, hosts, name, until_hosts, within},
};

const TTL: Duration = Duration::from_secs(4);

struct Etcd {
    server: Server,
}

impl Etcd {
    async fn start() -> Self {
        Self { server: Server::start("etcd", "etcd-server", arguments, &[]).await }
    }

    async fn process_with(&self, change: impl FnOnce(&mut Config)) -> Process {
        let (wire, tasks) = (Proxy::to(self.server.address()).await, Tasks::new());
        let mut config = Config::default();
        config.registry = Some(Kind::Etcd);
        config.etcd.endpoints = vec![format!("http://{}", wire.address)];
        config.etcd.ttl = config::Duration::from_secs(TTL.as_secs());
        config.etcd.timeout = config::Duration::from_secs(1);
        change(&mut config);
        let registry = config.connect(&tasks).await.unwrap().unwrap();
        Process { registry, tasks, wire: Some(wire) }
    }

    /// Asks the JSON gateway, so that no code is shared with what is tested.
    async fn ask(&self, path: &str, json: &str) -> String {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        let length = json.len();
        let head = format!(
            "POST /v3/{path} HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(json.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        answer
    }
}

fn arguments(data: &Path, ports: &[u16]) -> Vec<String> {
    let [client, peer] = [0, 1].map(|index| format!("http://127.0.0.1:{}", ports[index]));
    let options = [
        ("data-dir", data.display().to_string()),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("default={peer}")),
        ("log-level", "error".to_owned()),
    ];
    options.map(|(option, value)| format!("--{option}={value}")).to_vec()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

impl World for Etcd {
    fn ttl(&self) -> Duration {
        TTL
    }

    async fn process(&self) -> Process {
        self.process_with(|_| ()).await
    }

    async fn calm_process(&self) -> Process {
        self.process_with(|config| {
            config.etcd.ttl = config::Duration::from_secs(600);
            // Each registration is synced to the disk.
            config.etcd.timeout = config::Duration::from_secs(60);
        })
        .await
    }
}

impl Served for Etcd {
    async fn stop(&self) {
        self.server.kill();
    }

    async fn start(&self) {
        self.server.restart().await;
    }

    fn wipe(&self) {
        self.server.wipe();
    }

    fn pause(&self) {
        self.server.signal("STOP");
    }

    fn resume(&self) {
        self.server.signal("CONT");
    }

    async fn write(&self, service: &str, id: &str, value: &[u8]) {
        let key = base64(format!("/mainstay/services/{service}/{id}").as_bytes());
        self.ask("kv/put", &format!(r#"{{"key":"{key}","value":"{}"}}"#, base64(value))).await;
    }
}

crate::conformance!(Etcd::start());
crate::outages!(Etcd::start());

#[tokio::test]
async fn a_follower_survives_compaction() {
    let world = Etcd::start().await;
    let process = world.process().await;
    let watch = process.registry.resolve(&name("orders"));
    let _lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    process.wire().cut();
    for number in 0..50 {
        world.write("noise", "1", number.to_string().as_bytes()).await;
    }
    world.ask("kv/compaction", r#"{"revision":"40","physical":true}"#).await;
    process.wire().heal();
    let _second = process.registry.register(&name("orders"), endpoint("b")).unwrap();
    until_hosts(&watch, &["a", "b"]).await;
    vigil.end().await;
}

#[tokio::test]
async fn when_one_member_is_away_the_next_one_is_asked() {
    let world = Etcd::start().await;
    let away = Proxy::to(world.server.address()).await;
    away.cut();
    for _ in 0..4 {
        let process =
            world.process_with(|config| config.etcd.endpoints.push(format!("http://{}", away.address))).await;
        let watch = process.registry.resolve(&name("orders"));
        let lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
        until_hosts(&watch, &["a"]).await;
        within("withdrawing", lease.withdraw()).await;
    }
}

#[tokio::test]
async fn a_user_and_a_token_that_is_lost_are_used_and_a_wrong_password_is_told() {
    let world = Etcd::start().await;
    world.ask("auth/user/add", r#"{"name":"root","password":"secret"}"#).await;
    world.ask("auth/user/grant", r#"{"user":"root","role":"root"}"#).await;
    world.ask("auth/enable", "{}").await;
    let with = |password: &'static str| {
        world.process_with(move |config| {
            config.etcd.user = Some("root".to_owned());
            config.etcd.password = Some(password.into());
        })
    };
    let wrong = with("wrong").await;
    let _lease = wrong.registry.register(&name("orders"), endpoint("b")).unwrap();
    within("an error", async {
        while wrong.registry.status().last_error.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let told = wrong.registry.status().last_error.unwrap().message;
    assert!(told.contains("authentic") && !told.contains("wrong"), "{told}");

    let right = with("secret").await;
    let watch = right.registry.resolve(&name("orders"));
    let _lease = right.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    // Tokens live in the memory of the server.
    world.stop().await;
    world.start().await;
    let _second = right.registry.register(&name("orders"), endpoint("c")).unwrap();
    until_hosts(&watch, &["a", "c"]).await;
    assert_eq!(hosts(&watch), ["a", "c"]);
}
