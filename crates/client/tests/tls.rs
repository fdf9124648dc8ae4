//! TLS to endpoints, against the server of the framework: HTTP/1.1, HTTP/2, gRPC, mutual, reload, and what goes wrong.

#![cfg(feature = "tls")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::path::PathBuf;

use axum::{Router, routing::any};
use mainstay_client::{Client, Config, discovery::fixed::Fixed, error::Error};
use mainstay_core::{
    config::Duration,
    error::Report,
    server::{self, ClientCertificates, Connection, ReloadInterval},
};
use mainstay_discovery::{Endpoint, Protocol};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use support::{LONG, Server};
use tempfile::TempDir;

/// An authority, and the folder in which both sides find what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // An authority is found by its name before its key is looked at.
        let name = folder.path().display().to_string();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certificate and key for `host`, as `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, host: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        // The key first: a reload in between finds a pair that doesn't fit, and keeps the old one.
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
    }

    async fn serve(&self, name: &str, clients: ClientCertificates) -> Server {
        let mut tls = server::Tls::default();
        tls.certificate_file = self.path(&format!("{name}.pem"));
        tls.key_file = self.path(&format!("{name}.key"));
        tls.client_certificates = clients;
        tls.client_ca_file = (clients != ClientCertificates::None).then(|| self.path("ca.pem"));
        tls.reload_interval = ReloadInterval(Duration::from_millis(20));
        let mut config = server::Config::default();
        config.address = "127.0.0.1:0".parse().unwrap();
        config.tls = Some(tls);
        Server::start_with(&config, router()).await
    }

    /// Trusts this authority, and expects `localhost`.
    fn config(&self) -> Config {
        let mut config = Config::default();
        config.tls.ca_file = Some(self.path("ca.pem"));
        config.tls.server_name = Some("localhost".to_owned());
        config.tls.reload_interval = Duration::from_millis(20);
        config.pool.connect_timeout = LONG.into();
        config.timeout = LONG.into();
        config.retry.max_attempts = 1;
        config
    }
}

fn router() -> Router {
    let echo = |connection: Connection, body: String| async move {
        assert!(connection.is_tls());
        format!("{:?} {} {body}", connection.protocol(), connection.client_certificates().len())
    };
    Router::new().route("/", any(echo))
}

fn client(config: Config, server: &Server, protocol: Protocol) -> Client {
    let endpoint = server.endpoint().with_protocol(protocol).with_tls(true);
    Client::builder().config(config).build(Fixed::new().with("stock", [endpoint]).unwrap())
}

async fn call(client: &Client) -> Result<String, Error> {
    client.post("http://stock/").body("hello").send().await?.error_for_status()?.text().await
}

async fn failure(client: &Client) -> (Error, String) {
    let error = call(client).await.unwrap_err();
    let text = Report::new(&error).to_string();
    (error, text)
}

#[tokio::test]
async fn both_versions_are_spoken_with_and_without_a_certificate_of_our_own() {
    let authority = Authority::new();
    authority.issue("server", "localhost", |_| {});
    authority.issue("client", "client", |_| {});
    let open = authority.serve("server", ClientCertificates::None).await;
    let closed = authority.serve("server", ClientCertificates::Required).await;
    let mut mutual = authority.config();
    mutual.tls.certificate_file = Some(authority.path("client.pem"));
    mutual.tls.key_file = Some(authority.path("client.key"));
    for (protocol, name) in [(Protocol::Http1, "Http1"), (Protocol::Http2, "Http2")] {
        let plain = client(authority.config(), &open, protocol);
        assert_eq!(call(&plain).await.unwrap(), format!("{name} 0 hello"));
        assert_eq!(call(&plain).await.unwrap(), format!("{name} 0 hello"));
        let shown = client(mutual.clone(), &closed, protocol);
        assert_eq!(call(&shown).await.unwrap(), format!("{name} 1 hello"));
    }
    assert_eq!(open.accepted(), 2, "connections are kept");
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn grpc_is_spoken_with_tls() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let authority = Authority::new();
    authority.issue("server", "localhost", |_| {});
    let (_, service) = tonic_health::server::health_reporter();
    let mut config = server::Config::default();
    config.address = "127.0.0.1:0".parse().unwrap();
    let mut tls = server::Tls::default();
    tls.certificate_file = authority.path("server.pem");
    tls.key_file = authority.path("server.key");
    config.tls = Some(tls);
    let router = tonic::service::Routes::new(service).into_axum_router();
    let server = Server::start_with(&config, router).await;
    let client = client(authority.config(), &server, Protocol::Http1);
    let mut health = HealthClient::new(client.channel("stock"));
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_with_the_endpoint() {
    let authority = Authority::new();
    authority.issue("other", "other.example", |_| {});
    authority.issue("old", "localhost", |params| params.not_after = date_time_ymd(2020, 1, 1));
    authority.issue("new", "localhost", |params| params.not_before = date_time_ymd(4000, 1, 1));
    authority.issue("good", "localhost", |_| {});
    let stranger = Authority::new();
    let strange = {
        let mut config = authority.config();
        config.tls.ca_file = Some(stranger.path("ca.pem"));
        config
    };
    let by_address = {
        let mut config = authority.config();
        config.tls.server_name = None;
        config
    };
    let cases = [
        ("other", authority.config(), "no TLS with `localhost`: its certificate is for"),
        ("old", authority.config(), "its certificate has expired"),
        ("new", authority.config(), "its certificate is not valid yet"),
        ("good", strange, "signed by an authority that is not known here"),
        ("good", by_address, "no TLS with `127.0.0.1`: its certificate is for"),
    ];
    for (name, config, reason) in cases {
        let server = authority.serve(name, ClientCertificates::None).await;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let (error, text) = failure(&client(config.clone(), &server, protocol)).await;
            assert!(matches!(error, Error::Connect(_)), "{text}");
            assert!(text.contains(reason) && text.contains(&server.address.to_string()), "{text}");
        }
    }
}

#[tokio::test]
async fn a_server_that_wants_another_certificate_is_told_apart_from_one_that_breaks() {
    let authority = Authority::new();
    authority.issue("server", "localhost", |_| {});
    let server = authority.serve("server", ClientCertificates::Required).await;
    let stranger = Authority::new();
    stranger.issue("client", "client", |_| {});
    let mut strange = authority.config();
    strange.tls.certificate_file = Some(stranger.path("client.pem"));
    strange.tls.key_file = Some(stranger.path("client.key"));
    let cases = [(authority.config(), "it wants a certificate"), (strange, "it refused the handshake: ")];
    for (config, reason) in cases {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let (error, text) = failure(&client(config.clone(), &server, protocol)).await;
            // Nothing of the request was looked at, though over HTTP/1.1 it may have been sent.
            assert!(matches!(error, Error::Connect(_)), "{text}");
            assert!(text.contains(reason), "{protocol:?} {text}");
        }
    }
}

#[tokio::test]
async fn files_are_taken_up_when_they_change_and_told_when_they_are_bad() {
    let (before, after) = (Authority::new(), Authority::new());
    after.issue("server", "localhost", |_| {});
    let server = after.serve("server", ClientCertificates::None).await;
    let mut config = before.config();
    // So that each call opens a connection.
    config.pool.max_age = Duration::from_millis(1);
    let client = client(config, &server, Protocol::Http2);
    assert!(failure(&client).await.1.contains("not known here"));

    std::fs::write(before.path("ca.pem"), "nonsense").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(failure(&client).await.1.contains("not known here"), "the old ones stay in use");

    std::fs::copy(after.path("ca.pem"), before.path("ca.pem")).unwrap();
    tokio::time::timeout(LONG, async {
        while call(&client).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn files_that_can_not_be_used_are_told_by_setting_and_path() {
    let authority = Authority::new();
    authority.issue("server", "localhost", |_| {});
    authority.issue("client", "client", |_| {});
    authority.issue("other", "client", |_| {});
    let server = authority.serve("server", ClientCertificates::None).await;
    let mut missing = authority.config();
    missing.tls.ca_file = Some(authority.path("none.pem"));
    let mut pair = authority.config();
    pair.tls.certificate_file = Some(authority.path("client.pem"));
    pair.tls.key_file = Some(authority.path("other.key"));
    for (config, setting, file) in
        [(missing, "client.tls.ca_file", "none.pem"), (pair, "client.tls.certificate_file", "client.pem")]
    {
        let (error, text) = failure(&client(config, &server, Protocol::Http1)).await;
        assert!(matches!(error, Error::Connect(_)), "{text}");
        assert!(text.contains(setting) && text.contains(file), "{text}");
    }
}

#[tokio::test]
async fn a_peer_without_tls_is_told_and_a_socket_wants_a_name() {
    let server = Server::start(Router::new()).await;
    let authority = Authority::new();
    let (error, text) = failure(&client(authority.config(), &server, Protocol::Http1)).await;
    assert!(matches!(error, Error::Connect(_)), "{text}");

    let socket = authority.path("peer.sock");
    let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let mut config = authority.config();
    config.tls.server_name = None;
    let services = Fixed::new().with("stock", [Endpoint::unix(socket).with_tls(true)]).unwrap();
    let (_, text) = failure(&Client::builder().config(config).build(services)).await;
    assert!(text.contains("`client.tls.server_name` must say the name"), "{text}");
}
