//! The admin listener's routes: probes and pages for those who run the service (contract HEALTH 1).
//!
//! [`Admin`] makes an axum `Router`; whoever opens the listener serves it. It is not for the public: the pages show
//! what the process is made of, and nobody is asked who they are. The default address is the loopback one.
//!
//! | path | says |
//! |---|---|
//! | `/` | the pages there are |
//! | `/livez`, `/readyz`, `/startupz` | 200 or 503; `?verbose` lists each check with state, age and error; JSON for `Accept: application/json` |
//! | `/status` | JSON: the sections given to [`Admin::with_status`] |
//! | `/requests` | requests in flight and where they wait, the slowest and the failed ones ([`Admin::with_requests`]); JSON for `Accept: application/json` |
//! | others | the pages given to [`Admin::with_page`] and [`Admin::with_route`] |
//!
//! All answers carry `Cache-Control: no-store`. Methods other than GET and HEAD get 405, unknown paths 404, both as
//! problem+json. Only a route that was added may take others; one that changes something takes [`Nearby`].

mod config;
mod index;
mod nearby;
mod page;
mod probe;
mod requests;
mod router;

pub use config::Config;
pub use nearby::Nearby;
pub use page::Page;
pub use router::Admin;

#[cfg(doctest)]
#[doc = include_str!("../../../../docs/admin.md")]
struct Guide;

#[cfg(test)]
mod tests;
