//! What requests are measured under, for whoever asks for it again: alerts, dashboards.

/// How long requests took: a histogram of seconds.
pub const REQUEST_DURATION: &str = "http.server.request.duration";
/// Requests that are being answered.
pub const ACTIVE_REQUESTS: &str = "http.server.active_requests";
/// How long calls of gRPC took: a histogram of seconds.
pub const CALL_DURATION: &str = "rpc.server.call.duration";

/// The service, among those of one process.
pub const SERVICE: &str = "service.name";
/// The method of HTTP.
pub const METHOD: &str = "http.request.method";
/// The route's template.
pub const ROUTE: &str = "http.route";
/// The method of gRPC, with its service.
pub const RPC_METHOD: &str = "rpc.method";
/// What went wrong: a status of 5xx, a code of gRPC, or `cancelled`; empty where nothing did.
pub const ERROR_TYPE: &str = "error.type";
