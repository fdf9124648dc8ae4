//! NATS with JetStream, version 2.9 in Debian 12: one that does not tell what it has forgotten.

use std::{net::SocketAddr, path::Path, time::Duration};

use mainstay_core::config;
use mainstay_discovery::{
    Config,
    registry::{Kind, Tls},
};

use crate::{
    certificates::Certificates,
    running::{Running, Software, TTL, is_refused},
    world::{endpoint, name, until_hosts, until_told},
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

#[tokio::test]
async fn users_tokens_and_certificates_are_shown_and_what_is_refused_is_told() {
    type Change = fn(&mut Config);
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let tls = [
        ("--tlscert", certificates.path("server.pem")),
        ("--tlskey", certificates.path("server.key")),
        // It wants to see a certificate.
        ("--tlscacert", certificates.path("ca.pem")),
    ];
    let tls =
        [["--tlsverify".to_owned()].to_vec(), tls.map(|(option, value)| [option.to_owned(), value]).concat()];
    let tls = tls.concat();
    let user: Change = |config| {
        config.nats.user = Some("shop".to_owned());
        config.nats.password = Some("secret".into());
    };
    let wrong_user: Change = |config| {
        config.nats.user = Some("shop".to_owned());
        config.nats.password = Some("wrong-1".into());
    };
    let token: Change = |config| config.nats.token = Some("secret".into());
    let wrong_token: Change = |config| config.nats.token = Some("wrong-2".into());
    let ways = [
        (["--user", "shop", "--pass", "secret"].as_slice(), user, [wrong_user, |_| ()]),
        (["--auth", "secret"].as_slice(), token, [wrong_token, |_| ()]),
    ];
    for (arguments, right, wrong) in ways {
        let tls = tls.clone();
        let world = Running::<Nats>::start_with(move |_, _| {
            arguments.iter().map(|argument| (*argument).to_owned()).chain(tls.iter().cloned()).collect()
        })
        .await;
        let with = |change: Change, tls: Tls| {
            world.process_with(move |config, address| {
                config.nats.servers = vec![format!("tls://{address}")];
                config.nats.tls = tls;
                change(config);
            })
        };
        let process = with(right, certificates.showing()).await;
        let watch = process.registry.resolve(&name("orders"));
        let _lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
        until_hosts(&watch, &["a"]).await;
        for wrong in wrong {
            is_refused(&with(wrong, certificates.showing()).await, &["discovery.nats", "authorization"])
                .await;
        }
        for tls in [certificates.trusting(), strangers.showing(), Tls::default()] {
            is_refused(&with(right, tls).await, &["discovery.nats.tls"]).await;
        }
    }
}
