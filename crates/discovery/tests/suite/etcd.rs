//! etcd, version 3.4 in Debian 12.

use std::{net::SocketAddr, path::Path};

use mainstay_core::config;
use mainstay_discovery::{
    Config,
    registry::{Kind, Tls},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    certificates::Certificates,
    proxy::Proxy,
    running::{Running, Software, is_refused},
    world::{Outage as _, Vigil, World as _, endpoint, hosts, name, until_hosts, until_told, within},
};

struct Etcd;

impl Software for Etcd {
    const PROGRAM: (&'static str, &'static str) = ("etcd", "etcd-server");

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

    fn configure(config: &mut Config, address: SocketAddr, ttl: config::Duration, timeout: config::Duration) {
        config.registry = Some(Kind::Etcd);
        config.etcd.endpoints = vec![format!("http://{address}")];
        (config.etcd.ttl, config.etcd.timeout) = (ttl, timeout);
    }

    async fn write(address: SocketAddr, service: &str, id: &str, value: &[u8]) {
        let key = base64(format!("/mainstay/services/{service}/{id}").as_bytes());
        ask(address, "kv/put", &format!(r#"{{"key":"{key}","value":"{}"}}"#, base64(value))).await;
    }
}

/// Asks the JSON gateway, so that no code is shared with what is tested.
async fn ask(address: SocketAddr, path: &str, json: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
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

crate::conformance!(Running::<Etcd>::start());
crate::outages!(Running::<Etcd>::start());
crate::leasing!(Running::<Etcd>::start());

#[tokio::test]
async fn a_follower_survives_compaction() {
    let world = Running::<Etcd>::start().await;
    let process = world.process().await;
    let watch = process.registry.resolve(&name("orders"));
    let _lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    process.wire().cut();
    for number in 0..50 {
        Etcd::write(world.server.address(), "noise", "1", number.to_string().as_bytes()).await;
    }
    ask(world.server.address(), "kv/compaction", r#"{"revision":"40","physical":true}"#).await;
    process.wire().heal();
    let _second = process.registry.register(&name("orders"), endpoint("b")).unwrap();
    until_hosts(&watch, &["a", "b"]).await;
    vigil.end().await;
}

#[tokio::test]
async fn when_one_member_is_away_the_next_one_is_asked() {
    let world = Running::<Etcd>::start().await;
    let away = Proxy::to(world.server.address()).await;
    away.cut();
    for _ in 0..4 {
        let process = world
            .process_with(|config, _| config.etcd.endpoints.push(format!("http://{}", away.address)))
            .await;
        let watch = process.registry.resolve(&name("orders"));
        let lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
        until_hosts(&watch, &["a"]).await;
        within("withdrawing", lease.withdraw()).await;
    }
}

#[tokio::test]
async fn a_user_and_a_token_that_is_lost_are_used_and_a_wrong_password_is_told() {
    let world = Running::<Etcd>::start().await;
    ask(world.server.address(), "auth/user/add", r#"{"name":"root","password":"secret"}"#).await;
    ask(world.server.address(), "auth/user/grant", r#"{"user":"root","role":"root"}"#).await;
    ask(world.server.address(), "auth/enable", "{}").await;
    let with = |password: &'static str| {
        world.process_with(move |config, _| {
            config.etcd.user = Some("root".to_owned());
            config.etcd.password = Some(password.into());
        })
    };
    let wrong = with("wrong").await;
    let _lease = wrong.registry.register(&name("orders"), endpoint("b")).unwrap();
    let told = until_told(&wrong, "authentic").await;
    assert!(told.contains("`password` of `discovery.etcd`") && !told.contains("wrong"), "{told}");

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

#[tokio::test]
async fn a_certificate_is_shown_and_an_unknown_one_is_told() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let options = [
        ("cert-file", certificates.path("server.pem")),
        ("key-file", certificates.path("server.key")),
        ("trusted-ca-file", certificates.path("ca.pem")),
        // It wants to see a certificate.
        ("client-cert-auth", "true".to_owned()),
    ];
    let options = options.map(|(option, value)| format!("--{option}={value}")).to_vec();
    let world = Running::<Etcd>::start_with(move |_, ports| {
        let client = format!("https://127.0.0.1:{}", ports[0]);
        let urls =
            ["listen-client-urls", "advertise-client-urls"].map(|option| format!("--{option}={client}"));
        options.iter().cloned().chain(urls).collect()
    })
    .await;
    let with = |tls: Tls| {
        world.process_with(move |config, address| {
            config.etcd.endpoints = vec![format!("https://{address}")];
            config.etcd.tls = tls;
        })
    };
    let known = with(certificates.showing()).await;
    let watch = known.registry.resolve(&name("orders"));
    let _lease = known.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    for tls in [certificates.trusting(), strangers.showing(), Tls::default()] {
        is_refused(&with(tls).await, &["discovery.etcd.tls"]).await;
    }
}
