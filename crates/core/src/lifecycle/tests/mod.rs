mod log;
mod order;
mod run;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_core::Stream;

use super::{
    Component, Config, Context, Dependencies, DrainConfig, Error, Exit, Failure, InvalidOrder, Lifecycle,
    Phase, Signal, Stage, component,
};
use crate::{Result, error::Report};

/// What happened, in order.
#[derive(Debug, Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn position(&self, what: &str) -> usize {
        let entries = self.entries();
        entries.iter().position(|entry| entry == what).unwrap_or_else(|| panic!("no {what} in {entries:?}"))
    }
}

/// A component that writes down its hooks, each of which takes a while.
struct Part {
    name: &'static str,
    dependencies: Dependencies,
    takes: Duration,
    journal: Journal,
}

impl Part {
    fn new(name: &'static str, journal: &Journal) -> Self {
        let (dependencies, takes) = (Dependencies::none(), Duration::ZERO);
        Self { name, dependencies, takes, journal: journal.clone() }
    }

    fn after(mut self, dependencies: Dependencies) -> Self {
        self.dependencies = dependencies;
        self
    }

    fn taking(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    async fn hook(&self, hook: &str) -> Result<()> {
        self.journal.note(format!("{hook} {}", self.name));
        tokio::time::sleep(self.takes).await;
        self.journal.note(format!("{hook} {} done", self.name));
        Ok(())
    }
}

impl Component for Part {
    fn name(&self) -> &str {
        self.name
    }

    fn dependencies(&self) -> Dependencies {
        self.dependencies.clone()
    }

    async fn start(&self, _: Context) -> Result<()> {
        self.hook("start").await
    }

    async fn withdraw(&self) -> Result<()> {
        self.hook("withdraw").await
    }

    async fn drain(&self) -> Result<()> {
        self.hook("drain").await
    }

    async fn stop(&self) -> Result<()> {
        self.hook("stop").await
    }
}

/// Signals at these times from now; then none.
fn signals(at: &[(Duration, Signal)]) -> impl Stream<Item = Signal> + Send + use<> {
    let began = tokio::time::Instant::now();
    let left: Vec<_> = at.iter().rev().copied().collect();
    futures_util::stream::unfold(left, move |mut left| async move {
        let Some((after, signal)) = left.pop() else { return std::future::pending().await };
        tokio::time::sleep_until(began + after).await;
        Some((signal, left))
    })
}

fn terminate_after(after: Duration) -> impl Stream<Item = Signal> + Send + use<> {
    signals(&[(after, Signal::Terminate)])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn chain(error: &Error) -> String {
    Report::new(error).to_string()
}
