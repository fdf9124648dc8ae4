//! What a receiver of OpenTelemetry gets, and what becomes of requests when there is none.

mod logs;
mod metrics;
mod outage;
mod receiver;
mod tree;
