//! Redis, version 7 in Debian 12.

use std::{net::SocketAddr, path::Path};

use mainstay_core::config;
use mainstay_discovery::{
    Config,
    registry::{Kind, Tls},
};

use crate::{
    certificates::Certificates,
    running::{Running, Software, TTL, is_refused},
    world::{Vigil, World as _, endpoint, hosts, name, until_hosts},
};

struct Redis;

impl Software for Redis {
    const PROGRAM: (&'static str, &'static str) = ("redis-server", "redis-server");

    /// What is acknowledged is on the disk, so that a restart is not the same as a wipe.
    fn arguments(data: &Path, ports: &[u16]) -> Vec<String> {
        let (port, data) = (ports[0].to_string(), data.display().to_string());
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        let place = ["--bind", "127.0.0.1", "--port", &port, "--dir", &data];
        place.into_iter().chain(durable).map(str::to_owned).collect()
    }

    fn configure(config: &mut Config, address: SocketAddr, ttl: config::Duration, timeout: config::Duration) {
        config.registry = Some(Kind::Redis);
        config.redis.address = format!("redis://{address}");
        (config.redis.ttl, config.redis.timeout) = (ttl, timeout);
    }

    async fn write(address: SocketAddr, service: &str, id: &str, value: &[u8]) {
        let mut client = client(address).await;
        let index = format!("mainstay:services:{service}");
        let mut write = redis::pipe();
        write.cmd("SADD").arg("mainstay:services").arg(service).ignore();
        write.cmd("SADD").arg(&index).arg(id).ignore();
        write.cmd("SET").arg(format!("{index}:{id}")).arg(value).ignore();
        write.cmd("PUBLISH").arg(&index).arg([b"+", id.as_bytes(), b" ", value].concat()).ignore();
        // Not even of the right type.
        write.cmd("SADD").arg(&index).arg("a-list").ignore();
        write.cmd("RPUSH").arg(format!("{index}:a-list")).arg("x").ignore();
        for noise in ["", "+", "-", "+ ", "nonsense"] {
            write.cmd("PUBLISH").arg(&index).arg(noise).ignore();
        }
        let () = write.query_async(&mut client).await.unwrap();
    }
}

async fn client(address: SocketAddr) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{address}")).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

crate::conformance!(Running::<Redis>::start());
crate::outages!(Running::<Redis>::start());
crate::leasing!(Running::<Redis>::start());

#[tokio::test]
async fn emptying_it_while_it_runs_is_made_good() {
    let world = Running::<Redis>::start().await;
    let process = world.process().await;
    let watch = process.registry.resolve(&name("orders"));
    let _lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    let mut client = client(world.server.address()).await;
    let () = redis::cmd("FLUSHALL").query_async(&mut client).await.unwrap();
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(hosts(&watch), ["a"]);
    vigil.end().await;
    let late = world.process().await;
    until_hosts(&late.registry.resolve(&name("orders")), &["a"]).await;
}

#[tokio::test]
async fn a_user_a_password_and_certificates_are_shown_and_what_is_refused_is_told() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let arguments = [
        ("--requirepass", "secret".to_owned()),
        ("--tls-ca-cert-file", certificates.path("ca.pem")),
        ("--tls-cert-file", certificates.path("server.pem")),
        ("--tls-key-file", certificates.path("server.key")),
        // It wants to see a certificate.
        ("--tls-auth-clients", "yes".to_owned()),
    ];
    let mut arguments = arguments.map(|(option, value)| [option.to_owned(), value]).concat();
    let user = ["--user", "shop", "on", ">basket", "~mainstay:services*", "&mainstay:services:*", "+@all"];
    arguments.extend(user.map(str::to_owned));
    let world = Running::<Redis>::start_with(move |_, ports| {
        // The port of all others, with TLS.
        let port = ports[0].to_string();
        let tls = ["--port".to_owned(), "0".to_owned(), "--tls-port".to_owned(), port];
        arguments.iter().cloned().chain(tls).collect()
    })
    .await;
    let with = |user: Option<&'static str>, password: Option<&'static str>, tls: Tls| {
        world.process_with(move |config, address| {
            config.redis.address = format!("rediss://{address}");
            config.redis.user = user.map(str::to_owned);
            config.redis.password = password.map(Into::into);
            config.redis.tls = tls;
        })
    };
    let showing = certificates.showing();
    let default = with(None, Some("secret"), showing.clone()).await;
    let watch = default.registry.resolve(&name("orders"));
    let user = with(Some("shop"), Some("basket"), showing.clone()).await;
    let _lease = user.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;

    let refused: [(_, _, _, &[&str]); 6] = [
        (Some("shop"), Some("wrong-1"), showing.clone(), &["discovery.redis", "WRONGPASS"]),
        (None, Some("wrong-2"), showing.clone(), &["discovery.redis", "WRONGPASS"]),
        (None, None, showing, &["discovery.redis", "NOAUTH"]),
        (None, Some("secret"), certificates.trusting(), &["discovery.redis.tls"]),
        (None, Some("secret"), strangers.showing(), &["discovery.redis.tls", "certificate"]),
        (None, Some("secret"), Tls::default(), &["discovery.redis.tls", "certificate"]),
    ];
    for (user, password, tls, told) in refused {
        is_refused(&with(user, password, tls).await, told).await;
    }
}
