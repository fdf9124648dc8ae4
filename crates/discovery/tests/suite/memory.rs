//! The registry of one process: its "processes" are parts of it. And the endpoints of the configuration, which can
//! only be resolved.

use std::{sync::Arc, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::{Resolve as _, fixed::Fixed, memory::Registry};

use crate::world::{Process, World, endpoint, hosts, name};

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
        Process { registry: Arc::new(self.0.clone()), tasks: Tasks::new(), wire: None }
    }

    async fn calm_process(&self) -> Process {
        self.process().await
    }
}

crate::conformance!(Memory::new());

#[test]
fn configured_endpoints_are_settled_and_so_are_names_without_any() {
    let fixed = Fixed::new().with("orders", [endpoint("a"), endpoint("b")]).unwrap();
    let watch = fixed.resolve(&name("orders"));
    assert!(watch.is_settled());
    assert_eq!(hosts(&watch), ["a", "b"]);
    let nobody = fixed.resolve(&name("nobody"));
    assert!(nobody.is_settled() && nobody.snapshot().is_empty());
    assert_eq!(fixed.known(), [name("orders")]);
}
