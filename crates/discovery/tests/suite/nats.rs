//! NATS with JetStream, version 2.9 in Debian 12: one that does not tell what it has forgotten.

use std::{net::SocketAddr, path::Path, time::Duration};

use mainstay_core::config;
use mainstay_discovery::{Config, registry::Kind};

use crate::{
    running::{Running, Software, TTL},
    world::{name, until_told},
};

struct Nats;

impl Software for Nats {
    const PROGRAM: (&'static str, &'static str) = ("nats-server", "nats-server");

    fn arguments(data: &Path, ports: &[u16]) -> Vec<String> {
        let (port, data) = (ports[0].to_string(), data.display().to_string());
        ["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir", &data]
            .map(str::to_owned)
            .to_vec()
    }

    fn configure(config: &mut Config, address: SocketAddr, ttl: config::Duration, timeout: config::Duration) {
        config.registry = Some(Kind::Nats);
        config.nats.servers = vec![format!("nats://{address}")];
        (config.nats.ttl, config.nats.timeout) = (ttl, timeout);
    }

    async fn write(address: SocketAddr, service: &str, id: &str, value: &[u8]) {
        let client = async_nats::connect(format!("nats://{address}")).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let subject = format!("$KV.mainstay-services.{service}.{id}");
        context.publish(subject, value.to_vec().into()).await.unwrap().await.unwrap();
    }
}

crate::conformance!(Running::<Nats>::start());
crate::outages!(Running::<Nats>::start());
crate::leasing!(Running::<Nats>::start());

#[tokio::test]
async fn a_bucket_that_forgets_too_early_or_never_is_refused_with_the_reason() {
    let world = Running::<Nats>::start().await;
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
        let process = world.process_with(|config, _| config.nats.bucket = bucket).await;
        let watch = process.registry.resolve(&name("orders"));
        until_told(&process, told).await;
        assert!(!watch.is_settled());
    }
}
