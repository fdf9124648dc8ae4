//! The codes of gRPC, as the conventions write them.

use http::HeaderMap;

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A code of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u8);

impl Code {
    pub(super) const OK: Self = Self(0);
    pub(super) const CANCELLED: Self = Self(1);
    pub(super) const UNKNOWN: Self = Self(2);
    pub(super) const UNIMPLEMENTED: Self = Self(12);
    pub(super) const UNAVAILABLE: Self = Self(14);

    /// From `grpc-status`, in a head or in trailers; what is no code is `UNKNOWN`.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse::<u8>().ok());
        Some(code.filter(|code| usize::from(*code) < NAMES.len()).map_or(Self::UNKNOWN, Self))
    }

    pub(super) fn index(self) -> u8 {
        self.0
    }

    pub(super) fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }

    /// What is the server's fault, by the conventions for gRPC (span status of a server).
    pub(super) fn is_fault(self) -> bool {
        matches!(
            self.name(),
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        )
    }
}
