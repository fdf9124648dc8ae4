//! How far a run is, for those who look.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::watch, time::Instant};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Components start.
    #[default]
    Starting,
    /// All have started.
    Running,
    /// The drain was announced.
    Draining,
    /// Components stop.
    Stopping,
    /// Everything has stopped.
    Stopped,
}

/// How far a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComponentState {
    /// It waits for what it depends on.
    Waiting,
    /// Its start is under way.
    Starting,
    /// It has started.
    Started,
    /// Its start failed, or was dropped.
    Failed,
    /// It has stopped.
    Stopped,
}

/// Tells how far a run is. Clones share it.
#[derive(Clone)]
pub struct Observer(Arc<Inner>);

struct Inner {
    began: Instant,
    stage: watch::Sender<Stage>,
    components: Mutex<Vec<(Arc<str>, ComponentState)>>,
}

impl Observer {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            stage: watch::Sender::new(Stage::Starting),
            components: Mutex::default(),
        }))
    }

    /// The stage now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.0.stage.borrow()
    }

    /// Waits until the run is at `stage` or beyond.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn reached(&self, stage: Stage) {
        // The sender lives in `self`: an error can't come.
        drop(self.0.stage.subscribe().wait_for(|now| *now >= stage).await);
    }

    /// How long ago the run was made.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// The components and how far each is.
    #[must_use]
    pub fn components(&self) -> Vec<(Arc<str>, ComponentState)> {
        self.lock().clone()
    }

    /// As JSON: `{"stage": "running", "uptime_seconds": 12.5, "components": {"database": "started"}}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let components = self.components();
        let components: serde_json::Map<String, serde_json::Value> = components
            .into_iter()
            .map(|(name, state)| (name.to_string(), serde_json::json!(state)))
            .collect();
        serde_json::json!({
            "stage": self.stage(),
            "uptime_seconds": self.uptime().as_secs_f64(),
            "components": components,
        })
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.0.stage.send_replace(stage);
    }

    pub(super) fn wait_for(&self, names: impl Iterator<Item = Arc<str>>) {
        *self.lock() = names.map(|name| (name, ComponentState::Waiting)).collect();
    }

    pub(super) fn set(&self, index: usize, state: ComponentState) {
        if let Some(component) = self.lock().get_mut(index) {
            component.1 = state;
        }
    }

    pub(super) fn state(&self, index: usize) -> ComponentState {
        self.lock().get(index).map_or(ComponentState::Waiting, |component| component.1)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<str>, ComponentState)>> {
        self.0.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("stage", &self.stage()).finish_non_exhaustive()
    }
}
