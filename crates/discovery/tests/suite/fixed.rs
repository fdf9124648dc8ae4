//! Endpoints of the configuration. A process knows what was written when it started, so nothing that comes and goes is
//! promised: the cases are those of the others with everything written before.

use std::fmt::Write as _;

use mainstay_core::config::{
    Loader,
    figment::providers::{Format as _, Toml},
};
use mainstay_discovery::{Config, Endpoint, Health, Protocol, Resolve as _, fixed::Fixed};

use crate::world::{A, B, Book, Promises, endpoint, hosts, name};

/// Of what is written, here and in a file.
pub(crate) const PROMISES: Promises = Promises { health: false, metadata: false, ..Promises::ALL };

/// As it stands in the configuration, and in a file.
pub(crate) fn toml(book: &Book) -> String {
    let mut text = String::new();
    for (service, endpoints) in book.services() {
        writeln!(text, "{service} = [").unwrap();
        for endpoint in endpoints {
            let zone = endpoint.zone().map(|zone| format!(", zone = \"{zone}\"")).unwrap_or_default();
            let (place, weight) = (endpoint.place(), endpoint.weight());
            writeln!(text, "    {{ address = \"{place}\", weight = {weight}{zone} }},").unwrap();
        }
        writeln!(text, "]").unwrap();
    }
    text
}

fn configured(book: &Book) -> Fixed {
    let text = format!("[discovery.static]\n{}", toml(book));
    let loaded = Loader::new().source(Toml::string(&text)).tree::<Config>("discovery").load().unwrap();
    Fixed::from(&loaded.get::<Config>("discovery").fixed)
}

#[test]
fn what_is_written_is_seen() {
    let book = Book::default();
    let said = Endpoint::tcp(A, 8443)
        .with_tls(true)
        .with_protocol(Protocol::Http2)
        .with_weight(7)
        .with_zone("north")
        .with_health(Health::Draining)
        .with_metadata("build", "7");
    book.add(name("orders"), said.clone());
    let watch = configured(&book).resolve(&name("orders"));
    assert!(watch.is_settled());
    assert_eq!(*watch.snapshot(), [PROMISES.kept(&said)]);
}

#[test]
fn known_names_are_told_and_others_are_settled_and_empty() {
    let book = Book::default();
    for (service, host) in [("orders", A), ("orders", B), ("stock", A)] {
        book.add(name(service), endpoint(host));
    }
    let fixed = configured(&book);
    assert_eq!(fixed.known(), [name("orders"), name("stock")]);
    assert_eq!(hosts(&fixed.resolve(&name("orders"))), [A, B]);
    let nobody = fixed.resolve(&name("nobody"));
    assert!(nobody.is_settled() && nobody.snapshot().is_empty());
}

#[test]
fn thousands_of_endpoints_are_listed() {
    let book = Book::default();
    for n in 0..2000 {
        book.add(name("orders"), endpoint(&format!("10.1.{}.{}", n / 250, n % 250)));
    }
    assert_eq!(configured(&book).resolve(&name("orders")).snapshot().len(), 2000);
}
