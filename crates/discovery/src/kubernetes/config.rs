//! The settings of Kubernetes.

use std::path::PathBuf;

use mainstay_core::config::{Duration, Findings};
use serde::{Deserialize, Serialize};

use crate::origin::Origin;

/// Where a pod finds what its service account gives it.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The table `[discovery.kubernetes]`. In a pod nothing of it has to be set.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The API server. Default: that of the cluster that this pod is in. `http://127.0.0.1:8001` is `kubectl proxy`;
    /// without TLS no token is sent.
    pub server: Option<Origin>,
    /// The namespace of the services. Default: that of this pod.
    pub namespace: Option<String>,
    /// The name of the port that is called. Default: the only one, or that called `http` where there are several.
    pub port: Option<String>,
    /// The token that is shown to the server, read anew for each request, as it is rotated.
    pub token_file: PathBuf,
    /// The certificates of the authorities that may sign the server's, as PEM, read anew for each connection.
    pub ca_file: PathBuf,
    /// How long the server may take to begin its answer. Default 5 s.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let account = PathBuf::from(ACCOUNT);
        Self {
            server: None,
            namespace: None,
            port: None,
            token_file: account.join("token"),
            ca_file: account.join("ca.crt"),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    pub(crate) fn check(&self, findings: &mut Findings) {
        if self.timeout.is_zero() {
            findings.reject("timeout", "more than 0s");
        }
        // RFC 1123 labels, which is what Kubernetes takes: they stand in a path.
        let in_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if let Some(namespace) = &self.namespace
            && (namespace.is_empty() || namespace.len() > 63 || !namespace.bytes().all(in_label))
        {
            findings.reject("namespace", "the name of a namespace: a-z, 0-9 and `-`, at most 63");
        }
    }
}

/// Where the namespace of this pod stands.
#[cfg(feature = "kubernetes")]
pub(super) fn own_namespace() -> PathBuf {
    PathBuf::from(ACCOUNT).join("namespace")
}
