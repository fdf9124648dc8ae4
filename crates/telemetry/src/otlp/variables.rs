//! OpenTelemetry's environment variables, as keys of the configuration.

use std::fmt::Display;

use mainstay_core::config::{Key, Translated, Variables};

use crate::resource::pairs;

/// The keys under `otlp` and `trace` that the standard variables set. For
/// [`Loader::translate`](mainstay_core::config::Loader::translate).
#[must_use]
pub fn variables(variables: &Variables<'_>) -> Vec<Translated> {
    let mut read = Read { variables, found: Vec::new() };
    read.enabled();
    read.exporters();
    read.text("endpoint", &["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    read.text("traces_endpoint", &["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]);
    read.text("metrics_endpoint", &["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"]);
    read.text("logs_endpoint", &["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]);
    read.number("metrics_interval", &["OTEL_METRIC_EXPORT_INTERVAL"], "ms");
    read.text("protocol", &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    read.text("compression", &["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"]);
    read.text("tls.ca_file", &["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]);
    read.text(
        "tls.certificate_file",
        &["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
    );
    read.text("tls.key_file", &["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"]);
    read.headers();
    read.number("timeout", &["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], "ms");
    read.number("interval", &["OTEL_BSP_SCHEDULE_DELAY"], "ms");
    read.number("export_timeout", &["OTEL_BSP_EXPORT_TIMEOUT"], "ms");
    read.number("queue", &["OTEL_BSP_MAX_QUEUE_SIZE"], "");
    read.number("batch", &["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], "");
    read.sampler();
    read.found
}

struct Read<'a> {
    variables: &'a Variables<'a>,
    found: Vec<Translated>,
}

/// `key` may have dots.
fn otlp(key: &str) -> Key {
    key.split('.').fold(Key::root().child("otlp"), |at, part| at.child(part))
}

fn trace(key: &str) -> Key {
    Key::root().child("trace").child(key)
}

impl Read<'_> {
    /// The first of these that is set: the one for traces alone goes before the one for everything.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.variables.get(name)?.trim().to_owned())))
    }

    fn set(&mut self, name: &'static str, key: Key, value: impl Display) {
        self.found.push(Translated::new(name, key, value.to_string()));
    }

    fn wrong(&mut self, name: &'static str, key: Key, expected: &str) {
        self.found.push(Translated::wrong(name, key, expected));
    }

    fn text(&mut self, key: &str, names: &[&'static str]) {
        if let Some((name, value)) = self.first(names) {
            self.set(name, otlp(key), value);
        }
    }

    /// Durations are numbers of milliseconds there.
    fn number(&mut self, key: &str, names: &[&'static str], unit: &str) {
        let Some((name, value)) = self.first(names) else { return };
        match value.parse::<u32>() {
            Ok(number) => self.set(name, otlp(key), format_args!("{number}{unit}")),
            Err(_) if unit.is_empty() => self.wrong(name, otlp(key), "a whole number"),
            Err(_) => self.wrong(name, otlp(key), "a whole number of milliseconds"),
        }
    }

    fn enabled(&mut self) {
        let disabled = "OTEL_SDK_DISABLED";
        match self.variables.get(disabled) {
            Some(value) if value.trim().eq_ignore_ascii_case("true") => {
                self.set(disabled, otlp("enabled"), false);
            }
            Some(value) if !value.trim().eq_ignore_ascii_case("false") => {
                self.wrong(disabled, otlp("enabled"), "`true` or `false`");
            }
            _ => {}
        }
    }

    fn exporters(&mut self) {
        let (traces, metrics) = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER");
        match self.variables.get(traces).as_deref().map(str::trim) {
            None | Some("otlp") => {}
            Some("none") => self.set(traces, otlp("traces"), false),
            Some(_) => self.wrong(traces, otlp("traces"), "`otlp` or `none`"),
        }
        let logs = "OTEL_LOGS_EXPORTER";
        match self.variables.get(logs).as_deref().map(str::trim) {
            None => {}
            // As lines they are there, whatever is sent.
            Some("none" | "console") => self.set(logs, otlp("logs"), false),
            Some("otlp") => self.set(logs, otlp("logs"), true),
            Some(_) => self.wrong(logs, otlp("logs"), "`otlp`, `console` or `none`"),
        }
        // A list; to be scraped they are there, whatever is sent.
        if let Some(wanted) = self.variables.get(metrics) {
            let wanted: Vec<_> = wanted.split(',').map(str::trim).collect();
            if wanted.iter().all(|exporter| ["otlp", "prometheus", "none"].contains(exporter)) {
                self.set(metrics, otlp("metrics"), wanted.contains(&"otlp"));
            } else {
                self.wrong(metrics, otlp("metrics"), "`otlp`, `prometheus` or `none`");
            }
        }
        let temporality = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        let wanted = self.variables.get(temporality);
        if wanted.is_some_and(|wanted| !wanted.trim().eq_ignore_ascii_case("cumulative")) {
            self.wrong(temporality, otlp("metrics"), "`cumulative`");
        }
    }

    fn headers(&mut self) {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        let Some((name, value)) = self.first(&names) else { return };
        match pairs(&value) {
            Some(pairs) => {
                for (field, value) in pairs {
                    self.set(name, otlp("headers").child(&field.to_ascii_lowercase()), value);
                }
            }
            None => self.wrong(name, otlp("headers"), "NAME=VALUE, several of them separated by commas"),
        }
    }

    fn sampler(&mut self) {
        let (sampler, argument) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
        let Some(value) = self.variables.get(sampler) else { return };
        let value = value.trim();
        let base = value.strip_prefix("parentbased_");
        let share = match base.unwrap_or(value) {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => match self.variables.get(argument) {
                None => Some(1.0),
                Some(share) => {
                    let share = share.trim().parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
                    if share.is_none() {
                        self.wrong(argument, trace("share"), "a number from 0.0 to 1.0");
                    }
                    share
                }
            },
            _ => {
                let expected =
                    "`always_on`, `always_off` or `traceidratio`, or one of these behind `parentbased_`";
                return self.wrong(sampler, trace("share"), expected);
            }
        };
        if let Some(share) = share {
            self.set(sampler, trace("share"), share);
            self.set(sampler, trace("parent_based"), base.is_some());
        }
    }
}
