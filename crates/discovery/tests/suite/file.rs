//! A file that is watched. It is away when it is gone, and silent when it is garbage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainstay_core::{config, task::Tasks};
use mainstay_discovery::file::{Config, Registry};

use crate::{
    fixed::{PROMISES, toml},
    world::{Book, Outage, Process, Promises, World},
};

struct Watched {
    folder: tempfile::TempDir,
    book: Book,
    is_away: AtomicBool,
}

impl Watched {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder, book: Book::default(), is_away: AtomicBool::new(false) };
        world.publish().await;
        world
    }

    fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.path().join("endpoints.toml")).unwrap();
    }

    fn is_back(&self) {
        self.is_away.store(false, Ordering::Relaxed);
        self.write(&format!("# written by others\n{}", toml(&self.book)));
    }
}

impl World for Watched {
    const PROMISES: Promises = PROMISES;

    fn ttl(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn process(&self) -> Process {
        let mut config = Config::new(self.folder.path().join("endpoints.toml"));
        config.interval = config::Duration::from_millis(20);
        let tasks = Tasks::new();
        let registry = Registry::open(&config, &tasks).await.unwrap();
        Process::new(Arc::new(registry), tasks)
    }

    fn book(&self) -> Option<&Book> {
        Some(&self.book)
    }

    async fn publish(&self) {
        if !self.is_away.load(Ordering::Relaxed) {
            self.is_back();
        }
    }
}

impl Outage for Watched {
    async fn stop(&self) {
        self.is_away.store(true, Ordering::Relaxed);
        std::fs::remove_file(self.folder.path().join("endpoints.toml")).unwrap();
    }

    async fn start(&self) {
        self.is_back();
    }

    fn pause(&self) {
        self.is_away.store(true, Ordering::Relaxed);
        self.write("orders = [");
    }

    fn resume(&self) {
        self.is_back();
    }
}

crate::conformance!(Watched::new());
crate::outages!(Watched::new());
