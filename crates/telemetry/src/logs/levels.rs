//! What is logged now, and for how long.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::{Error, config, init::parse, repeats::Repeats};

/// For ever, as far as a process is concerned.
const LONG: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Changes what is logged while the process runs. Clones change the same.
#[derive(Clone)]
pub struct Handle {
    filter: reload::Handle<EnvFilter, Registry>,
    from_environment: bool,
    levels: Arc<Mutex<Levels>>,
    changed: Arc<Notify>,
    repeats: Option<Arc<Repeats>>,
    #[cfg(feature = "otlp")]
    sent: super::sent::Place,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Levels {
    /// The directives of the configuration, of `RUST_LOG`, or of [`Handle::set_filter`].
    pub filter: String,
    /// Those that count besides for some time, and until when.
    pub temporary: Option<(String, Instant)>,
}

impl Handle {
    pub(super) fn new(
        filter: reload::Handle<EnvFilter, Registry>,
        directives: &str,
        from_environment: bool,
        repeats: Option<Arc<Repeats>>,
    ) -> Self {
        let levels = Levels { filter: directives.to_owned(), temporary: None };
        Self {
            filter,
            from_environment,
            levels: Arc::new(Mutex::new(levels)),
            changed: Arc::default(),
            repeats,
            #[cfg(feature = "otlp")]
            sent: Arc::default(),
        }
    }

    #[cfg(feature = "otlp")]
    pub(super) fn with_place(mut self, sent: super::sent::Place) -> Self {
        self.sent = sent;
        self
    }

    /// From now on what is a line is a record too, and put into `records`
    /// ([`log_exporter`](crate::otlp::log_exporter)): of the service whose request it belongs to, else of `process`. Whether it
    /// was the first to say so: later ones change nothing.
    #[cfg(feature = "otlp")]
    pub fn send_to(&self, records: crate::otlp::Records, process: &str) -> bool {
        self.sent.set((records, process.into())).is_ok()
    }

    /// Whether `RUST_LOG` said what is logged when the logs were set up, in place of the configuration.
    #[must_use]
    pub fn is_from_environment(&self) -> bool {
        self.from_environment
    }

    /// Logs what these directives say from now on; `RUST_LOG` no longer counts. Where others count for some time they go
    /// on counting, besides these.
    ///
    /// # Errors
    /// [`Error::Filter`]: then nothing changed.
    pub fn set_filter(&self, directives: &str) -> Result<(), Error> {
        parse("log.filter", directives)?;
        self.change(|levels| levels.filter = directives.to_owned())
    }

    /// Logs what these directives say besides the others, for so long: `shop=debug` leaves other targets as they are, a
    /// level alone is that of all targets that are not named. Replaces what was set so before. It needs somebody who
    /// [keeps the time](Self::keep_time).
    ///
    /// # Errors
    /// [`Error::Filter`]: then nothing changed.
    pub fn set_filter_for(&self, directives: &str, time: Duration) -> Result<(), Error> {
        parse("filter", directives)?;
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(now + LONG);
        self.change(|levels| levels.temporary = Some((directives.to_owned(), until)))
    }

    /// Ends what was set for some time.
    ///
    /// # Errors
    /// [`Error::Replaced`].
    pub fn reset(&self) -> Result<(), Error> {
        self.change(|levels| levels.temporary = None)
    }

    /// What is logged now.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.lock().clone()
    }

    /// How many lines were left out because they repeated.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.repeats.as_ref().map_or(0, |repeats| repeats.left_out())
    }

    /// Tells now what was left out because it repeated, whose window is not over: at the end of a process. A host does this.
    pub fn sum_up(&self) {
        if let Some(repeats) = &self.repeats {
            repeats.sum_up(None);
        }
    }

    /// Sets back what was set for some time, whenever that is over, and tells what was left out because it repeated, whenever
    /// a window is over. Never ends; a host does this.
    ///
    /// # Cancel safety
    /// Dropping it leaves the levels as they are; another call goes on with them.
    pub async fn keep_time(&self) {
        let repeats = async {
            if let Some(repeats) = &self.repeats {
                repeats.keep().await;
            }
        };
        tokio::join!(self.keep_levels(), repeats);
    }

    async fn keep_levels(&self) {
        loop {
            // Enabled before a look is taken: a change in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let Some((_, until)) = self.levels().temporary else {
                changed.await;
                continue;
            };
            tokio::select! {
                () = changed => continue,
                () = sleep_until(until) => {}
            }
            match self.end(until) {
                Ok(true) => tracing::info!(filter = %self.levels().filter, "logs are filtered as before"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "logs can't be filtered as before"),
            }
        }
    }

    /// Ends what was set until then, unless it was replaced meanwhile.
    fn end(&self, until: Instant) -> Result<bool, Error> {
        let mut ended = false;
        self.change(|levels| {
            ended = levels.temporary.as_ref().is_some_and(|(_, own)| *own == until);
            if ended {
                levels.temporary = None;
            }
        })?;
        Ok(ended)
    }

    /// Changes the levels, unless the result can't be read.
    fn change(&self, change: impl FnOnce(&mut Levels)) -> Result<(), Error> {
        let mut levels = self.lock();
        let mut new = levels.clone();
        change(&mut new);
        let Levels { filter, temporary } = &new;
        let all = match temporary {
            // What stands later goes before what stands earlier.
            Some((more, _)) => format!("{filter},{more}"),
            None => filter.clone(),
        };
        let all = config::parse(&all).map_err(|_| Error::Filter { key: "filter", value: all })?;
        self.filter.reload(all).map_err(|_| Error::Replaced)?;
        *levels = new;
        drop(levels);
        self.changed.notify_waiters();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("levels", &self.levels()).finish_non_exhaustive()
    }
}
