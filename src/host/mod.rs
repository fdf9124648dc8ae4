//! A process: services, one lifecycle, one admin listener.

mod addresses;
mod admin;
#[cfg(feature = "auth")]
mod auth;
mod discovery;
mod listener;
#[cfg(feature = "telemetry")]
mod log;
mod plan;
#[cfg(all(feature = "profile", unix))]
mod profile;
mod registration;
mod running;
mod telemetry;
#[cfg(test)]
mod tests;
mod wire;

use std::{ffi::OsString, fmt, io::Write, sync::Arc};

use mainstay_core::{
    BoxError, Result,
    config::{self, CommandLine, Loaded, Loader, UsageError, figment::Provider},
    error::Report,
    lifecycle::{self, Component, DynComponent, Exit, Signals, Stage},
};

pub use addresses::Addresses;
pub use plan::Misfit;
pub use running::Running;

use crate::{Service, Settings, service::place};
use plan::Plan;

/// Runs one or several services in a process.
///
/// Which of them is configuration: `host.services`, or `--services a,b`; without it all of them. The first that runs
/// here answers on the main listener (`server.address`), the others within the process only, unless
/// `services.NAME.address` gives them a listener of their own.
///
/// ```no_run
/// use mainstay::{Host, Service};
///
/// #[tokio::main]
/// async fn main() -> mainstay::Result<()> {
///     let (orders, inventory) = (Service::new("orders"), Service::new("inventory"));
///     let host = Host::new().service(orders).service(inventory).set("request.default_timeout=5s");
///     host.announce(|addresses| println!("listening on {:?}", addresses.main())).run().await
/// }
/// ```
pub struct Host {
    services: Vec<Service>,
    components: Vec<DynComponent>,
    loader: Loader,
    announce: Option<Announce>,
    #[cfg(feature = "telemetry")]
    captured: Option<telemetry::Captured>,
}

/// The defaults that are other ones in the profile `dev`.
const DEV: &[(&str, &str)] = &[
    // No balancer has to notice that a developer pressed Ctrl-C.
    ("drain.delay", "0s"),
    #[cfg(feature = "auth")]
    ("auth.required", "false"),
];

type Announce = Box<dyn FnOnce(&Addresses) + Send>;

