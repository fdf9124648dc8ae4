//! All files of a process.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{admin::Page, metrics::Registry};
use serde::Serialize;
use serde_json::json;

use super::{
    alertmanager, burn, dashboard, general,
    objective::{Slo, Slos},
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
    /// Who reads it.
    pub purpose: Purpose,
    /// Of which service it is; none: of all, so that it may name what one process doesn't have.
    pub service: Option<String>,
    /// What is in it.
    pub text: String,
}

/// Who reads a file.
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
const DASHBOARD: &str = "services.dashboard.json";

impl Export {
    /// For these services; one without an objective has its place in `slos` too ([`Slos::of`]).
    ///
    /// The objectives are taken as they are: [`Slos::check`] tells whether they can be watched.
    #[must_use]
    pub fn new(slos: &Slos) -> Self {
        let mut export = Self { files: Vec::new(), queries: Vec::new(), recorded: Vec::new() };
        export.rules(None, vec![general::group(ALL)], unit_tests::general);
        for (service, own) in slos.iter() {
            let tests = |rules: &str| unit_tests::service(rules, service, own);
            export.rules(Some(service), groups(service, own), tests);
        }
        export.queries.extend(dashboard::queries().into_iter().map(|query| (DASHBOARD.to_owned(), query)));
        let page = format!("{:#}\n", dashboard::dashboard());
        export.file(DASHBOARD.to_owned(), Purpose::Dashboard, None, page);
        export.file(
            "alertmanager.yaml".to_owned(),
            Purpose::Alertmanager,
            None,
            alertmanager::CONFIG.to_owned(),
        );
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

    /// The rules of a service, or those for all processes, and their tests.
    fn rules(&mut self, service: Option<&str>, groups: Vec<Group>, tests: impl FnOnce(&str) -> String) {
        let (name, comment) = match service {
            Some(service) => (service, format!("For the service {service}.")),
            None => (ALL, "For every process of Mainstay that this Prometheus scrapes.".to_owned()),
        };
        let rules = Rules { groups };
        let file = format!("{name}.rules.yaml");
        let tests = tests(&file);
        for rule in rules.rules() {
            self.queries.push((file.clone(), rule.expression().to_owned()));
            if let Rule::Record(record) = rule {
                self.recorded.push((record.name.clone(), record.labels.clone()));
            }
        }
        self.file(file, Purpose::Alerts, service, rules.yaml(&comment));
        self.file(format!("{name}.tests.yaml"), Purpose::Alerts, service, tests);
    }

    fn file(&mut self, name: String, purpose: Purpose, service: Option<&str>, text: String) {
        self.files.push(File { name, purpose, service: service.map(str::to_owned), text });
    }
}

fn groups(service: &str, slos: &BTreeMap<String, Slo>) -> Vec<Group> {
    let gone = Rule::Alert(general::gone(service));
    let own = Group { name: format!("service/{service}"), interval: None, rules: vec![gone] };
    [own].into_iter().chain(slos.iter().flat_map(|(name, slo)| burn::groups(service, name, slo))).collect()
}
