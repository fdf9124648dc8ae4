use http::Response;
use serde::{Deserialize, Serialize};
use tower_http::compression::{
    Compression,
    predicate::{DefaultPredicate, Predicate, SizeAbove},
};
use tower_layer::Layer;

use crate::config::{ByteSize, Section};

/// Which answers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CompressionConfig {
    /// Shorter bodies are sent as they are. Default: 1 KiB.
    pub min_size: ByteSize,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self { min_size: ByteSize::from_kib(1) }
    }
}

impl Section for CompressionConfig {}

/// Compresses the bodies of answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompressionLayer {
    config: CompressionConfig,
}

impl CompressionLayer {
    /// With this configuration.
    #[must_use]
    pub fn new(config: CompressionConfig) -> Self {
        Self { config }
    }
}

impl<S> Layer<S> for CompressionLayer {
    type Service = Compression<S, Worthwhile>;

    fn layer(&self, inner: S) -> Self::Service {
        Compression::new(inner).compress_when(Worthwhile { min_size: self.config.min_size.get() })
    }
}

/// Whether an answer is worth compressing.
#[derive(Debug, Clone, Copy)]
pub struct Worthwhile {
    min_size: u64,
}

/// Compressed already.
const PACKED: [&str; 6] =
    ["video/", "audio/", "application/zip", "application/gzip", "application/zstd", "font/woff2"];

impl Predicate for Worthwhile {
    fn should_compress<B: http_body::Body>(&self, response: &Response<B>) -> bool {
        let content_type = response.headers().get(http::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        !PACKED.iter().any(|packed| content_type.starts_with(packed))
            && SizeAbove::new(self.min_size).should_compress(response)
            && DefaultPredicate::new().should_compress(response)
    }
}
