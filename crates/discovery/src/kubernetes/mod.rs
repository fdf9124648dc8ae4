//! Endpoints from Kubernetes: the EndpointSlices of services are listed and watched.
//!
//! ```toml
//! [discovery]
//! registry = "kubernetes"
//! ```
//!
//! A service is the Kubernetes Service of that name in the namespace of the pod; its pods are called directly, so that
//! balancing, ejection and retries are the client's. The service account needs the verbs `list` and `watch` on
//! `endpointslices` of the API group `discovery.k8s.io`.
//!
//! Needs the feature `kubernetes`. When not to use it: for services outside of the cluster, or where a mesh balances.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the settings |
//! | `watcher` | list, then watch, then watch again: when to do which |
//! | `slices` | what the slices of a service say |

pub mod config;

#[cfg(feature = "kubernetes")]
mod slices;
#[cfg(feature = "kubernetes")]
mod watcher;

pub use config::Config;
#[cfg(feature = "kubernetes")]
pub use watcher::registry;
