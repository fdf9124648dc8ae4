//! An authority, the certificate of a server on the loopback address, and that of a client, as files.

use std::path::PathBuf;

use mainstay_discovery::registry::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // An authority is found by its name before its key is looked at.
        authority.distinguished_name.push(DnType::CommonName, folder.path().display().to_string());
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        write("ca.pem", authority.pem());
        let purposes = [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ];
        for (name, purpose) in purposes {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate().unwrap();
            write(&format!("{name}.pem"), params.signed_by(&key, &authority).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As it stands in arguments.
    #[cfg(any(feature = "etcd", feature = "nats", feature = "redis"))]
    pub(crate) fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// Trust in the authority.
    pub(crate) fn trusting(&self) -> Tls {
        let mut tls = Tls::default();
        tls.ca_file = Some(self.file("ca.pem"));
        tls
    }

    /// The same, and the client's certificate.
    pub(crate) fn showing(&self) -> Tls {
        let mut tls = self.trusting();
        tls.certificate_file = Some(self.file("client.pem"));
        tls.key_file = Some(self.file("client.key"));
        tls
    }
}
