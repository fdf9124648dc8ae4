//! TLS: ALPN, certificates that change, client certificates.

use std::{path::PathBuf, sync::Arc};

use axum::{Router, routing::get as on_get};
use mainstay_core::{
    config::Duration,
    server::{ClientCertificates, Config, Connection, ReloadInterval, Server, Tls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{PREFACE, Peer, Running, config, frame, get, start, telling, until, within};

/// An authority, and the folder in which the server finds what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Settings with good files, which go with the authority.
pub fn usable(name: &str) -> (impl Drop, Config) {
    let authority = Authority::new(name);
    authority.install(&authority.issue("localhost"));
    let config = authority.config(ClientCertificates::None);
    (authority, config)
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = std::env::temp_dir().join(format!("mainstay-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn install(&self, (certificate, key): &(String, String)) {
        std::fs::write(self.folder.join("cert.pem"), certificate).unwrap();
        std::fs::write(self.folder.join("key.pem"), key).unwrap();
    }

    fn config(&self, clients: ClientCertificates) -> Config {
        let mut tls = Tls::default();
        tls.certificate_file = self.folder.join("cert.pem");
        tls.key_file = self.folder.join("key.pem");
        tls.client_certificates = clients;
        if clients != ClientCertificates::None {
            tls.client_ca_file = Some(self.folder.join("ca.pem"));
        }
        tls.reload_interval = ReloadInterval(Duration::from_millis(20));
        let mut config = config();
        config.tls = Some(tls);
        config
    }

    async fn connect(
        &self,
        server: &Running,
        alpn: &[&[u8]],
        certificate: Option<&(String, String)>,
    ) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut client = match certificate {
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = within(TcpStream::connect(server.address)).await?;
        let connector = TlsConnector::from(Arc::new(client));
        let stream = within(connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await?;
        Ok(Peer { stream })
    }
}

fn router() -> Router {
    Router::new().route(
        "/",
        on_get(|connection: Connection| async move {
            assert!(connection.is_tls());
            format!("{:?} {}", connection.protocol(), connection.client_certificates().len())
        }),
    )
}

#[tokio::test]
async fn the_protocol_is_negotiated() {
    let authority = Authority::new("alpn");
    authority.install(&authority.issue("localhost"));
    let server = start(&authority.config(ClientCertificates::None), router());

    for alpn in [&[][..], &[&b"http/1.1"[..]][..]] {
        let mut peer = authority.connect(&server, alpn, None).await.unwrap();
        peer.send(get("/")).await;
        assert_eq!(peer.answer().await.text(), "Http1 0");
    }
    // By ALPN, and with prior knowledge.
    for alpn in [&[&b"h2"[..], b"http/1.1"][..], &[][..]] {
        let mut peer = authority.connect(&server, alpn, None).await.unwrap();
        let chosen = peer.stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(chosen, alpn.first().map(|name| name.to_vec()));
        peer.send([PREFACE, &frame(4, 0, 0, &[])].concat()).await;
        let mut head = [0; 9];
        within(peer.stream.read_exact(&mut head)).await.unwrap();
        assert_eq!(head[3], 4, "SETTINGS");
    }
    // Who offers only what isn't spoken here learns it in the handshake.
    assert!(authority.connect(&server, &[b"spdy/3"], None).await.is_err());
    until(|| server.stats.snapshot().tls_failed == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn the_handler_of_a_peer_that_hangs_up_is_dropped() {
    let authority = Authority::new("hang-up");
    authority.install(&authority.issue("localhost"));
    let (router, mut told) = telling();
    let server = start(&authority.config(ClientCertificates::None), router);
    let mut peer = authority.connect(&server, &[], None).await.unwrap();
    peer.send(get("/wait")).await;
    assert_eq!(within(told.recv()).await, Some(true));
    drop(peer);
    assert_eq!(within(told.recv()).await, Some(false));
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_a_bad_one_is_refused() {
    let authority = Authority::new("reload");
    let (first, second) = (authority.issue("localhost"), authority.issue("localhost"));
    authority.install(&first);
    let server = start(&authority.config(ClientCertificates::None), router());
    let shown = async || {
        let peer = authority.connect(&server, &[], None).await.unwrap();
        peer.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let der = |(certificate, _): &(String, String)| {
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap().to_vec()
    };
    let mut old = authority.connect(&server, &[], None).await.unwrap();
    assert_eq!(shown().await, der(&first));

    // A key that doesn't belong to it; then no certificate at all.
    for bad in [(second.0.clone(), first.1.clone()), ("nonsense".to_owned(), second.1.clone())] {
        authority.install(&bad);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(shown().await, der(&first));
    }
    authority.install(&second);
    within(async { while shown().await != der(&second) {} }).await;
    // Connections that are open stay so.
    old.send(get("/")).await;
    assert_eq!(old.answer().await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_configured() {
    let authority = Authority::new("clients");
    authority.install(&authority.issue("localhost"));
    let (known, stranger) = (authority.issue("client"), Authority::new("strangers").issue("client"));
    let cases = [
        (ClientCertificates::None, None, Some("Http1 0")),
        (ClientCertificates::Optional, None, Some("Http1 0")),
        (ClientCertificates::Optional, Some(&known), Some("Http1 1")),
        (ClientCertificates::Optional, Some(&stranger), None),
        (ClientCertificates::Required, Some(&known), Some("Http1 1")),
        (ClientCertificates::Required, None, None),
        (ClientCertificates::Required, Some(&stranger), None),
    ];
    for (wanted, certificate, expected) in cases {
        let server = start(&authority.config(wanted), router());
        match expected {
            Some(expected) => {
                let mut peer = authority.connect(&server, &[], certificate).await.unwrap();
                peer.send(get("/")).await;
                assert_eq!(peer.answer().await.text(), expected, "{wanted:?}");
            }
            // In TLS 1.3 the client learns of it by its first read.
            None => {
                if let Ok(mut peer) = authority.connect(&server, &[], certificate).await {
                    peer.try_send(get("/")).await;
                    assert!(peer.rest().await.is_empty(), "{wanted:?}");
                }
                until(|| server.stats.snapshot().tls_failed == 1).await;
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn half_a_handshake_is_bounded() {
    let authority = Authority::new("half");
    authority.install(&authority.issue("localhost"));
    let mut config = authority.config(ClientCertificates::None);
    config.bounds.tls_handshake = Duration::from_millis(100);
    let server = start(&config, router());
    let mut peer = server.connect().await;
    peer.send([22, 3, 1, 2, 0, 1, 0]).await;
    peer.assert_closed().await;
    assert_eq!(server.stop().await.counted.timeouts.tls_handshake, 1);

    // And by the drain, where the bound is far away.
    let server = start(&authority.config(ClientCertificates::None), router());
    let mut peer = server.connect().await;
    peer.send([22, 3, 1, 2, 0, 1, 0]).await;
    until(|| server.stats.snapshot().accepted == 1).await;
    server.stop().await;
    peer.rest().await;
}

#[tokio::test]
async fn files_that_can_not_be_used_are_told_by_setting_and_path() {
    let authority = Authority::new("bad");
    let (certificate, key) = authority.issue("localhost");
    let cases = [
        (("".to_owned(), key.clone()), "server.tls.certificate_file", "cert.pem"),
        ((certificate.clone(), "x".to_owned()), "server.tls.key_file", "key.pem"),
        ((certificate, authority.issue("localhost").1), "server.tls.certificate_file", "cert.pem"),
    ];
    for (files, key, path) in cases {
        authority.install(&files);
        let error = Server::bind(&authority.config(ClientCertificates::None)).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(path), "{error}");
    }
    std::fs::remove_file(authority.folder.join("key.pem")).unwrap();
    let error = Server::bind(&authority.config(ClientCertificates::None)).unwrap_err().to_string();
    assert!(error.contains("server.tls.key_file") && error.contains("key.pem"), "{error}");
}
