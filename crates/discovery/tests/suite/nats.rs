//! NATS with JetStream, version 2.9 in Debian 12: one that does not tell what it has forgotten.

use std::{path::Path, time::Duration};

use mainstay_core::{config, task::Tasks};
use mainstay_discovery::{Config, registry::Kind};

use crate::{
    proxy::Proxy,
    server::Server,
    world::{PATIENCE, Process, Served, World},
};

const TTL: Duration = Duration::from_secs(4);

struct Nats {
    server: Server,
}

impl Nats {
    async fn start() -> Self {
        Self { server: Server::start("nats-server", "nats-server", arguments, &[]).await }
    }

    async fn process_with(&self, change: impl FnOnce(&mut Config)) -> Process {
        let (wire, tasks) = (Proxy::to(self.server.address()).await, Tasks::new());
        let mut config = Config::default();
        config.registry = Some(Kind::Nats);
        config.nats.servers = vec![format!("nats://{}", wire.address)];
        config.nats.ttl = config::Duration::from_secs(TTL.as_secs());
        config.nats.timeout = config::Duration::from_secs(1);
        change(&mut config);
        let registry = config.connect(&tasks).await.unwrap().unwrap();
        Process { registry, tasks, wire: Some(wire) }
    }
}

fn arguments(data: &Path, ports: &[u16]) -> Vec<String> {
    let (port, data) = (ports[0].to_string(), data.display().to_string());
    ["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir", &data].map(str::to_owned).to_vec()
}

impl World for Nats {
    fn ttl(&self) -> Duration {
        TTL
    }

    async fn process(&self) -> Process {
        self.process_with(|_| ()).await
    }

    async fn calm_process(&self) -> Process {
        self.process_with(|config| config.nats.ttl = config::Duration::from_secs(600)).await
    }
}

impl Served for Nats {
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
        let client = async_nats::connect(format!("nats://{}", self.server.address())).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let subject = format!("$KV.mainstay-services.{service}.{id}");
        context.publish(subject, value.to_vec().into()).await.unwrap().await.unwrap();
    }
}

crate::conformance!(Nats::start());
crate::outages!(Nats::start());

#[tokio::test]
async fn a_bucket_that_forgets_too_early_or_never_is_refused_with_the_reason() {
    let world = Nats::start().await;
    let client = async_nats::connect(format!("nats://{}", world.server.address())).await.unwrap();
    let context = async_nats::jetstream::new(client);
    for (max_age, told) in [(Duration::ZERO, "for ever"), (TTL / 2, "2s")] {
        let bucket = format!("other-{}", max_age.as_secs());
        let definition = async_nats::jetstream::stream::Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_age,
            ..Default::default()
        };
        context.create_stream(definition).await.unwrap();
        let process = world.process_with(|config| config.nats.bucket = bucket).await;
        let watch = mainstay_discovery::Resolve::resolve(&process.registry, &crate::world::name("orders"));
        let told = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(error) = process.registry.status().last_error {
                    assert!(error.message.contains(told), "{}", error.message);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        told.await.unwrap();
        assert!(!watch.is_settled());
    }
}
