//! The contestants that answer `GET /item` with the same small JSON: what a user would pick, and ours.

mod by_hand;
mod mainstay;
mod plain;
mod telemetry;

use std::error::Error;

use ::mainstay::server::Shape;
use axum::{Json, Router, routing::get};

pub use self::{
    mainstay::{host, serve as serve_host},
    telemetry::RECEIVER,
};

use crate::ITEM;
use telemetry::Percent;

/// Their names, for `--serve`.
pub const NAMES: [&str; 15] = [
    "hyper",
    "axum",
    "by-hand",
    "mainstay-server",
    "mainstay-stack",
    "mainstay-server-per-core",
    "mainstay-stack-per-core",
    "telemetry-0",
    "telemetry-1",
    "telemetry-100",
    "telemetry-1-log",
    "telemetry-by-hand-0",
    "telemetry-by-hand-1",
    "telemetry-by-hand-100",
    "telemetry-by-hand-1-log",
];

/// The result of a contestant.
pub type Result = std::result::Result<(), Box<dyn Error>>;

/// Runs the contestant `name` until standard input ends.
///
/// # Errors
/// When there is no such contestant, or it can't serve.
pub fn serve(name: &str) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match name {
            "hyper" => plain::hyper().await,
            "axum" => plain::axum().await,
            "by-hand" => by_hand::serve().await,
            "mainstay-server" => self::mainstay::server(Shape::Shared).await,
            "mainstay-server-per-core" => self::mainstay::server(Shape::PerCore).await,
            "mainstay-stack" => self::mainstay::stack("shared").await,
            "mainstay-stack-per-core" => self::mainstay::stack("per-core").await,
            "telemetry-0" => telemetry::ours(Percent(0), false).await,
            "telemetry-1" => telemetry::ours(Percent(1), false).await,
            "telemetry-100" => telemetry::ours(Percent(100), false).await,
            "telemetry-1-log" => telemetry::ours(Percent(1), true).await,
            "telemetry-by-hand-0" => telemetry::by_hand(Percent(0), false).await,
            "telemetry-by-hand-1" => telemetry::by_hand(Percent(1), false).await,
            "telemetry-by-hand-100" => telemetry::by_hand(Percent(100), false).await,
            "telemetry-by-hand-1-log" => telemetry::by_hand(Percent(1), true).await,
            telemetry::RECEIVER => telemetry::receive().await,
            other => Err(format!("no contestant {other:?}; there are {}", NAMES.join(", ")).into()),
        }
    })
}

/// What they all answer.
pub fn routes() -> Router {
    Router::new().route("/item", get(async || Json(ITEM)))
}
