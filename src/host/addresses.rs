//! Where a host listens, once it does.

use std::net::SocketAddr;

use super::{admin::Admin, listener::Listener};

/// The addresses of a host that runs; with the ports that the system chose where the configuration says 0.
pub struct Addresses {
    pub(super) listeners: Vec<Listener>,
    pub(super) admin: Option<Admin>,
}

impl Addresses {
    /// Where the main listener listens; `None` on a Unix socket.
    #[must_use]
    pub fn main(&self) -> Option<SocketAddr> {
        self.listeners.first().and_then(Listener::address)
    }

    /// Where the service `name` listens; `None` where it has no TCP listener.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.iter().find(|listener| listener.service() == name).and_then(Listener::address)
    }

    /// Where the admin listener listens; `None` where it is disabled.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(Admin::address)
    }
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Addresses")
            .field("main", &self.main())
            .field("admin", &self.admin())
            .finish_non_exhaustive()
    }
}
