//! What both sides of TLS share: PEM files that settings name, and what is made of them, made anew when they change.
//!
//! The server and the client build their rustls configurations from it; so can other connections, to a broker or a
//! database. Don't use it where certificates come from anywhere else than files.
//!
//! ```
//! use mainstay_core::tls::{Pem, Recipe, Reloaded, Unusable};
//! use rustls::RootCertStore;
//!
//! #[derive(Debug)]
//! struct Authorities(std::path::PathBuf);
//!
//! impl Recipe for Authorities {
//!     type Files = Pem;
//!     type Made = RootCertStore;
//!
//!     fn read(&self) -> Result<Pem, Unusable> {
//!         Pem::read("broker.ca_file", &self.0)
//!     }
//!
//!     fn make(&self, file: &Pem) -> Result<RootCertStore, Unusable> {
//!         file.authorities()
//!     }
//! }
//!
//! let missing = Reloaded::new(Authorities("/no/such/ca.pem".into())).unwrap_err();
//! assert_eq!(missing.to_string(), "broker.ca_file (/no/such/ca.pem): No such file or directory (os error 2)");
//! ```

mod reload;

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

pub use self::reload::{Recipe, Reloaded};

/// The cryptography of all TLS here.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A PEM file, as it was read. Its content is not shown: it may be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    setting: Cow<'static, str>,
    path: PathBuf,
    content: Vec<u8>,
}

/// A file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} ({}): {what}", .path.display())]
#[non_exhaustive]
pub struct Unusable {
    /// The setting that names it, such as `server.tls.key_file`.
    pub setting: Cow<'static, str>,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

impl Unusable {
    /// Says so of a file.
    pub fn new(
        setting: impl Into<Cow<'static, str>>,
        path: impl Into<PathBuf>,
        what: impl Into<String>,
    ) -> Self {
        Self { setting: setting.into(), path: path.into(), what: what.into() }
    }
}

impl Pem {
    /// Reads the file that `setting` names. Blocks.
    ///
    /// # Errors
    /// [`Unusable`] when it can't be read.
    pub fn read(setting: impl Into<Cow<'static, str>>, path: &Path) -> Result<Self, Unusable> {
        let setting = setting.into();
        match std::fs::read(path) {
            Ok(content) => Ok(Self { setting, path: path.to_owned(), content }),
            Err(error) => Err(Unusable { setting, path: path.to_owned(), what: error.to_string() }),
        }
    }

    /// The certificates in it, in their order.
    ///
    /// # Errors
    /// [`Unusable`] where it is not PEM, or has none.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.content).collect();
        match chain {
            Ok(chain) if chain.is_empty() => Err(self.unusable("no certificate in PEM form")),
            Ok(chain) => Ok(chain),
            Err(error) => Err(self.unusable(format_args!("not PEM: {error}"))),
        }
    }

    /// The private key in it (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// [`Unusable`] where there is none.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, Unusable> {
        PrivateKeyDer::from_pem_slice(&self.content)
            .map_err(|error| self.unusable(format_args!("no private key in PEM form: {error}")))
    }

    /// Its certificates as those that are trusted to sign others.
    ///
    /// # Errors
    /// [`Unusable`] where there is none, or one can't be read.
    pub fn authorities(&self) -> Result<RootCertStore, Unusable> {
        let mut roots = RootCertStore::empty();
        for authority in self.certificates()? {
            roots.add(authority).map_err(|error| self.unusable(error))?;
        }
        Ok(roots)
    }

    /// Says of this file what is wrong with it.
    pub fn unusable(&self, what: impl fmt::Display) -> Unusable {
        Unusable { setting: self.setting.clone(), path: self.path.clone(), what: what.to_string() }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem")
            .field("setting", &self.setting)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
