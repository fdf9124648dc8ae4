//! Takes the events of the process.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
};

use tracing::{Subscriber, subscriber::set_global_default};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{Layer as FmtLayer, MakeWriter, writer::BoxMakeWriter},
    layer::SubscriberExt,
    reload,
};

#[cfg(feature = "otlp")]
use super::sent::{Place, Sent};
use super::{
    Config, Error, Format, Handle, Output, config,
    json::{Json, JsonFields},
    repeats::{Repeats, Sampled},
    text::{Text, TextFields},
};
use crate::bridge::Bridge;

/// The environment variable whose directives go before those of the configuration.
const RUST_LOG: &str = "RUST_LOG";

/// Takes all `tracing` events of the process from now on, and logs all panics ([`mainstay_core::panics`]).
///
/// # Errors
/// [`Error::Filter`] for directives that can't be read, in `log.filter` or `RUST_LOG`; [`Error::AlreadySet`] where
/// the process has a subscriber.
pub fn init(config: &Config) -> Result<Handle, Error> {
    let (terminal, writer) = match config.output {
        Output::Stdout => (io::stdout().is_terminal(), BoxMakeWriter::new(io::stdout)),
        Output::Stderr => (io::stderr().is_terminal(), BoxMakeWriter::new(io::stderr)),
    };
    let from_environment = std::env::var(RUST_LOG).ok();
    let (subscriber, handle) = subscriber(config, from_environment.as_deref(), terminal, writer)?;
    set_global_default(subscriber).map_err(|_| Error::AlreadySet)?;
    mainstay_core::panics::log_all();
    Ok(handle)
}

/// A subscriber that writes to `writer`, which is a terminal or not.
pub(crate) fn subscriber<W>(
    config: &Config,
    from_environment: Option<&str>,
    terminal: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Handle), Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Both are checked: a wrong configuration is told even where the environment hides it.
    let configured = parse("log.filter", &config.filter)?;
    let from_environment = from_environment.filter(|directives| !directives.trim().is_empty());
    let filter = match from_environment {
        Some(directives) => parse(RUST_LOG, directives)?,
        None => configured,
    };
    let (filter, handle) = reload::Layer::new(filter);
    let json = match config.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    // What can't be written is lost: the report of it goes to standard error, and panics where that is closed.
    let lines = FmtLayer::default().with_writer(writer).log_internal_errors(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = if json {
        let fields = JsonFields(config.redact.clone());
        lines.with_ansi(false).fmt_fields(fields).event_format(Json(config.redact.clone())).boxed()
    } else {
        let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let fields = TextFields(config.redact.clone());
        lines.with_ansi(coloured).fmt_fields(fields).event_format(Text::new(coloured)).boxed()
    };
    #[cfg(feature = "otlp")]
    let place = Place::default();
    #[cfg(feature = "otlp")]
    let lines = lines.and_then(Sent { redact: config.redact.clone(), to: Arc::clone(&place) });
    let repeats = Repeats::new(&config.repeats, &config.redact).map(Arc::new);
    let lines = Sampled::new(lines, repeats.clone());
    let bridge = Bridge::new().with_redact(config.redact.clone());
    let spans = bridge.filter(parse("log.spans", &config.spans)?);
    let handle =
        Handle::new(handle, from_environment.unwrap_or(&config.filter), from_environment.is_some(), repeats);
    #[cfg(feature = "otlp")]
    let handle = handle.with_place(place);
    Ok((
        tracing_subscriber::registry().with(lines.with_filter(filter)).with(bridge.with_filter(spans)),
        handle,
    ))
}

pub(super) fn parse(key: &'static str, directives: &str) -> Result<EnvFilter, Error> {
    let wrong = || Error::Filter { key, value: directives.to_owned() };
    // By custom RUST_LOG may name a target alone.
    if key != RUST_LOG && config::bare(directives).is_some() {
        return Err(wrong());
    }
    config::parse(directives).map_err(|_| wrong())
}
