//! What the engine wants of a server that keeps registrations.

use std::{fmt, future::Future, time::Duration};

use mainstay_core::error::Report;

use super::changes::Changes;
use crate::{Endpoint, ServiceName};

/// A server that keeps entries by name for a time to live. Every method may be dropped at any await; the engine bounds
/// how long each may take, and repeats what failed.
pub(crate) trait Backend: Send + Sync + 'static {
    /// What it is called: `etcd`.
    const NAME: &'static str;

    /// Why the server would refuse what is said of `endpoint`, beyond what no server takes.
    fn misfit(&self, _endpoint: &Endpoint) -> Option<&'static str> {
        None
    }

    /// Tells `changes` the entries of `service`, all of them first, then what changes, until that fails.
    ///
    /// While nothing changes it asks the server at least every [`Timing::probe`] and says so by [`Changes::heard`]: a
    /// server that is silent for longer is left.
    fn follow(&self, service: &ServiceName, changes: &Changes) -> impl Future<Output = Failure> + Send;

    /// Writes the entry, in the place of one with the same id, for the time to live.
    fn put(&self, entry: &Entry) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Lets the entry live for another time to live. False where the server no longer has it: it has to be put anew.
    fn renew(&self, entry: &Entry) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Removes the entry; one that is not there is none to remove.
    fn delete(&self, entry: &Entry) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The names that have entries, as far as they can be told: at most `at_most`, malformed ones included.
    fn names(&self, at_most: usize) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;
}

/// One registration, as it is written.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) service: ServiceName,
    /// Unlike that of any other registration: positive, by chance.
    pub(crate) number: i64,
    /// The number, as it stands in keys.
    pub(crate) id: String,
    /// The record as JSON.
    pub(crate) value: String,
}

/// The times that hold between us and a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How long the server keeps an entry that is not renewed.
    pub(crate) ttl: Duration,
    /// How long one request may take.
    pub(crate) timeout: Duration,
}

impl Timing {
    /// How long a follower may leave a server unasked.
    pub(crate) fn probe(self) -> Duration {
        (self.ttl / 4).min(Duration::from_secs(5))
    }

    /// How long a server may be silent before its follower starts anew.
    pub(super) fn silence(self) -> Duration {
        self.probe() + self.timeout
    }

    /// Until the next renewal: a third of the time to live at most, so that two may fail. With jitter: processes
    /// that were started together don't stay together.
    pub(super) fn renewal(self) -> Duration {
        (self.ttl / 3).mul_f64(0.75 + 0.25 * fastrand::f64())
    }

    /// How long a withdrawal may try.
    pub(super) fn withdrawal(self) -> Duration {
        2 * self.timeout
    }
}

/// Why something did not go well, for people: the error and its causes, cut to what fits a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(String);

/// The longest text that is kept of an error, in characters: a server can write what it likes into one.
const LONGEST: usize = 300;

impl Failure {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let printable = |char: char| if char.is_control() { ' ' } else { char };
        Self(text.chars().take(LONGEST).map(printable).collect())
    }

    /// `what` did not work because of `error`.
    pub(crate) fn of(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(format_args!("{what}: {}", Report::new(error)))
    }

    /// With the settings that it has to do with: those of the credentials where they were refused, those of TLS where it
    /// is about certificates. The libraries below have no types for the latter.
    pub(crate) fn explained(mut self, registry: &str, refused: Option<&str>) -> Self {
        let text = self.0.to_ascii_lowercase();
        if let Some(keys) = refused {
            self.0 +=
                &format!("; expected credentials that the server accepts: {keys} of `discovery.{registry}`");
        } else if text.contains("certificate") || text.contains("tls") {
            self.0 += &format!(
                "; expected certificates that both sides accept: `ca_file`, `certificate_file` and `key_file` of \
                 `discovery.{registry}.tls`"
            );
        }
        self
    }

    /// `what` was not answered in time.
    pub(crate) fn elapsed(what: &str, bound: Duration) -> Self {
        Self::new(format_args!("{what}: no answer within {bound:?}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `request`, at most `bound` long.
pub(crate) async fn bounded<T>(
    what: &str,
    bound: Duration,
    request: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(bound, request).await {
        Ok(result) => result,
        Err(_) => Err(Failure::elapsed(what, bound)),
    }
}
