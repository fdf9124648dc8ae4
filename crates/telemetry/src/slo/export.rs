//! All files of a process.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{admin::Page, config::Duration, metrics::Registry};
use serde::Serialize;
use serde_json::json;

use super::{
    alertmanager, burn, dashboard, general,
    objective::Slos,
    rules::{Group, Rule, Rules},
    unit_tests,
    vocabulary::{Unknown, Vocabulary},
};

/// Rules, their tests, a route and a page, made of the objectives of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    files: Vec<File>,
    /// Queries, by the file they are in.
    queries: Vec<(String, String)>,
    /// What the rules record, on top of what the service has.
    recorded: Vec<(String, Vec<(String, String)>)>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct File {
    /// Its name, without a folder.
    pub name: String,
    /// Whose it is.
    pub purpose: Purpose,
    /// What is in it.
    pub text: String,
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Purpose {
    /// Prometheus': rules, and their tests.
    Alerts,
    /// Grafana's.
    Dashboard,
    /// Alertmanager's.
    Alertmanager,
}

/// No service has an underscore in its name.
const ALL: &str = "all_processes";
const EXPORTING: &str = "exporting_processes";
const DASHBOARD: &str = "services.dashboard.json";
const HOUR: Duration = Duration::from_secs(3600);

impl Export {
    /// For these services; one without an objective has its place in `slos` too ([`Slos::of`]).
    ///
    /// The objectives are taken as they are: [`Slos::check`] tells whether they can be watched.
    #[must_use]
    pub fn new(slos: &Slos) -> Self {
        let mut export = Self { files: Vec::new(), queries: Vec::new(), recorded: Vec::new() };
        export.processes(ALL, "For every process of Mainstay that this Prometheus scrapes.", general::all);
        for (service, own) in slos.iter() {
            let tests = |rules: &str| unit_tests::service(rules, service, own);
            export.rules(service, &format!("For the service {service}."), &rules_of(slos, service), tests);
        }
        export
            .queries
            .extend(dashboard::queries(HOUR).into_iter().map(|query| (DASHBOARD.to_owned(), query)));
        let page = format!("{:#}\n", dashboard::dashboard(HOUR));
        export.file(DASHBOARD.to_owned(), Purpose::Dashboard, page);
        export.file("alertmanager.yaml".to_owned(), Purpose::Alertmanager, alertmanager::CONFIG.to_owned());
        export
    }

    /// Of the process with this registry: also what only some processes have, such as an exporter of spans.
    #[must_use]
    pub fn of(slos: &Slos, registry: &Registry) -> Self {
        let mut export = Self::new(slos);
        if registry.describe().iter().any(|family| family.definition.name() == general::EXPORTS) {
            export.processes(EXPORTING, "For processes that send spans somewhere.", general::exporting);
        }
        export
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Every query in the files, with the name of its file.
    pub fn queries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.queries.iter().map(|(file, query)| (file.as_str(), query.as_str()))
    }

    /// What the files name and the service, whose words these are, doesn't have: by file.
    #[must_use]
    pub fn unknown(&self, vocabulary: &Vocabulary) -> BTreeMap<&str, BTreeSet<Unknown>> {
        let mut vocabulary = vocabulary.clone();
        for (name, labels) in &self.recorded {
            vocabulary.record(name, labels);
        }
        let mut all: BTreeMap<&str, BTreeSet<Unknown>> = BTreeMap::new();
        for (file, query) in self.queries() {
            let unknown = vocabulary.unknown(query);
            if !unknown.is_empty() {
                all.entry(file).or_default().extend(unknown);
            }
        }
        all
    }

    /// `/slo` on the admin listener: the objectives, the files, and what of them the process with this registry doesn't have,
    /// or not yet.
    #[must_use]
    pub fn page(self, slos: Slos, registry: Registry) -> Page {
        Page::new("/slo", "objectives, with their alerts and dashboard", move || {
            let unknown = self.unknown(&Vocabulary::of(&registry));
            let told = |(file, unknown): (&str, BTreeSet<Unknown>)| {
                (file.to_owned(), unknown.iter().map(ToString::to_string).collect::<Vec<_>>())
            };
            let unknown: BTreeMap<_, _> = unknown.into_iter().map(told).collect();
            json!({"slo": slos, "unknown": unknown, "files": self.files})
        })
    }

    fn processes(&mut self, name: &str, comment: &str, alerts: impl Fn() -> Vec<general::General>) {
        let rules = Rules { groups: vec![general::group(name, alerts())] };
        self.rules(name, comment, &rules, |rules| unit_tests::general(rules, alerts()));
    }

    fn rules(&mut self, name: &str, comment: &str, rules: &Rules, tests: impl FnOnce(&str) -> String) {
        let file = format!("{name}.rules.yaml");
        let tests = tests(&file);
        for rule in rules.rules() {
            self.queries.push((file.clone(), rule.expression().to_owned()));
            if let Rule::Record(record) = rule {
                self.recorded.push((record.name.clone(), record.labels.clone()));
            }
        }
        self.file(file, Purpose::Alerts, rules.yaml(comment));
        self.file(format!("{name}.tests.yaml"), Purpose::Alerts, tests);
    }

    fn file(&mut self, name: String, purpose: Purpose, text: String) {
        self.files.push(File { name, purpose, text });
    }
}

fn rules_of(slos: &Slos, service: &str) -> Rules {
    Rules { groups: groups(slos, service) }
}

fn groups(slos: &Slos, service: &str) -> Vec<Group> {
    let gone = Rule::Alert(general::gone(service));
    let own = Group { name: format!("service/{service}"), interval: None, rules: vec![gone] };
    let of = slos.iter().find(|(name, _)| *name == service).into_iter().flat_map(|(_, slos)| slos);
    [own].into_iter().chain(of.flat_map(|(name, slo)| burn::groups(service, name, slo))).collect()
}
