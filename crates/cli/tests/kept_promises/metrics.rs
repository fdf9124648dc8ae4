//! What the service counts, written out as Prometheus and OpenMetrics read it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::Method;

const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    /// By method.
    active: BTreeMap<String, i64>,
    /// By method, status and, where that promise is broken, path.
    durations: BTreeMap<(String, u16, String), Vec<Duration>>,
    /// gRPC, by its labels.
    grpc: BTreeMap<String, Vec<Duration>>,
    /// Those of the service to others, by their labels.
    calls: BTreeMap<String, Vec<Duration>>,
}

impl Metrics {
    pub(crate) fn begin(&self, method: &Method) {
        self.change(|counted| *counted.active.entry(name(method)).or_default() += 1);
    }

    pub(crate) fn end(&self, method: &Method) {
        self.change(|counted| *counted.active.entry(name(method)).or_default() -= 1);
    }

    pub(crate) fn count(&self, method: &Method, status: u16, path: &str, took: Duration) {
        let labels = (name(method), status, path.to_owned());
        self.change(|counted| counted.durations.entry(labels).or_default().push(took));
    }

    pub(crate) fn count_grpc(&self, method: &str, code: &str, took: Duration) {
        let error = if code == "OK" { "" } else { code };
        let labels = format!(
            "rpc_system_name=\"grpc\",rpc_method=\"{method}\",rpc_response_status_code=\"{code}\",error_type=\"{error}\""
        );
        self.change(|counted| counted.grpc.entry(labels).or_default().push(took));
    }

    pub(crate) fn count_call(&self, is_answered: bool, error: &str, took: Duration) {
        let status = if is_answered { "200" } else { "" };
        let labels = format!(
            "http_request_method=\"GET\",server_address=\"dependency\",http_response_status_code=\"{status}\",error_type=\"{error}\""
        );
        self.change(|counted| counted.calls.entry(labels).or_default().push(took));
    }

    fn change(&self, change: impl FnOnce(&mut Counted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn text(&self, with_target: bool) -> String {
        let mut text = String::from("# TYPE up gauge\nup 1\n# TYPE http_server_active_requests gauge\n");
        if with_target {
            text.push_str("# TYPE target_info gauge\ntarget_info{service_name=\"service\"} 1\n");
        }
        self.change(|counted| counted.write(&mut text));
        text
    }
}

impl Counted {
    fn write(&self, text: &mut String) {
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes it");
        for (method, active) in &self.active {
            line(format_args!("http_server_active_requests{{http_request_method=\"{method}\"}} {active}"));
        }
        let labels = |(method, status, path): &(String, u16, String)| {
            format!(
                "http_request_method=\"{method}\",http_response_status_code=\"{status}\",url_scheme=\"http\",path=\"{path}\""
            )
        };
        let requests = self.durations.iter().map(|(key, took)| (labels(key), took)).collect();
        histogram(text, "http_server_request_duration_seconds", requests);
        for (name, all) in [
            ("rpc_server_call_duration_seconds", &self.grpc),
            ("http_client_request_duration_seconds", &self.calls),
        ] {
            histogram(text, name, all.iter().map(|(labels, took)| (labels.clone(), took)).collect());
        }
    }
}

fn histogram(text: &mut String, name: &str, series: Vec<(String, &Vec<Duration>)>) {
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes it");
    line(format_args!("# TYPE {name} histogram"));
    for (labels, took) in series {
        for bound in BOUNDS.into_iter().chain([f64::INFINITY]) {
            let within = took.iter().filter(|took| took.as_secs_f64() <= bound).count();
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {within}"));
        }
        let sum: Duration = took.iter().sum();
        line(format_args!("{name}_sum{{{labels}}} {}", sum.as_secs_f64()));
        line(format_args!("{name}_count{{{labels}}} {}", took.len()));
    }
}

fn name(method: &Method) -> String {
    let is_known = [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS].contains(method);
    if is_known { method.to_string() } else { "_OTHER".to_owned() }
}