/// Why a host did not start, or did not end cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The command line is wrong.
    #[error("{0}; `--help` tells more")]
    Usage(UsageError),
    /// The configuration is wrong; every error of it.
    #[error("{0}")]
    Config(config::Errors),
    /// The services don't go together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// A service could not be made.
    #[error("the service `{service}` can't be made")]
    #[non_exhaustive]
    Service {
        /// Its name.
        service: String,
        /// Why.
        #[source]
        cause: BoxError,
    },
    /// The description of a service does not fit it.
    #[cfg(feature = "openapi")]
    #[error("the service `{service}` is not as it is described")]
    #[non_exhaustive]
    Interface {
        /// Its name.
        service: String,
        /// Why.
        #[source]
        cause: crate::interface::Misdescribed,
    },
    /// The descriptions can't be written.
    #[error("can't write the descriptions")]
    Export(#[source] std::io::Error),
    /// The logs can't be set up.
    #[cfg(feature = "telemetry")]
    #[error(transparent)]
    Logs(#[from] mainstay_telemetry::logs::Error),
    /// An objective in the code can't be watched.
    #[cfg(feature = "telemetry")]
    #[error(transparent)]
    Slo(#[from] mainstay_telemetry::slo::Invalid),
    /// What tells who calls can't be used.
    #[cfg(feature = "auth")]
    #[error(transparent)]
    Auth(#[from] mainstay_auth::Unusable),
    /// A metric of the program's own has the name of one of the framework's.
    #[error(transparent)]
    Metrics(#[from] mainstay_core::metrics::Rejected),
    /// The descriptors of a gRPC service can't be read.
    #[cfg(feature = "grpc")]
    #[error(transparent)]
    Descriptors(#[from] mainstay_core::grpc::InvalidDescriptors),
    /// The registry that was configured can't be used here.
    #[error(transparent)]
    Registry(#[from] mainstay_discovery::registry::Unusable),
    /// Starting, running or stopping failed.
    #[error(transparent)]
    Lifecycle(#[from] lifecycle::Error),
    /// The run ended without being asked to.
    #[error("the run ended without being asked to")]
    Ended,
}

impl HostError {
    /// The exit status of a process that ends with this error: 78 for a configuration that is wrong, 1 for all else
    /// but a second signal.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Misfit(_) => Exit::Configuration,
            #[cfg(feature = "telemetry")]
            Self::Logs(_) | Self::Slo(_) => Exit::Configuration,
            #[cfg(feature = "auth")]
            Self::Auth(_) => Exit::Configuration,
            Self::Lifecycle(error) => Exit::from(error),
            _ => Exit::Failure,
        }
    }
}

impl Host {
    /// A host without services, configured by `mainstay.toml` and the environment.
    #[must_use]
    pub fn new() -> Self {
        let loader = Loader::new().environment_from_process();
        Self {
            services: Vec::new(),
            components: Vec::new(),
            loader,
            announce: None,
            #[cfg(feature = "telemetry")]
            captured: None,
        }
    }

    /// Adds a service. The order counts: the first one that runs here has the main listener.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Runs `component` whatever services run here, and before them.
    #[must_use]
    pub fn component(mut self, component: impl Component) -> Self {
        self.components.push(DynComponent::new(component));
        self
    }

    /// Adds a source of configuration, stronger than files and weaker than the environment.
    #[must_use]
    pub fn source(self, provider: impl Provider + Send + Sync + 'static) -> Self {
        self.load_with(|loader| loader.source(provider))
    }

    /// Sets one value of the configuration, as `--set KEY=VALUE` does.
    #[must_use]
    pub fn set(self, assignment: impl Into<String>) -> Self {
        self.load_with(|loader| loader.set(assignment))
    }

    /// Calls `announce` once [`Host::run`] has started everything and is ready: the moment to tell people where to go.
    #[must_use]
    pub fn announce(mut self, announce: impl FnOnce(&Addresses) + Send + 'static) -> Self {
        self.announce = Some(Box::new(announce));
        self
    }

    /// Has `capture` take the spans, metrics and lines of the services: for a test. Every request is recorded, nothing is sent,
    /// and the settings of `log` and `trace` don't count. To be started where `capture` was.
    /// `docs/logs.md` has an example.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn captured_by(mut self, capture: &mainstay_telemetry::test::Capture) -> Self {
        self.captured = Some(telemetry::Captured::by(capture));
        self
    }

    /// Changes how the configuration is read: from another directory, without the process's environment, in another
    /// profile.
    #[must_use]
    pub fn load_with(mut self, change: impl FnOnce(Loader) -> Loader) -> Self {
        self.loader = change(self.loader);
        self
    }

    /// Runs until SIGTERM or SIGINT, drains and stops (contract LIFE). Reads the command line of the process; see
    /// `--help`.
    ///
    /// Then the process ends, with the status that [`Exit`] gives: 0, or 78 for a wrong configuration, 1 for another
    /// failure, which is said on standard error. It does not return, because returning from `main` would wait for
    /// blocking work that nobody can cut; [`Host::start`] is for programs that have something left to do.
    ///
    /// # Errors
    /// None at present: it is a `Result` so that `main` may use `?` before it.
    pub async fn run(self) -> Result<()> {
        let exit = match self.run_to_the_end(std::env::args_os().skip(1)).await {
            Ok(()) => Exit::Clean,
            Err(error) => {
                // Nobody is left to tell where standard error is closed.
                let _ = writeln!(std::io::stderr(), "error: {}", Report::new(&error));
                error.exit()
            }
        };
        exit.now()
    }

    async fn run_to_the_end(mut self, arguments: impl Iterator<Item = OsString>) -> Result<(), HostError> {
        let arguments = CommandLine::parse(arguments).map_err(HostError::Usage)?;
        if arguments.help {
            say(CommandLine::HELP);
            return Ok(());
        }
        self.loader = self.loader.command_line(&arguments);
        if arguments.print_config {
            say(&self.load()?.view().to_toml());
            return Ok(());
        }
        if let Some(directory) = arguments.export_openapi {
            return self.export(&directory);
        }
        let signals = Signals::listen().map_err(lifecycle::Error::Signals)?;
        let announce = self.announce.take();
        let Plan { addresses, lifecycle, .. } = self.plan().await?;
        let (observer, health) = (lifecycle.observer(), lifecycle.health().clone());
        let mut run = std::pin::pin!(lifecycle.run_with(signals));
        tokio::select! {
            ended = &mut run => return Ok(ended?),
            () = async { observer.reached(Stage::Running).await; health.ready().await } => {}
        }
        if let Some(announce) = announce {
            announce(&addresses);
        }
        Ok(run.await?)
    }

    /// Starts, and returns when every component has started: for tests, and for programs that are more than a host.
    /// Reads no command line and waits for no signal.
    ///
    /// # Errors
    /// Why it did not start.
    ///
    /// # Cancel safety
    /// Dropping it stops what was started.
    pub async fn start(self) -> Result<Running, HostError> {
        Running::start(self.plan().await?).await
    }

    /// The descriptions of the services that run here, by name; those without one are left out. Makes the services, and
    /// starts nothing. Within a tokio runtime, where a service wants one to be made.
    ///
    /// # Errors
    /// Where the configuration is wrong, a service can't be made, or is not as it is described.
    #[cfg(feature = "openapi")]
    pub fn descriptions(
        self,
    ) -> Result<std::collections::BTreeMap<String, crate::interface::Document>, HostError> {
        let loaded = Arc::new(self.load()?);
        plan::descriptions(self.services, &loaded)
    }

    #[cfg(feature = "openapi")]
    fn export(self, directory: &std::path::Path) -> Result<(), HostError> {
        crate::interface::Stored::new(directory).write(&self.descriptions()?).map_err(HostError::Export)
    }

    #[cfg(not(feature = "openapi"))]
    fn export(self, directory: &std::path::Path) -> Result<(), HostError> {
        let error = format!("{}: the program is built without the feature `openapi`", directory.display());
        Err(HostError::Export(std::io::Error::other(error)))
    }

    /// Everything that can be checked before a socket opens.
    async fn plan(self) -> Result<Plan, HostError> {
        let loaded = self.load()?;
        #[cfg(feature = "telemetry")]
        let captured = self.captured;
        #[cfg(not(feature = "telemetry"))]
        let captured = None;
        Plan::new(self.services, self.components, &Arc::new(loaded), captured).await
    }

    fn load(&self) -> Result<Loaded, HostError> {
        plan::check_names(&self.services)?;
        let known: Vec<String> = self.services.iter().map(|service| service.name().to_owned()).collect();
        let mut loader =
            self.loader.clone().tree::<Settings>("").check::<Settings>("", move |settings, findings| {
                plan::check_choice(&known, settings, findings);
            });
        loader = telemetry::variables(loader);
        for &(key, value) in DEV {
            loader = loader.profile_default("dev", key, value);
        }
        let wanted: Option<Vec<String>> = loader.peek("host.services");
        let runs = |service: &Service| {
            wanted.as_ref().is_none_or(|names| names.iter().any(|name| name == service.name()))
        };
        for service in &self.services {
            if let Some(tree) = service.config() {
                let place = place(service.name());
                // What a service needs that runs elsewhere, a password say, need not be known here.
                loader = if runs(service) {
                    loader.with_tree(&place, tree.clone())
                } else {
                    loader.ignore(&place)
                };
            }
        }
        loader.load().map_err(HostError::Config)
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("services", &self.services).finish_non_exhaustive()
    }
}

/// What the program was asked to print.
fn say(text: &str) {
    // A reader that has gone away wants no more.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}
