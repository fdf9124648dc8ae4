//! The names that the registry has, for the error that says what is known.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    Shared,
    backend::{Backend, bounded},
};
use crate::ServiceName;

/// How many names are kept.
const MOST: usize = 10_000;

/// How old a list may be before the next question asks the registry again.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Names {
    last: Mutex<Last>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Last {
    names: Vec<ServiceName>,
    asked: Option<Instant>,
}

impl Names {
    /// As they were when the registry was last asked; where that was a while ago, it is asked again in the background.
    pub(super) fn known(&self) -> Vec<ServiceName> {
        let mut last = self.lock();
        if last.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            last.asked = Some(Instant::now());
            self.wanted.notify_one();
        }
        last.names.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks at the beginning, and whenever somebody wants to know. Failures are left to those who follow and register:
/// they try again, this one does not.
pub(super) async fn run<B: Backend>(shared: Arc<Shared<B>>) {
    let ask = async {
        loop {
            let names = bounded("listing names", shared.timing.timeout, shared.backend.names(MOST)).await;
            if let Ok(names) = names {
                let valid = names.into_iter().filter_map(|name| ServiceName::new(name).ok());
                let mut valid: Vec<_> = valid.take(MOST).collect();
                valid.sort();
                valid.dedup();
                shared.names.lock().names = valid;
            }
            shared.names.wanted.notified().await;
        }
    };
    tokio::select! {
        () = shared.stopped() => {}
        () = ask => {}
    }
}
