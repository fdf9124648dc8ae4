//! A report as tables of text.

use std::{fmt, time::Duration};

use super::{Call, Finished, Report, Request};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |count: u64, shown: usize| {
            if count > shown as u64 { format!("{count}, the oldest {shown}") } else { count.to_string() }
        };
        let title = format!("in flight: {}", shown(self.in_flight_count, self.in_flight.len()));
        table(f, &title, ["age", "what", "at", "calls", "deadline in", "from", "trace"], &self.in_flight)?;
        let title = format!("\ncalls: {}", shown(self.calls_count, self.calls.len()));
        table(f, &title, ["age", "what", "endpoint", "waits for", "caller", "trace"], &self.calls)?;
        let ended = ["took", "ago", "what", "status", "error", "from", "trace"];
        table(f, "\nslowest of the last minutes:", ended, &self.slowest)?;
        table(f, "\nlast failed:", ended, &self.failed)
    }
}

/// What is a line of a table.
trait Row<const N: usize> {
    fn cells(&self) -> [String; N];
}

impl Row<7> for Request {
    fn cells(&self) -> [String; 7] {
        [
            short(self.age),
            what(&self.service, self.method, self.route.as_deref(), self.rpc_method.as_deref()),
            self.at.to_owned(),
            self.calls.join(","),
            self.deadline_seconds.map(|seconds| format!("{seconds:.1}s")).unwrap_or_default(),
            self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            self.trace_id.to_string(),
        ]
    }
}

impl Row<6> for Call {
    fn cells(&self) -> [String; 6] {
        [
            short(self.age),
            what(&self.service, self.method, None, self.rpc_method.as_deref()),
            self.endpoint.clone().unwrap_or_else(|| "in-process".to_owned()),
            self.waits_for.to_owned(),
            self.caller.clone().unwrap_or_default(),
            self.trace_id.map(|id| id.to_string()).unwrap_or_default(),
        ]
    }
}

impl Row<7> for Finished {
    fn cells(&self) -> [String; 7] {
        [
            short(self.took),
            short(self.ago),
            what(&self.service, self.method, self.route.as_deref(), self.rpc_method.as_deref()),
            self.status.map(|status| status.to_string()).unwrap_or_default(),
            self.error.clone().unwrap_or_default(),
            self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            format!("{}{}", self.trace_id, if self.is_recorded { " recorded" } else { "" }),
        ]
    }
}

fn what(service: &str, method: &str, route: Option<&str>, rpc_method: Option<&str>) -> String {
    match (rpc_method, route) {
        (Some(rpc_method), _) => format!("{service} {rpc_method}"),
        (None, Some(route)) => format!("{service} {method} {route}"),
        (None, None) => format!("{service} {method}"),
    }
}

fn short(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1}ms", duration.as_secs_f64() * 1000.0)
    } else {
        format!("{:.1}s", duration.as_secs_f64())
    }
}

fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    names: [&str; N],
    rows: &[impl Row<N>],
) -> fmt::Result {
    writeln!(f, "{title}")?;
    if rows.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> =
        std::iter::once(names.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in &lines {
        let mut text = String::new();
        for (width, cell) in widths.iter().zip(line) {
            // A peer's word may be among them: one line a row, whatever it is.
            let cell = if cell.is_empty() { "–".to_owned() } else { cell.replace(char::is_control, " ") };
            text.push_str(&format!("  {cell:width$}"));
        }
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
}
