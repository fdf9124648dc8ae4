//! Files of rules, as Prometheus reads them.

use mainstay_core::config::Duration;

use super::yaml::Node;

/// The groups of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rules {
    pub(super) groups: Vec<Group>,
}

/// Rules that are evaluated one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) name: String,
    /// Other than Prometheus' own.
    pub(super) interval: Option<Duration>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    Record(Record),
    Alert(Alert),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) expression: String,
    pub(super) labels: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alert {
    pub(super) name: &'static str,
    pub(super) expression: String,
    /// How long it has to hold before anybody is told.
    pub(super) pending: Option<Duration>,
    pub(super) severity: Severity,
    pub(super) labels: Vec<(String, String)>,
    pub(super) summary: String,
    pub(super) description: String,
}

/// How soon somebody has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// Now, at any hour.
    Page,
    /// On a working day.
    Ticket,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

impl Rules {
    pub(super) fn yaml(&self, comment: &str) -> String {
        let groups = self.groups.iter().map(Group::node).collect();
        Node::Map(vec![("groups", Node::List(groups))]).document(comment)
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }
}

impl Group {
    fn node(&self) -> Node {
        let mut entries = vec![("name", Node::text(&self.name))];
        entries.extend(self.interval.map(|interval| ("interval", Node::text(interval.to_string()))));
        entries.push(("rules", Node::List(self.rules.iter().map(Rule::node).collect())));
        Node::Map(entries)
    }
}

impl Rule {
    pub(super) fn expression(&self) -> &str {
        match self {
            Self::Record(record) => &record.expression,
            Self::Alert(alert) => &alert.expression,
        }
    }

    fn node(&self) -> Node {
        match self {
            Self::Record(Record { name, expression, labels }) => Node::Map(vec![
                ("record", Node::text(name)),
                ("expr", Node::text(expression)),
                ("labels", Node::labels(labels.iter().cloned())),
            ]),
            Self::Alert(alert) => {
                let mut entries =
                    vec![("alert", Node::text(alert.name)), ("expr", Node::text(&alert.expression))];
                entries.extend(alert.pending.map(|pending| ("for", Node::text(pending.to_string()))));
                entries.push(("labels", Node::labels(alert.all_labels())));
                entries.push(("annotations", Node::labels(alert.annotations())));
                Node::Map(entries)
            }
        }
    }
}

impl Alert {
    pub(super) fn all_labels(&self) -> Vec<(String, String)> {
        let mut labels = vec![("severity".to_owned(), self.severity.as_str().to_owned())];
        labels.extend(self.labels.iter().cloned());
        labels
    }

    pub(super) fn annotations(&self) -> [(&'static str, &str); 2] {
        [("summary", &self.summary), ("description", &self.description)]
    }
}
