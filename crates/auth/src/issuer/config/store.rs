use mainstay_core::config::{Duration, Secret};
use serde::{Deserialize, Serialize};

/// `[store]`: where codes, logins, refresh tokens, users and clients are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Store {
    /// A database of this provider's own, which its processes share: `sqlite:///var/lib/identity/provider.db` (feature
    /// `issuer-sqlite`) or `postgres://USER:PASSWORD@HOST/DATABASE` (`issuer-postgres`). Secret. Default: in memory, which ends with
    /// the process.
    pub url: Option<Secret>,
    /// So many connections it opens at most. Default 8; 1 to 100.
    pub connections: u32,
    /// How long one statement may take, the wait for a connection included; then whoever asked is told to come back. Default 3 s;
    /// 100 ms to 30 s.
    pub timeout: Duration,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: None, connections: 8, timeout: Duration::from_secs(3) }
    }
}

/// The schemes of its URLs, and the feature that each wants.
const BACKENDS: [(&str, &str, bool); 3] = [
    ("sqlite", "issuer-sqlite", cfg!(feature = "issuer-sqlite")),
    ("postgres", "issuer-postgres", cfg!(feature = "issuer-postgres")),
    ("postgresql", "issuer-postgres", cfg!(feature = "issuer-postgres")),
];

impl Store {
    /// The database at this URL.
    #[must_use]
    pub fn new(url: impl Into<Secret>) -> Self {
        Self { url: Some(url.into()), ..Self::default() }
    }

    pub(in crate::issuer) fn wrong(&self, reject: &mut impl FnMut(&str, &str)) {
        if let Some(url) = &self.url {
            let (scheme, rest) = url.expose().split_once(':').unwrap_or_default();
            match BACKENDS.iter().find(|(known, ..)| *known == scheme) {
                None => reject("url", "a URL that begins with `sqlite://` or `postgres://`"),
                Some((_, feature, false)) => {
                    let expected = format!(
                        "a program compiled with the feature `{feature}` of mainstay-auth, for such a URL"
                    );
                    reject("url", &expected);
                }
                // Each connection would have its own; and nothing is a parameter there.
                Some(("sqlite", ..))
                    if rest.trim_start_matches('/').is_empty() || rest.contains([':', '?', '#', '%']) =>
                {
                    reject("url", "`sqlite://` and the path of a file, without `:`, `?`, `#` and `%`");
                }
                Some(_) => {}
            }
        }
        if !(1..=100).contains(&self.connections) {
            reject("connections", "1 to 100");
        }
        if self.timeout < Duration::from_millis(100) || self.timeout > Duration::from_secs(30) {
            reject("timeout", "100ms to 30s");
        }
    }
}
