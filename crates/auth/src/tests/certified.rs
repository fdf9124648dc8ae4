//! Clients known by their certificates, over real TLS.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

use axum::{Router, routing::get};
use jsonwebtoken::Algorithm;
use mainstay_core::{
    lifecycle::Drain,
    server::{self, ClientCertificates, Server},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{AuthenticateLayer, Means, certificate};

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
type Own = (String, String);

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn der((certificate, _): &Own) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, names: impl IntoIterator<Item = SanType>) -> Own {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.into_iter().collect();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Serves `router` to whoever shows a certificate of this authority, or none.
    fn serve(&self, folder: &std::path::Path, router: Router, tasks: &Tasks) -> SocketAddr {
        let (certificate, key) = self.issue([dns("localhost")]);
        for (name, content) in [("ca.pem", self.0.pem()), ("cert.pem", certificate), ("key.pem", key)] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        let mut tls = server::Tls::default();
        tls.certificate_file = folder.join("cert.pem");
        tls.key_file = folder.join("key.pem");
        tls.client_certificates = ClientCertificates::Optional;
        tls.client_ca_file = Some(folder.join("ca.pem"));
        let mut config = server::Config::default();
        config.address = "127.0.0.1:0".parse().unwrap();
        config.tls = Some(tls);
        let server = Server::bind(&config).unwrap();
        let address = server.local_addr().unwrap();
        tasks.spawn_detached(async move {
            let (_drainer, drain) = Drain::channel();
            server.serve(move |_| router.clone(), drain).await
        });
        address
    }

    /// The answers to `requests`, on one connection: the token of each, if it has one.
    async fn ask(&self, address: SocketAddr, own: Option<&Own>, requests: &[Option<&str>]) -> Vec<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(mainstay_core::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let client = match own {
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.1.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![der(own)], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let mut answers = Vec::new();
        for token in requests {
            let mut request =
                "GET / HTTP/1.1\r\nhost: localhost\r\nx-client-cert: spiffe://example.org/root\r\n"
                    .to_owned();
            if let Some(token) = token {
                write!(request, "authorization: Bearer {token}\r\n").unwrap();
            }
            request.push_str("\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            while !answer.contains('}') && !answer.ends_with('.') {
                let mut bytes = [0; 4096];
                let read = stream.read(&mut bytes).await.unwrap();
                assert_ne!(read, 0, "{answer}");
                answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            }
            let status = answer.split(' ').nth(1).unwrap().to_owned();
            answers.push(match answer.split_once("\r\n\r\n") {
                Some((_, body)) if status == "200" => body.to_owned(),
                _ => status,
            });
        }
        answers
    }
}

fn app(verifier: &Verifier) -> Router {
    let who = |who: Principal| async move {
        format!("{} {} of {}.", who.means().name(), who.subject().unwrap(), who.issuer())
    };
    Router::new().route("/", get(who)).layer(AuthenticateLayer::new(verifier.clone()))
}

fn config() -> Config {
    let mut config = Config::new([AUDIENCE]);
    config.certificates =
        certificate::Config::spiffe(["example.org"]).with_dns_names(["billing.example", ".svc.example"]);
    config
}

#[tokio::test]
async fn who_shows_a_certificate_is_who_it_says_if_that_is_configured() {
    let (authority, tasks, folder) = (Authority::new(), Tasks::new(), tempfile::tempdir().unwrap());
    let verifier = opened(config()).await;
    let address = authority.serve(folder.path(), app(&verifier), &tasks);
    let orders = "spiffe://example.org/ns/shop/sa/orders";
    let is_orders = "certificate spiffe://example.org/ns/shop/sa/orders of spiffe://example.org.";
    let is = |name: &str| format!("certificate {name} of urn:mainstay:client-certificates.");
    for (names, expected) in [
        (vec![uri(orders)], is_orders.to_owned()),
        (vec![uri(orders), dns("elsewhere.example")], is_orders.to_owned()),
        (vec![dns("billing.example")], is("billing.example")),
        (vec![dns("a.svc.example")], is("a.svc.example")),
        // Exactly one, of what is trusted, and nothing else.
        (vec![uri(orders), uri("spiffe://example.org/other")], "401".to_owned()),
        (vec![uri(orders), uri("https://example.org/")], "401".to_owned()),
        (vec![uri("spiffe://other.example/orders")], "401".to_owned()),
        (vec![uri("spiffe://example.org")], "401".to_owned()),
        (vec![uri("https://example.org/x"), dns("billing.example")], "401".to_owned()),
        (vec![dns("billing.example"), dns("a.svc.example")], "401".to_owned()),
        (vec![dns("elsewhere.example")], "401".to_owned()),
        (vec![dns("*.svc.example")], "401".to_owned()),
        (vec![], "401".to_owned()),
    ] {
        let own = authority.issue(names.clone());
        let answers = authority.ask(address, Some(&own), &[None, None]).await;
        assert_eq!(answers, [expected.as_str(), expected.as_str()], "{names:?}");
        let owner = verifier.certificate(&der(&own));
        assert_eq!(owner.is_some(), expected != "401");
        assert!(
            owner
                .is_none_or(|owner| owner.means() == Means::Certificate && owner.client() == owner.subject())
        );
    }
    assert_eq!(authority.ask(address, None, &[None]).await, ["401"], "what a field says is nothing");
    tasks.stop(Duration::ZERO).await.ok();
}

#[tokio::test]
async fn a_certificate_is_read_once_a_connection_by_each_who_trusts_it() {
    let (authority, tasks, folder) = (Authority::new(), Tasks::new(), tempfile::tempdir().unwrap());
    let (first, second) = (opened(config()).await, opened(config()).await);
    let nobody = opened(Config::new([AUDIENCE])).await;
    let seen = Arc::<std::sync::Mutex<Vec<Principal>>>::default();
    let note = |seen: &Arc<std::sync::Mutex<Vec<Principal>>>| {
        let seen = Arc::clone(seen);
        async move |who: Principal| {
            seen.lock().unwrap().push(who);
            "{}"
        }
    };
    // The second verifier stands in the way of the first, on the same connection.
    let inner = Router::new().route("/", get(note(&seen))).layer(AuthenticateLayer::new(first.clone()));
    let inner = inner.layer(AuthenticateLayer::new(second.clone()));
    let address = authority.serve(folder.path(), inner, &tasks);
    let own = authority.issue([uri("spiffe://example.org/a")]);
    for _ in 0..2 {
        assert_eq!(authority.ask(address, Some(&own), &[None, None, None]).await, ["{}", "{}", "{}"]);
    }
    let seen = seen.lock().unwrap().clone();
    let is_same = |one: usize, other: usize| Arc::ptr_eq(&seen[one].0, &seen[other].0);
    assert!(seen.iter().all(|who| who.subject() == Some("spiffe://example.org/a")));
    assert!(is_same(0, 1) && is_same(1, 2) && is_same(3, 4) && is_same(4, 5), "read again");
    assert!(!is_same(0, 3), "another connection");

    // What one of them takes is not what another one takes.
    let address = authority.serve(folder.path(), app(&nobody).layer(AuthenticateLayer::new(first)), &tasks);
    assert_eq!(authority.ask(address, Some(&own), &[None, None]).await, ["401", "401"]);
    tasks.stop(Duration::ZERO).await.ok();
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_is_good_with_that_alone() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let (authority, tasks, folder) = (Authority::new(), Tasks::new(), tempfile::tempdir().unwrap());
    let signer = Signer::new("k", Algorithm::EdDSA);
    let config = config().with_issuer("main", Issuer::new(ISSUER).with_jwks(jwks(&[&signer])));
    let verifier = opened(config).await;
    let address = authority.serve(folder.path(), app(&verifier), &tasks);
    let (own, other) =
        (authority.issue([uri("spiffe://example.org/a")]), authority.issue([dns("nobody.example")]));
    let digest = |own: &Own| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der(own));
        URL_SAFE_NO_PAD.encode(hash.as_ref())
    };
    let with = |confirmation: Value| signer.token_with(|_, claims| claims["cnf"] = confirmation.clone());
    let bound = with(json!({ "x5t#S256": digest(&own) }));
    let alice = "bearer alice of https://id.example.";

    // At the first sight and at later ones; whoever shows the token goes before who shows the certificate.
    assert_eq!(authority.ask(address, Some(&own), &[Some(&bound), Some(&bound)]).await, [alice, alice]);
    assert_eq!(authority.ask(address, Some(&other), &[Some(&bound)]).await, ["401"]);
    assert_eq!(authority.ask(address, None, &[Some(&bound)]).await, ["401"]);
    assert_eq!(authority.ask(address, Some(&own), &[Some(&bound)]).await, [alice], "it is still remembered");
    assert_eq!(authority.ask(address, Some(&own), &[Some(&signer.token())]).await, [alice]);
    assert_eq!(
        authority.ask(address, Some(&own), &[Some("a.b.c")]).await,
        ["401"],
        "not who the certificate is"
    );

    let certificate = der(&own);
    assert!(verifier.known(&bound).is_none(), "without a certificate it is not known");
    assert_eq!(verifier.verify(&bound).await.unwrap_err(), Refusal::SenderConstrained);
    assert!(verifier.verify_with(&bound, Some(&certificate)).await.unwrap().is_bound());
    for confirmation in [
        json!({}),
        json!({ "x5t#S256": digest(&other) }),
        json!({ "x5t#S256": "" }),
        json!({ "x5t#S256": 7 }),
        json!({ "x5t#S256": format!("{}=", digest(&own)) }),
        json!({ "x5t": digest(&own) }),
        json!({ "jkt": digest(&own) }),
        json!({ "x5t#S256": digest(&own), "jkt": "x" }),
    ] {
        let token = with(confirmation.clone());
        let refused = verifier.verify_with(&token, Some(&certificate)).await.unwrap_err();
        assert_eq!(refused, Refusal::SenderConstrained, "{confirmation}");
    }
    tasks.stop(Duration::ZERO).await.ok();
}

