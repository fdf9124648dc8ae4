//! The table `client.tls`.

use std::path::PathBuf;

use mainstay_core::config::{Duration, Findings, Section};

use crate::config::layered::layered;

layered! {
    /// The table `client.tls`: TLS to endpoints that speak it. The files are PEM; a change of any of them is taken up
    /// by the connections that are opened after it, and refused as a whole, with one log line, when it is not valid.
    values {
        /// The authorities that sign the certificates of endpoints. Default: those that the platform trusts.
        ca_file: Option<PathBuf> = None,
        /// The certificate chain that is shown to endpoints, the client's own first. Default: none is shown.
        certificate_file: Option<PathBuf> = None,
        /// Its private key (PKCS#8, PKCS#1 or SEC1).
        key_file: Option<PathBuf> = None,
        /// The name that certificates of endpoints must be for, where that is not the host of their address; it is also
        /// sent (SNI). Default: that host. A Unix socket has none.
        server_name: Option<String> = None,
        /// How often the files are looked at. Default `10s`; `0s` never.
        reload_interval: Duration = Duration::from_secs(10),
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.certificate_file.is_some() != self.key_file.is_some() {
            let missing = if self.key_file.is_none() { "key_file" } else { "certificate_file" };
            findings.reject(missing, "a file, since certificate and key are used together");
        }
        #[cfg(feature = "tls")]
        if let Some(name) = &self.server_name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            findings.reject("server_name", "a DNS name or an IP address");
        }
        #[cfg(not(feature = "tls"))]
        if *self != Self::default() {
            findings.reject("", "nothing: this program was built without the feature `tls`");
        }
    }
}
