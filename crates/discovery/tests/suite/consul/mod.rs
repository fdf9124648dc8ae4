//! Consul, by a stand-in for its agent.

mod agent;

use std::{sync::Arc, time::Duration};

use mainstay_core::config;
use mainstay_discovery::{Config, Endpoint, registry::Kind};
use serde_json::json;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};

use self::agent::{Agent, Rights};
use crate::{
    certificates::Certificates,
    proxy::Proxy,
    world::{
        A, B, Outage, Process, Served, Vigil, World, endpoint, hosts, name, until, until_connected,
        until_hosts, until_told, within,
    },
};

const TTL: Duration = Duration::from_secs(4);

struct Consul {
    agent: Agent,
}

impl Consul {
    async fn start() -> Self {
        Self { agent: Agent::start(None).await }
    }

    async fn process_with(&self, change: impl FnOnce(&mut Config)) -> Process {
        let wire = Proxy::to(self.agent.address()).await;
        let mut config = Config::default();
        config.registry = Some(Kind::Consul);
        config.consul.address = format!("http://{}", wire.address).parse().unwrap();
        config.consul.ttl = config::Duration::from_secs(TTL.as_secs());
        config.consul.timeout = config::Duration::from_secs(1);
        change(&mut config);
        Process::connected(&config, wire).await
    }
}

impl World for Consul {
    fn ttl(&self) -> Duration {
        TTL
    }

    async fn process(&self) -> Process {
        self.process_with(|_| ()).await
    }

    async fn calm_process(&self) -> Process {
        self.process_with(|config| {
            config.consul.ttl = config::Duration::from_secs(600);
            // A connection each.
            config.consul.timeout = config::Duration::from_secs(60);
        })
        .await
    }
}

impl Outage for Consul {
    async fn stop(&self) {
        self.agent.stop();
    }

    async fn start(&self) {
        self.agent.restart().await;
    }

    fn pause(&self) {
        self.agent.pause(true);
    }

    fn resume(&self) {
        self.agent.pause(false);
    }
}

impl Served for Consul {
    fn wipe(&self) {
        self.agent.wipe();
    }

    async fn disturb(&self, service: &str) {
        let odd = [
            json!({"ID": "odd-1", "Address": "0.0.0.0", "Port": 80}),
            json!({"ID": "odd-2", "Address": "bad", "Port": 80, "Weights": {"Passing": 65535, "Warning": 65535},
                   "Meta": {"mainstay-scheme": "unix"}}),
            json!({"ID": "odd-3", "Address": "a/b?c", "Port": 80}),
            json!({"ID": "odd-4", "Address": "newer", "Port": 80, "Meta": {"mainstay-version": "9"}}),
            json!({"ID": "odd-5", "Address": "none", "Port": 0}),
            json!({"ID": "odd 6\n", "Address": "z", "Port": 80,
                   "Meta": {"mainstay-version": "1", "mainstay-health": "tired", "mood": "good"}}),
        ];
        for mut registration in odd {
            registration["Name"] = json!(service);
            self.agent.register(registration);
        }
        self.agent.register(json!({"Name": "Not-A-Name", "Address": "b", "Port": 80}));
        let long = "x".repeat(500_000);
        self.agent.spoil(vec![
            json!(null),
            json!({}),
            json!([[[[[[[[7]]]]]]]]),
            json!({"Node": 7, "Service": "what?"}),
            json!({"Node": {"Node": long, "Address": "long"}, "Service": {"ID": long, "Port": 80}}),
            json!({"Node": {"Node": "n", "Address": "a"}, "Service": {"ID": "x", "Port": 1e99}}),
        ]);
    }
}

crate::conformance!(Consul::start());
crate::outages!(Consul::start());
crate::leasing!(Consul::start());

#[tokio::test]
async fn services_of_other_programs_are_found_with_their_weights_and_metadata() {
    let world = Consul::start().await;
    let process = world.process().await;
    let watch = process.registry.resolve(&name("redis"));
    world.agent.register(json!({
        "ID": "redis1", "Name": "redis", "Address": "", "Port": 8000, "Tags": ["primary", "v1"],
        "Meta": {"redis_version": "4.0"}, "Weights": {"Passing": 10, "Warning": 1}, "EnableTagOverride": false,
    }));
    // Without an address of its own it is at that of its node.
    let expected = Endpoint::tcp("10.9.9.9", 8000).with_weight(10).with_metadata("redis_version", "4.0");
    until(&watch, "the other program", |watch| *watch.snapshot() == [expected.clone()]).await;
}

#[tokio::test]
async fn an_agent_that_has_lost_what_was_registered_gets_it_back() {
    let world = Consul::start().await;
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let lease = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    world.agent.lose_registrations();
    // To those who follow the servers it looks like a withdrawal.
    until_hosts(&watch, &[]).await;
    until_hosts(&watch, &[A]).await;
    within("being registered", lease.established()).await;
}

#[tokio::test]
async fn an_index_that_goes_backwards_begins_anew_and_takes_nobody_away() {
    let world = Consul::start().await;
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    let vigil = Vigil::over(&watch, &[A]);
    world.agent.rewind();
    // Seen although its index is far below the last one.
    let _second = one.registry.register(&name("orders"), endpoint(B)).unwrap();
    until_hosts(&watch, &[A, B]).await;
    vigil.end().await;
    let asked = &world.agent.state().asked;
    let listings =
        asked.iter().filter(|asked| asked.contains("health/service/orders") && !asked.contains("index="));
    assert!(listings.count() >= 2, "{asked:?}");
}

