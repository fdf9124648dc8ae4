//! The registry of one process: its "processes" are parts of it.

use std::{sync::Arc, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::memory::Registry;

use crate::world::{Process, World};

struct Memory(Registry);

impl Memory {
    async fn new() -> Self {
        Self(Registry::new())
    }
}

impl World for Memory {
    fn ttl(&self) -> Duration {
        Duration::ZERO
    }

    async fn process(&self) -> Process {
        Process::new(Arc::new(self.0.clone()), Tasks::new())
    }
}

crate::conformance!(Memory::new());
