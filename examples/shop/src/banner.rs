//! What to try, once the shop is open.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use mainstay::Addresses;

use crate::identity::SHOPPER;

/// Prints the requests to try, where the door is in this process.
pub(crate) fn print(addresses: &Addresses) {
    if let Some(address) = addresses.of("gateway") {
        // Nobody is left to tell where standard output is closed.
        let _ = write(&mut io::stdout().lock(), reachable(address));
    }
}

fn write(out: &mut impl Write, address: SocketAddr) -> io::Result<()> {
    let url = format!("http://{address}");
    let order =
        r#"{"items":[{"sku":"mug","quantity":2},{"sku":"lamp","quantity":1}],"payment_token":"tok_visa"}"#;
    writeln!(out, "\nThe shop is open at {url}")?;
    let (id, secret) = SHOPPER;
    let token = "sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/'";
    writeln!(out, "\nSee what there is:")?;
    writeln!(out, "  curl {url}/products")?;
    writeln!(out, "\nGet a token (secrets that everybody knows, in the profile `dev` alone):")?;
    writeln!(
        out,
        "  TOKEN=$(curl --silent --user {id}:{secret} --data grant_type=client_credentials {url}/identity/token | {token})"
    )?;
    writeln!(out, "\nOrder, read the order back:")?;
    writeln!(out, "  curl --oauth2-bearer $TOKEN --json '{order}' {url}/orders")?;
    writeln!(out, "  curl --oauth2-bearer $TOKEN '{url}/orders?limit=1'")?;
    writeln!(out, "\nWatch orders come in (in another terminal):")?;
    writeln!(out, "  curl --oauth2-bearer $TOKEN --no-buffer {url}/orders/events")?;
    writeln!(out, "\nCtrl-C closes it.\n")?;
    out.flush()
}

/// Where somebody on this machine reaches a listener of all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip == Ipv4Addr::UNSPECIFIED => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        ip if ip == Ipv6Addr::UNSPECIFIED => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_all_addresses_is_reached_on_this_machine() {
        for (listens, reached) in
            [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:80", "[::1]:80"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            assert_eq!(reachable(listens.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