#[tokio::test]
async fn an_index_of_zero_does_not_make_it_ask_without_end() {
    let world = Consul::start().await;
    world.agent.state().says_zero = true;
    let process = world.process().await;
    let watch = process.registry.resolve(&name("orders"));
    within("settling", watch.settled()).await;
    tokio::time::sleep(TTL).await;
    let asked = world.agent.state().asked.len();
    assert!(asked < 40, "{asked} requests");
}

#[tokio::test]
async fn a_token_is_shown_and_one_that_may_not_is_told_what_it_lacks() {
    let world = Consul::start().await;
    {
        let mut state = world.agent.state();
        state.tokens.insert("all".into(), Rights { read: true, write: true });
        state.tokens.insert("reads".into(), Rights { read: true, write: false });
        state.tokens.insert("writes".into(), Rights { read: false, write: true });
    }
    let with = |token: &'static str| world.process_with(|config| config.consul.token = Some(token.into()));
    let all = with("all").await;
    let watch = all.registry.resolve(&name("orders"));
    let _lease = all.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;

    let unknown = with("secret").await;
    let unsettled = unknown.registry.resolve(&name("orders"));
    let told = until_told(&unknown, "403").await;
    assert!(told.contains("ACL not found") && told.contains("discovery.consul.token"), "{told}");
    assert!(!told.contains("secret"), "{told}");
    assert!(!unsettled.is_settled());

    let reads = with("reads").await;
    let watch = reads.registry.resolve(&name("orders"));
    until_hosts(&watch, &[A]).await;
    let lease = reads.registry.register(&name("orders"), endpoint(B)).unwrap();
    let told = until_told(&reads, "service:write").await;
    assert!(told.contains("registering") && told.contains("403"), "{told}");
    assert!(!lease.is_established());

    // Consul hides what may not be seen; that is not "there is none".
    let writes = with("writes").await;
    let watch = writes.registry.resolve(&name("orders"));
    let lease = writes.registry.register(&name("orders"), endpoint(B)).unwrap();
    within("being registered", lease.established()).await;
    until_told(&writes, "node:read").await;
    assert!(!watch.is_settled());
    world.agent.state().tokens.insert("writes".into(), Rights { read: true, write: true });
    until_hosts(&watch, &[A, B]).await;
}

#[tokio::test]
async fn an_agent_that_refuses_changes_nothing() {
    let world = Consul::start().await;
    let process = world.process().await;
    let watch = process.registry.resolve(&name("orders"));
    let _lease = process.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    let vigil = Vigil::over(&watch, &[A]);
    let refusals = [
        (500, "No cluster leader"),
        (429, "Your IP is issuing too many concurrent connections, please rate limit your calls"),
        (503, "<html>a proxy</html>"),
        // Not Consul at all.
        (200, "welcome"),
    ];
    for (status, said) in refusals {
        world.agent.state().refuses = Some((status, said));
        until_told(&process, if status == 200 { "X-Consul-Index" } else { said }).await;
        tokio::time::sleep(TTL / 4).await;
        assert_eq!(hosts(&watch), [A]);
        world.agent.state().refuses = None;
        until_connected(&process, true).await;
    }
    vigil.end().await;
}

#[tokio::test]
async fn the_namespace_and_the_data_centre_are_said() {
    let world = Consul::start().await;
    let process = world
        .process_with(|config| {
            config.consul.namespace = Some("shop".to_owned());
            config.consul.datacenter = Some("dc2".to_owned());
        })
        .await;
    let watch = process.registry.resolve(&name("orders"));
    let lease = process.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    within("withdrawing", lease.withdraw()).await;
    let asked = world.agent.state().asked.clone();
    assert!(asked.iter().all(|asked| asked.contains("ns=shop")), "{asked:?}");
    // Registered is with the agent, wherever that is.
    assert!(asked.iter().all(|asked| asked.starts_with("GET") == asked.contains("dc=dc2")), "{asked:?}");
}

#[tokio::test]
async fn metadata_that_consul_does_not_take_is_refused_at_once() {
    let world = Consul::start().await;
    let process = world.process().await;
    let endpoint = endpoint(A).with_metadata("not a key", "x");
    let refused = process.registry.register(&name("orders"), endpoint).unwrap_err();
    assert!(refused.to_string().contains("keys of metadata"), "{refused}");
}

#[tokio::test]
async fn tls_wants_a_known_authority_and_shows_a_certificate() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let world = Consul { agent: Agent::start(Some(acceptor(&certificates))).await };
    let with = |tls| {
        world.process_with(|config| {
            config.consul.address =
                config.consul.address.to_string().replace("http:", "https:").parse().unwrap();
            config.consul.tls = tls;
        })
    };
    let known = with(certificates.showing()).await;
    let watch = known.registry.resolve(&name("orders"));
    let _lease = known.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;

    let nobody = with(certificates.trusting()).await;
    let _watch = nobody.registry.resolve(&name("orders"));
    until_told(&nobody, "discovery.consul.tls").await;
    let stranger = with(strangers.showing()).await;
    let _watch = stranger.registry.resolve(&name("orders"));
    until_told(&stranger, "UnknownIssuer").await;
    let system = with(mainstay_discovery::registry::Tls::default()).await;
    let _watch = system.registry.resolve(&name("orders"));
    until_told(&system, "UnknownIssuer").await;
}

/// Of a server that wants to see a certificate.
fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.file("ca.pem")).unwrap()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificates.file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certificates.file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
