//! Redis, version 7 in Debian 12.

use std::{path::Path, time::Duration};

use mainstay_core::{config, task::Tasks};
use mainstay_discovery::{Config, registry::Kind};

use crate::{
    proxy::Proxy,
    server::Server,
    world::{Process, Served, World},
};

const TTL: Duration = Duration::from_secs(4);

struct Redis {
    server: Server,
}

impl Redis {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(more: &[String]) -> Self {
        Self { server: Server::start("redis-server", "redis-server", arguments, more).await }
    }

    async fn process_with(&self, change: impl FnOnce(&mut Config)) -> Process {
        let (wire, tasks) = (Proxy::to(self.server.address()).await, Tasks::new());
        let mut config = Config::default();
        config.registry = Some(Kind::Redis);
        config.redis.address = format!("redis://{}", wire.address);
        config.redis.ttl = config::Duration::from_secs(TTL.as_secs());
        config.redis.timeout = config::Duration::from_secs(1);
        change(&mut config);
        let registry = config.connect(&tasks).await.unwrap().unwrap();
        Process { registry, tasks, wire: Some(wire) }
    }

    async fn client(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(format!("redis://{}", self.server.address())).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }
}

/// What is acknowledged is on the disk, so that a restart is not the same as a wipe.
fn arguments(data: &Path, ports: &[u16]) -> Vec<String> {
    let (port, data) = (ports[0].to_string(), data.display().to_string());
    ["--bind", "127.0.0.1", "--port", &port, "--dir", &data, "--appendonly", "yes", "--appendfsync", "always"]
        .map(str::to_owned)
        .to_vec()
}

impl World for Redis {
    fn ttl(&self) -> Duration {
        TTL
    }

    async fn process(&self) -> Process {
        self.process_with(|_| ()).await
    }

    async fn calm_process(&self) -> Process {
        self.process_with(|config| config.redis.ttl = config::Duration::from_secs(600)).await
    }
}

impl Served for Redis {
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
        let mut client = self.client().await;
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

crate::conformance!(Redis::start());
crate::outages!(Redis::start());

#[tokio::test]
async fn emptying_it_while_it_runs_is_made_good() {
    use crate::world::{Vigil, endpoint, hosts, name, until_hosts};
    let world = Redis::start().await;
    let process = world.process().await;
    let watch = process.registry.resolve(&name("orders"));
    let _lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    let mut client = world.client().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut client).await.unwrap();
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(hosts(&watch), ["a"]);
    vigil.end().await;
    let late = world.process().await;
    until_hosts(&late.registry.resolve(&name("orders")), &["a"]).await;
}