#[tokio::test]
async fn what_is_no_certificate_is_nobodys() {
    let authority = Authority::new();
    let own = der(&authority.issue([uri("spiffe://example.org/a")]));
    let verifier = opened(config()).await;
    assert!(verifier.certificate(&own).is_some());
    for end in 0..own.len() {
        assert!(verifier.certificate(&own[..end]).is_none());
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut bytes = own.to_vec();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(..);
        }
        // Nothing was verified here: only that it is read without harm.
        let _ = verifier.certificate(&bytes);
    }
    assert!(opened(Config::new([AUDIENCE])).await.certificate(&own).is_none(), "nothing was configured");
}

#[test]
fn wrong_values_of_certificates_are_named() {
    let wrong = |config: certificate::Config| {
        let mut all = Config::new([AUDIENCE]);
        all.certificates = config;
        all.wrong().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(wrong(certificate::Config::spiffe(["example.org"])), Vec::<String>::new());
    for domain in ["", "spiffe://example.org", "Example.org", "a/b"] {
        assert_eq!(wrong(certificate::Config::spiffe([domain])), ["certificates.trust_domains"], "{domain}");
    }
    for name in ["", ".", "*.example", "A.example", "a b"] {
        let config = certificate::Config::default().with_dns_names([name]);
        assert_eq!(wrong(config), ["certificates.dns_names"], "{name}");
    }
}
