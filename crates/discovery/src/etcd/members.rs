//! The members of a cluster: one is used, and when it fails the next one.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    backend::Etcd,
    config::Config,
    protocol::{AuthenticateRequest, auth_client::AuthClient},
};
use crate::{
    registry::Unusable,
    remote::backend::{Backend as _, Failure, Timing},
};

pub(super) struct Members {
    channels: Vec<Channel>,
    current: AtomicUsize,
    credentials: Option<(String, mainstay_core::config::Secret)>,
    /// What was got for the credentials; until it is refused.
    token: Mutex<Option<MetadataValue<Ascii>>>,
}

/// A request to the current member. When it is dropped before it succeeded, because it failed or took too long, the
/// next one goes to another member.
pub(super) struct Attempt<'a> {
    members: &'a Members,
    index: usize,
    went_well: bool,
}

impl Members {
    /// # Errors
    /// [`Unusable`] when a file of `tls` can't be read, or holds something else.
    pub(super) fn new(config: &Config, timing: Timing) -> Result<Self, Unusable> {
        let tls = tls(config)?;
        let channel = |address: &String| {
            let endpoint = Endpoint::from_shared(address.clone()).and_then(|endpoint| {
                let endpoint = endpoint
                    .connect_timeout(timing.timeout)
                    .http2_keep_alive_interval(timing.probe())
                    .keep_alive_timeout(timing.timeout)
                    .keep_alive_while_idle(true)
                    .tcp_nodelay(true);
                if address.starts_with("https://") { endpoint.tls_config(tls.clone()) } else { Ok(endpoint) }
            });
            let endpoint = endpoint.map_err(|error| Unusable {
                registry: Etcd::NAME,
                what: format!("`discovery.etcd.endpoints` ({address}) or `discovery.etcd.tls`"),
                source: Some(error.into()),
            })?;
            Ok(endpoint.connect_lazy())
        };
        let channels: Vec<_> = config.endpoints.iter().map(channel).collect::<Result<_, _>>()?;
        // Processes that start together don't all ask the first member.
        let current = AtomicUsize::new(fastrand::usize(..channels.len().max(1)));
        let credentials = config.user.clone().zip(config.password.clone());
        Ok(Self { channels, current, credentials, token: Mutex::default() })
    }

    pub(super) fn attempt(&self) -> Attempt<'_> {
        let index = self.current.load(Ordering::Relaxed);
        Attempt { members: self, index, went_well: false }
    }
}

impl Attempt<'_> {
    /// The channel to the member.
    ///
    /// # Errors
    /// [`Failure`] when none is configured.
    pub(super) fn channel(&self) -> Result<Channel, Failure> {
        let channels = &self.members.channels;
        let channel = channels.get(self.index % channels.len().max(1)).cloned();
        channel.ok_or_else(|| Failure::new("no endpoints are configured"))
    }

    /// A request with the token, where the cluster wants one.
    ///
    /// # Errors
    /// [`Failure`] when the credentials are refused.
    pub(super) async fn request<T>(&self, message: T) -> Result<Request<T>, Failure> {
        let mut request = Request::new(message);
        if let Some(token) = self.token().await? {
            request.metadata_mut().insert("token", token);
        }
        Ok(request)
    }

    /// The member did what was asked for.
    pub(super) fn done<T>(mut self, value: T) -> T {
        self.went_well = true;
        value
    }

    /// What a member answered instead.
    pub(super) fn failed(&self, what: &str, status: &Status) -> Failure {
        if status.code() == Code::Unauthenticated {
            *self.members.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let refused = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => true,
            // etcd says so of wrong credentials, and where it wants some and was shown none.
            Code::InvalidArgument => {
                status.message().contains("authentication failed")
                    || status.message().contains("user name is empty")
            }
            _ => false,
        };
        Failure::of(what, status).explained(Etcd::NAME, refused.then_some("`user` and `password`"))
    }

    async fn token(&self) -> Result<Option<MetadataValue<Ascii>>, Failure> {
        let Some((name, password)) = &self.members.credentials else { return Ok(None) };
        if let Some(token) = self.members.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(Some(token));
        }
        let request = AuthenticateRequest { name: name.clone(), password: password.expose().clone() };
        let answer = AuthClient::new(self.channel()?)
            .authenticate(request)
            .await
            .map_err(|status| self.failed("authenticating", &status))?;
        let mut token: MetadataValue<Ascii> =
            answer.into_inner().token.parse().map_err(|_| Failure::new("the token is not printable"))?;
        token.set_sensitive(true);
        *self.members.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(Some(token))
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.went_well {
            let next = (self.index + 1) % self.members.channels.len().max(1);
            // Somebody else may have moved on already.
            let _ =
                self.members.current.compare_exchange(self.index, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("members", &self.channels.len()).finish_non_exhaustive()
    }
}

fn tls(config: &Config) -> Result<ClientTlsConfig, Unusable> {
    let read = |key: &str, path: &Path| {
        fs::read(path).map_err(|error| Unusable {
            registry: Etcd::NAME,
            what: format!("`discovery.etcd.tls.{key}` ({}) can't be read", path.display()),
            source: Some(error.into()),
        })
    };
    let settings = &config.tls;
    let mut tls = match &settings.ca_file {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca_file", ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&settings.certificate_file, &settings.key_file) {
        tls =
            tls.identity(Identity::from_pem(read("certificate_file", certificate)?, read("key_file", key)?));
    }
    Ok(tls)
}
