//! Compresses answers, and unpacks requests within bounds.
#![doc = include_str!("README.md")]

mod request;
mod response;

pub use request::{Decompression, DecompressionConfig, DecompressionLayer, RequestBody, ResponseFuture};
pub use response::{CompressionConfig, CompressionLayer, Worthwhile};

#[cfg(test)]
mod tests;
