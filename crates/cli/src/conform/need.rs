//! What a black-box suite can't guess, and the options that tell it.

use super::settings::Settings;

/// Something a check can't be decided without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Admin,
    /// A process to signal, given or started.
    Process,
    Command,
    DrainDelay,
    BadConfig,
    BadConfigs,
    Route,
    SlowRoute,
    HangRoute,
    StreamRoute,
    DefaultDeadline,
    PanicRoute,
    JsonRoute,
    JsonBody,
    Grpc,
    GrpcService,
    SlowGrpc,
    CallRoute,
    CallPost,
    Dependency,
    Dependencies,
    Otlp,
    Issuer,
    /// A token, of whatever issuer.
    Token,
    ClosedRoute,
    ScopedRoute,
    PublicRoute,
    ClosedGrpc,
    ScopedGrpc,
}

impl Need {
    /// The option that gives it.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Admin => "--admin",
            Self::Process => "--command or --pid",
            Self::Command => "--command",
            Self::DrainDelay => "--drain-delay",
            Self::BadConfig => "--bad-config",
            Self::BadConfigs => "--bad-config (twice)",
            Self::Route => "--route",
            Self::SlowRoute => "--slow-route",
            Self::HangRoute => "--hang-route",
            Self::StreamRoute => "--stream-route",
            Self::DefaultDeadline => "--default-deadline",
            Self::PanicRoute => "--panic-route",
            Self::JsonRoute => "--json-route",
            Self::JsonBody => "--json-body",
            Self::Grpc => "--grpc",
            Self::GrpcService => "--grpc-service",
            Self::SlowGrpc => "--slow-grpc",
            Self::CallRoute => "--call-route",
            Self::CallPost => "--call-post",
            Self::Dependency => "--dependency",
            Self::Dependencies => "--dependency (twice)",
            Self::Otlp => "--otlp",
            Self::Issuer => "--issuer",
            Self::Token => "--issuer or --token",
            Self::ClosedRoute => "--closed-route",
            Self::ScopedRoute => "--scoped-route",
            Self::PublicRoute => "--public-route",
            Self::ClosedGrpc => "--closed-grpc",
            Self::ScopedGrpc => "--scoped-grpc",
        }
    }

    pub(crate) fn is_met(self, settings: &Settings) -> bool {
        match self {
            Self::Admin => settings.admin.is_some(),
            Self::Process => settings.command.is_some() || settings.pid.is_some(),
            Self::Command => settings.command.is_some(),
            Self::DrainDelay => !settings.drain_delay.is_zero(),
            Self::BadConfig => !settings.bad_config.is_empty(),
            Self::BadConfigs => settings.bad_config.len() > 1,
            Self::Route => settings.route.is_some(),
            Self::SlowRoute => settings.slow_route.is_some(),
            Self::HangRoute => settings.hang_route.is_some(),
            Self::StreamRoute => settings.stream_route.is_some(),
            Self::DefaultDeadline => settings.default_deadline.is_some(),
            Self::PanicRoute => settings.panic_route.is_some(),
            Self::JsonRoute => settings.json_route.is_some(),
            Self::JsonBody => settings.json_body.is_some(),
            Self::Grpc => settings.grpc,
            Self::GrpcService => settings.grpc_service.is_some(),
            Self::SlowGrpc => settings.slow_grpc.is_some(),
            Self::CallRoute => settings.call_route.is_some(),
            Self::CallPost => settings.call_post.is_some(),
            Self::Dependency => !settings.dependencies.is_empty(),
            Self::Dependencies => settings.dependencies.len() > 1,
            Self::Otlp => settings.otlp.is_some(),
            Self::Issuer => settings.issuer.is_some(),
            Self::Token => settings.issuer.is_some() || settings.token.is_some(),
            Self::ClosedRoute => settings.closed_route.is_some(),
            Self::ScopedRoute => settings.scoped_route.is_some(),
            Self::PublicRoute => settings.public_route.is_some(),
            Self::ClosedGrpc => settings.closed_grpc.is_some(),
            Self::ScopedGrpc => settings.scoped_grpc.is_some(),
        }
    }
}
