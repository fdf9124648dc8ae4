//! Recording rules and alerts of one objective: "Multiwindow, Multi-Burn-Rate Alerts", chapter 5 of the *Site Reliability
//! Workbook* (Google, O'Reilly 2018), table 5-8.

use mainstay_core::config::Duration;

use super::{
    objective::Slo,
    query::{Rates, select},
    rules::{Alert, Group, Record, Rule, Severity},
};

/// How fast the budget burns, over how long, and over how much shorter a time as well, so that the alert ends soon after its
/// cause.
const ALERTS: [(f64, u64, u64, Severity); 4] = [
    (14.4, 3600, 300, Severity::Page),
    (6.0, 6 * 3600, 1800, Severity::Page),
    (3.0, 24 * 3600, 2 * 3600, Severity::Ticket),
    (1.0, 72 * 3600, 6 * 3600, Severity::Ticket),
];

/// All of these windows, in order.
const WINDOWS: [u64; 7] = [300, 1800, 3600, 2 * 3600, 6 * 3600, 24 * 3600, 72 * 3600];

pub(super) const ALERT: &str = "SloErrorBudgetBurn";
pub(super) const NO_DATA: &str = "SloWithoutRequests";
/// The share of the budget that is left.
pub(super) const REMAINING: &str = "slo:error_budget_remaining:ratio";

/// An alert of an objective, with its windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burn {
    pub(super) factor: f64,
    pub(super) long: Duration,
    pub(super) short: Duration,
    pub(super) severity: Severity,
}

/// Those that can come to anything: nothing burns faster than if everything fails.
pub(super) fn burns(slo: &Slo) -> impl Iterator<Item = Burn> {
    let budget = slo.budget();
    let possible = ALERTS.into_iter().filter(move |(factor, ..)| factor * budget < 1.0);
    possible.map(|(factor, long, short, severity)| Burn {
        factor,
        long: Duration::from_secs(long),
        short: Duration::from_secs(short),
        severity,
    })
}

/// The groups of the objective `name` of `service`.
pub(super) fn groups(service: &str, name: &str, slo: &Slo) -> [Group; 2] {
    let own = [("service.name", "=", service), ("slo", "=", name)];
    let labels = vec![("service_name".to_owned(), service.to_owned()), ("slo".to_owned(), name.to_owned())];
    let record =
        |name: String, expression: String| Rule::Record(Record { name, expression, labels: labels.clone() });
    let recorded = |what: &str, window: Duration| select(&series(what, window), &own);

    let mut rules = Vec::new();
    for window in WINDOWS.map(Duration::from_secs) {
        let Rates { requests, failures } = slo.rates(service, window);
        rules.push(record(series("requests", window), requests));
        rules.push(record(series("errors", window), failures));
        let ratio = format!("{} / {}", recorded("errors", window), recorded("requests", window));
        rules.push(record(series("error_ratio", window), ratio));
    }
    let budget = slo.budget();
    for Burn { factor, long, short, severity } in burns(slo) {
        // Said of a budget, so that whoever reads it knows how much time is left.
        let left = Duration::from_secs((slo.window.get().as_secs_f64() / factor / 60.0).round() as u64 * 60);
        let seconds = long.get().as_secs();
        let least = slo.min_failures;
        let expression = format!(
            "{long_ratio} > {factor} * {budget}\nand\n{short_ratio} > {factor} * {budget}\nand\n{errors} * {seconds} >= {least}",
            long_ratio = recorded("error_ratio", long),
            short_ratio = recorded("error_ratio", short),
            errors = recorded("errors", long),
        );
        rules.push(Rule::Alert(Alert {
            name: ALERT,
            expression,
            pending: None,
            severity,
            labels: labels.iter().cloned().chain([("window".to_owned(), long.to_string())]).collect(),
            summary: format!("{service}: `{name}` uses up its error budget {factor} times as fast as it may"),
            description: format!(
                "{{{{ $value | humanizePercentage }}}} of the requests of the last {long} {what}; the objective is {objective} %. \
                 At this pace a whole budget of {window} lasts {left}.",
                what = went_wrong(slo),
                objective = slo.objective,
                window = slo.window,
            ),
        }));
    }
    let day = Duration::from_secs(24 * 3600);
    let shortest = Duration::from_secs(WINDOWS[0]);
    rules.push(Rule::Alert(Alert {
        name: NO_DATA,
        expression: format!("absent({})", recorded("requests", shortest)),
        pending: Some(day),
        severity: Severity::Ticket,
        labels: labels.clone(),
        summary: format!("{service}: nothing is known of `{name}`"),
        description: format!(
            "For {day} no process has had a request that the objective counts: is its route or method still there?"
        ),
    }));

    let over = |what: &str| format!("sum_over_time({}[{}])", recorded(what, shortest), slo.window);
    let remaining = format!("1 - ({} / {}) / {budget}", over("errors"), over("requests"));
    let budgets = vec![
        record("slo:error_budget:ratio".to_owned(), format!("vector({budget})")),
        record(REMAINING.to_owned(), remaining),
    ];
    let group = |suffix: &str, interval, rules| Group {
        name: format!("slo/{service}/{name}{suffix}"),
        interval,
        rules,
    };
    // A sum over a month is dear, and changes slowly.
    [group("", None, rules), group("/budget", Some(shortest), budgets)]
}

/// `slo:errors:rate5m`: level, metric, operation, as Prometheus advises.
pub(super) fn series(what: &str, window: Duration) -> String {
    format!("slo:{what}:rate{window}")
}

fn went_wrong(slo: &Slo) -> String {
    match slo.latency {
        Some(latency) => format!("took longer than {latency}"),
        None => "failed".to_owned(),
    }
}
