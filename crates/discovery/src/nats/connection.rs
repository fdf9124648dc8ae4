//! The connection to the servers, and the bucket.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        context::GetStreamErrorKind,
        stream::{self, DiscardPolicy, Info, Stream},
    },
};
use tokio::sync::{OnceCell, watch};

use super::{backend::Nats, config::Config};
use crate::{
    registry::Unusable,
    remote::backend::{Backend as _, Failure, Timing},
};

#[derive(Debug)]
pub(super) struct Bucket {
    config: Config,
    /// The content of `credentials_file`.
    credentials: Option<mainstay_core::config::Secret>,
    timing: Timing,
    client: OnceCell<Client>,
    /// Counts how often the connection was lost: what followed it has to begin anew, since a bucket that was made
    /// anew in the meantime counts from one again.
    lost: watch::Sender<u64>,
    /// Whether the bucket was there when it was last looked at.
    is_there: AtomicBool,
}

impl Bucket {
    /// # Errors
    /// [`Unusable`] when the file with the credentials can't be read.
    pub(super) fn new(config: &Config, timing: Timing) -> Result<Self, Unusable> {
        let read = |path: &std::path::PathBuf| {
            fs::read_to_string(path).map(Into::into).map_err(|error| Unusable {
                registry: Nats::NAME,
                what: format!("`discovery.nats.credentials_file` ({}) can't be read", path.display()),
                source: Some(error.into()),
            })
        };
        let credentials = config.credentials_file.as_ref().map(read).transpose()?;
        let (client, lost, is_there) = (OnceCell::new(), watch::Sender::new(0), AtomicBool::new(false));
        Ok(Self { config: config.clone(), credentials, timing, client, lost, is_there })
    }

    /// Told at each loss of the connection from now on.
    pub(super) fn lost(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// The subject of a key, or of all keys with a wildcard.
    pub(super) fn subject(&self, service: &str, id: &str) -> String {
        format!("$KV.{}.{service}.{id}", self.config.bucket)
    }

    /// The bucket, made where it is not there.
    pub(super) async fn context(&self) -> Result<Context, Failure> {
        let context = self.connected().await?;
        if !self.is_there.load(Ordering::Relaxed) {
            self.stream().await?;
        }
        Ok(context)
    }

    /// The bucket's stream as it is now; made where it is not there.
    pub(super) async fn stream(&self) -> Result<Stream<Info>, Failure> {
        let context = self.connected().await?;
        let name = format!("KV_{}", self.config.bucket);
        let stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error.kind()) => {
                let made = context.create_stream(self.definition(name)).await;
                made.map_err(|error| Failure::of("making the bucket", &error))?
            }
            Err(error) => return Err(Failure::of("opening the bucket", &error)),
        };
        let kept = stream.cached_info().config.max_age;
        if kept < self.timing.ttl {
            let (bucket, ttl) = (&self.config.bucket, self.config.ttl);
            let kept = if kept.is_zero() { "for ever".to_owned() } else { format!("for {kept:?}") };
            return Err(Failure::new(format_args!(
                "the bucket `{bucket}` keeps its entries {kept}: expected a bucket with a maximum age of {ttl} \
                 (`discovery.nats.ttl`) or longer"
            )));
        }
        self.is_there.store(true, Ordering::Relaxed);
        Ok(stream)
    }

    /// Something failed: the bucket is looked at again before it is next used.
    pub(super) fn doubt(&self) {
        self.is_there.store(false, Ordering::Relaxed);
    }

    async fn connected(&self) -> Result<Context, Failure> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        // What is asked for without a connection is kept to be sent later, when it may no longer be true.
        if client.connection_state() != State::Connected {
            return Err(Failure::new("there is no connection"));
        }
        let mut context = jetstream::new(client.clone());
        context.set_timeout(self.timing.timeout);
        Ok(context)
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let (config, lost) = (&self.config, self.lost.clone());
        let mut options = ConnectOptions::new()
            .name("mainstay")
            .connection_timeout(self.timing.timeout)
            .request_timeout(Some(self.timing.timeout))
            .ping_interval(self.timing.probe())
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let attempts = u32::try_from(attempts).unwrap_or(u32::MAX).min(20);
                (Duration::from_millis(100) * attempts).mul_f64(0.5 + 0.5 * fastrand::f64())
            })
            // That a server is away is told by those who wait for it, once.
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Connected) {
                    lost.send_modify(|lost| *lost = lost.wrapping_add(1));
                }
                tracing::debug!(%event, "nats");
                std::future::ready(())
            });
        if let (Some(user), Some(password)) = (&config.user, &config.password) {
            options = options.user_and_password(user.clone(), password.expose().clone());
        }
        if let Some(token) = &config.token {
            options = options.token(token.expose().clone());
        }
        if let Some(credentials) = &self.credentials {
            let read = options.credentials(credentials.expose());
            options =
                read.map_err(|error| Failure::of("reading `discovery.nats.credentials_file`", &error))?;
        }
        if let Some(ca) = &config.tls.ca_file {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(certificate), Some(key)) = (&config.tls.certificate_file, &config.tls.key_file) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let client = options.connect(config.servers.as_slice()).await;
        client.map_err(|error| {
            use async_nats::ConnectErrorKind::{Authentication, AuthorizationViolation};
            let refused = matches!(error.kind(), Authentication | AuthorizationViolation);
            let keys = "`user` and `password`, `token` or `credentials_file`";
            Failure::of("connecting", &error).explained(Nats::NAME, refused.then_some(keys))
        })
    }

    /// A stream as key-value buckets are (NATS ADR-8). Made by hand: the client's own way wants to know things of the
    /// account that servers before 2.10 don't tell.
    fn definition(&self, name: String) -> stream::Config {
        stream::Config {
            name,
            description: Some("endpoints of services".to_owned()),
            subjects: vec![format!("$KV.{}.>", self.config.bucket)],
            max_messages_per_subject: 1,
            max_age: self.timing.ttl,
            duplicate_window: self.timing.ttl.min(Duration::from_secs(120)),
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            num_replicas: self.config.replicas,
            ..stream::Config::default()
        }
    }
}

fn is_missing(error: &GetStreamErrorKind) -> bool {
    matches!(error, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
