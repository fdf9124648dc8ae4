//! The gRPC services that every server has: health and reflection.
//!
//! Both are plain tonic services, to be mounted beside the program's own. Neither asks who the caller is; say so to
//! the authentication in front of them, since the kubelet and balancers call the health service without credentials.

mod descriptor;
mod health;
mod reflection;
mod watch;

pub use health::Health;
pub use reflection::{InvalidDescriptors, reflection};
pub use watch::Watch;

#[cfg(test)]
mod tests;
