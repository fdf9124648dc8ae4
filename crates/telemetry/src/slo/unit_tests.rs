//! Tests of the rules, as `promtool test rules` reads them: that alerts fire when everything fails, and don't when as much
//! goes wrong as may, nor for a single failure; and what is left of the budget then.

use std::collections::BTreeMap;

use super::{
    burn::{self, Burn},
    general::{self, TARGET},
    objective::{Slo, bound},
    query::select,
    rules::{Alert, Severity},
    yaml::Node,
};
use crate::metrics::le;

/// What is shown to the rules.
struct Test {
    name: String,
    /// With their values, a minute each.
    series: Vec<(String, String)>,
    asked: Vec<Asked>,
    queries: Vec<Query>,
}

/// What a query gives: of one objective, because others may count the same requests.
struct Query {
    at: &'static str,
    query: String,
    /// Labels, and the value.
    gives: Vec<(String, &'static str)>,
}

/// Whether an alert fires, and which ones of its name.
struct Asked {
    at: &'static str,
    name: &'static str,
    fires: Vec<Fired>,
}

struct Fired {
    labels: Vec<(String, String)>,
    annotations: Vec<(&'static str, String)>,
}

/// Of the rules for all processes.
pub(super) fn general(rules: &str) -> String {
    let tests = general::all().into_iter().map(|general| {
        let fired = fired(&general.alert, &general.told_of, "90%");
        let asked = Asked { at: "25m", name: general.alert.name, fires: vec![fired] };
        let early = Asked { at: "1m", name: general.alert.name, fires: Vec::new() };
        Test {
            name: general.alert.name.to_owned(),
            series: general.shown,
            asked: vec![early, asked],
            queries: Vec::new(),
        }
    });
    document(rules, "1m", tests)
}

/// Of the rules of one service.
pub(super) fn service(rules: &str, service: &str, slos: &BTreeMap<String, Slo>) -> String {
    let mut tests = vec![gone(service)];
    for (name, slo) in slos {
        tests.extend(objective(service, name, slo));
    }
    document(rules, "5m", tests.into_iter())
}

fn gone(service: &str) -> Test {
    let alert = general::gone(service);
    let here = select("mainstay_shed_limit", &[("service.name", "=", service)]);
    let asked = |at, fires| Asked { at, name: general::GONE, fires };
    Test {
        name: format!("{service}: nothing is left of it"),
        series: vec![(here, "512x10 stale".to_owned())],
        asked: vec![asked("10m", Vec::new()), asked("20m", vec![fired(&alert, &[], "")])],
        queries: Vec::new(),
    }
}

fn objective(service: &str, name: &str, slo: &Slo) -> Vec<Test> {
    let own = [("service.name", "=", service), ("slo", "=", name)];
    let firing = |more: &[(&str, &str, &str)]| {
        let alert = [("alertname", "=", burn::ALERT), ("alertstate", "=", "firing")];
        select("ALERTS", &[&alert, &own[..], more].concat())
    };
    let burning = firing(&[]);
    let fires = |at, query: &str, alerts: Vec<String>| {
        let gives = alerts.into_iter().map(|labels| (labels, "1")).collect();
        Query { at, query: query.to_owned(), gives }
    };
    let test = |what: &str, series, queries| Test {
        name: format!("{service}, {name}: {what}"),
        series,
        asked: Vec::new(),
        queries,
    };

    let all = burn::burns(slo).map(|Burn { long, severity, .. }| {
        let window = long.to_string();
        firing(&[("severity", "=", severity.as_str()), ("window", "=", &window)])
    });
    let each_minute = f64::from(slo.min_failures.max(60));
    let half = slo.budget() / 2.0;
    let steady = |share: f64| format!("0+{}x60", 1000.0 * share);
    let left = Query {
        at: "1h",
        query: format!("round({}, 0.1)", select(burn::REMAINING, &own)),
        gives: vec![(select("", &own), "0.5")],
    };
    // Nobody tests for a whole day.
    let unknown = [("alertname", "=", burn::NO_DATA), ("alertstate", "=", "pending")];
    let unknown =
        select("ALERTS", &[&unknown, &own[..], &[("severity", "=", Severity::Ticket.as_str())]].concat());
    let mut tests = vec![
        test("there is no request", Vec::new(), vec![fires("10m", &unknown, vec![unknown.clone()])]),
        test(
            "everything goes wrong",
            series(service, slo, "0x60".to_owned(), format!("0+{each_minute}x60")),
            vec![fires("1h", &burning, all.collect())],
        ),
        test(
            "half as much goes wrong as may",
            series(service, slo, steady(1.0 - half), steady(half)),
            vec![fires("1h", &burning, Vec::new()), fires("1h", &unknown, Vec::new()), left],
        ),
    ];
    // The shorter window ends an alert soon after its cause; the longer one still has it.
    if let Some(Burn { long, .. }) = burn::burns(slo).next().filter(|burn| burn.long.as_secs() == 3600) {
        let query = firing(&[("window", "=", &long.to_string())]);
        let wrong = format!("0+{each_minute}x45 {}x15", each_minute * 45.0);
        tests.push(test(
            "everything went wrong until 15 minutes ago",
            series(service, slo, "0+600x60".to_owned(), wrong),
            vec![fires("1h", &query, Vec::new())],
        ));
    }
    // Who wants to be told of each failure is.
    if slo.min_failures > 2 {
        tests.push(test(
            "one request, and it goes wrong",
            series(service, slo, "0x60".to_owned(), "0x10 1x50".to_owned()),
            vec![fires("20m", &burning, Vec::new())],
        ));
    }
    tests
}

/// So many requests went well, and so many wrong.
fn series(service: &str, slo: &Slo, well: String, wrong: String) -> Vec<(String, String)> {
    let (metric, own) = slo.place(service);
    let all = |suffix: &str, more: &[(&str, &str, &str)]| {
        let target = TARGET.iter().map(|(name, value)| (*name, "=", *value));
        let matchers: Vec<_> = target.chain(own.iter().copied()).chain(more.iter().copied()).collect();
        select(&format!("{metric}_{suffix}"), &matchers)
    };
    let Some(seconds) = slo.latency.and_then(bound) else {
        return vec![(all("count", &[]), well), (all("count", &[("error.type", "=", "500")]), wrong)];
    };
    // What is slow is above the bound; a label tells the two apart.
    let within = le(seconds);
    let bucket = |more: &[(&str, &str, &str)]| all("bucket", &[more, &[("le", "=", &within)]].concat());
    let slow = [("network.protocol.version", "=", "2")];
    vec![
        (all("count", &[]), well.clone()),
        (bucket(&[]), well),
        (all("count", &slow), wrong),
        (bucket(&slow), "0x60".to_owned()),
    ]
}

/// What people would get of `alert`, had it these labels and this value.
fn fired(alert: &Alert, told_of: &[(&'static str, String)], value: &str) -> Fired {
    let filled = |text: &str| {
        let text = text.replace("{{ $value | humanizePercentage }}", value);
        told_of
            .iter()
            .fold(text, |text, (label, value)| text.replace(&format!("{{{{ $labels.{label} }}}}"), value))
    };
    let mut labels = alert.all_labels();
    labels.extend(told_of.iter().map(|(label, value)| ((*label).to_owned(), value.clone())));
    Fired { labels, annotations: alert.annotations().map(|(name, text)| (name, filled(text))).into() }
}

fn document(rules: &str, evaluated: &str, tests: impl Iterator<Item = Test>) -> String {
    let tests = tests.map(Test::node).collect();
    Node::Map(vec![
        ("rule_files", Node::List(vec![Node::text(rules)])),
        ("evaluation_interval", Node::text(evaluated)),
        ("tests", Node::List(tests)),
    ])
    .document("promtool test rules FILE")
}

impl Test {
    fn node(self) -> Node {
        let series = self.series.into_iter().map(|(series, values)| {
            Node::Map(vec![("series", Node::text(series)), ("values", Node::text(values))])
        });
        let asked = self.asked.into_iter().map(|Asked { at, name, fires }| {
            let fires = fires.into_iter().map(|Fired { labels, annotations }| {
                Node::Map(vec![
                    ("exp_labels", Node::labels(labels)),
                    ("exp_annotations", Node::labels(annotations)),
                ])
            });
            Node::Map(vec![
                ("eval_time", Node::text(at)),
                ("alertname", Node::text(name)),
                ("exp_alerts", Node::List(fires.collect())),
            ])
        });
        let queries = self.queries.into_iter().map(|Query { at, query, gives }| {
            let gives = gives.into_iter().map(|(labels, value)| {
                Node::Map(vec![("labels", Node::text(labels)), ("value", Node::Number(value.to_owned()))])
            });
            Node::Map(vec![
                ("expr", Node::text(query)),
                ("eval_time", Node::text(at)),
                ("exp_samples", Node::List(gives.collect())),
            ])
        });
        Node::Map(vec![
            ("name", Node::text(self.name)),
            ("interval", Node::text("1m")),
            ("input_series", Node::List(series.collect())),
            ("alert_rule_test", Node::List(asked.collect())),
            ("promql_expr_test", Node::List(queries.collect())),
        ])
    }
}
