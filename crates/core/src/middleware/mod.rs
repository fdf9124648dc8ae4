//! The server-side layers: [`tower_layer::Layer`]s over [`http::Request`], each of use alone in axum, tonic or hyper.
//!
//! | layer | does | stands |
//! |---|---|---|
//! | [`context`] | ids, deadline, criticality: makes the [`RequestContext`](crate::context::RequestContext) | outermost: all below log and answer with its ids |
//! | [`recover`] | a panic is a 500 | inside of `context`, outside of what measures |
//! | [`problem`] | axum's bare error answers become problem documents | inside of `recover` |
//! | [`deadline`] | drops the handler when its time is over | before what costs |
//! | [`shed`] | an adaptive limit on the requests in flight | inside of `deadline`, before what costs |
//! | [`concurrency`] | a fixed one | like `shed`, or on one route |
//! | [`body_limit`] | bounds the bytes of a request's body | before the body is read |
//! | `compression` (feature) | packs answers, unpacks requests within bounds | around the router |
//! | [`route`] | tells which route was taken, for metrics and spans | on each route |
//! | [`cors`] | which other origins browsers may call from | outside of authentication |
//! | [`security_headers`] | makes browsers careful | around the user's layers |
//!
//! All of them keep the inner service's error type and answer with a response; the answer follows the protocol of the
//! request ([`Protocol`](crate::error::Protocol)). None boxes a future on the way of a good answer, and none spawns:
//! dropping the future of a request drops the handler's. Bodies are those of the inner service ([`FromBody`]), boxed where
//! a layer has to watch over one: until a deadline that the caller asked for, or while it takes up room in [`shed`].

pub mod body_limit;
#[cfg(feature = "compression")]
pub mod compression;
pub mod concurrency;
pub mod context;
pub mod cors;
pub mod deadline;
pub mod problem;
pub mod recover;
pub mod route;
pub mod security_headers;
pub mod shed;

mod body;

pub use body::FromBody;

#[cfg(test)]
mod probe;
