//! Whether a query names what a service has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mainstay_core::metrics::{Description, Kind, Registry};

use crate::{metrics, resource::Resource};

/// The metrics of a service, with their labels and the values that these have had, by the names of Prometheus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

/// Something that a query names and the service doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unknown {
    /// A metric.
    Metric(String),
    /// A label of a metric, or of all metrics of a query that is grouped or joined by it.
    Label {
        /// The metrics.
        metric: String,
        /// The label.
        label: String,
    },
    /// A value that the label has not had.
    Value {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
        /// The value.
        value: String,
    },
}

/// What Prometheus adds to every series.
const TARGET: [&str; 2] = ["job", "instance"];

impl Vocabulary {
    /// What a scrape said, in either of the formats.
    #[must_use]
    pub fn scraped(text: &str) -> Self {
        let mut all = Self::default();
        // Prometheus' own of each target.
        all.0.insert("up".to_owned(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let tokens = Tokens::of(line);
            let Some(Token::Word(name)) = tokens.first() else { continue };
            let labels = all.0.entry((*name).to_owned()).or_default();
            if tokens.get(1) == Some(&Token::Sign('{')) {
                for (label, _, value) in matchers(&tokens[2..]).0 {
                    labels.entry(label.to_owned()).or_default().insert(value);
                }
            }
        }
        all
    }

    /// What the registry of a process has, also where nothing was measured yet.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        let text = metrics::prometheus(&registry.read(), &Resource::default());
        let mut all = Self::scraped(&text);
        for Description { definition, kind, labels, .. } in registry.describe() {
            let name = metrics::prometheus_name(definition.name(), definition.unit(), kind);
            let suffixes: &[_] = if kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            for suffix in suffixes {
                let own = all.0.entry(format!("{name}{suffix}")).or_default();
                let bound = (*suffix == "_bucket").then_some("le");
                for label in labels.iter().copied().chain(bound) {
                    own.entry(metrics::label_name(label)).or_default();
                }
            }
        }
        all
    }

    /// With a series that a rule records.
    pub(super) fn record(&mut self, name: &str, labels: &[(String, String)]) {
        let own = self.0.entry(name.to_owned()).or_default();
        for (label, value) in labels {
            own.entry(label.clone()).or_default().insert(value.clone());
        }
    }

    /// What `query` names that is not there.
    #[must_use]
    pub fn unknown(&self, query: &str) -> BTreeSet<Unknown> {
        let named = Named::of(query);
        let mut unknown = BTreeSet::new();
        for (metric, matchers) in &named.selectors {
            let Some(labels) = self.0.get(*metric) else {
                unknown.insert(Unknown::Metric((*metric).to_owned()));
                continue;
            };
            for (label, operator, value) in matchers.iter().filter(|(label, ..)| !TARGET.contains(label)) {
                let (metric, label) = ((*metric).to_owned(), (*label).to_owned());
                match labels.get(&label) {
                    None => {
                        unknown.insert(Unknown::Label { metric, label });
                    }
                    // Of a metric without series nothing is known.
                    Some(values) if *operator == "=" && !values.is_empty() && !values.contains(value) => {
                        unknown.insert(Unknown::Value { metric, label, value: value.clone() });
                    }
                    Some(_) => {}
                }
            }
        }
        let has = |label: &str| {
            TARGET.contains(&label)
                || named
                    .selectors
                    .iter()
                    .any(|(metric, _)| self.0.get(*metric).is_some_and(|labels| labels.contains_key(label)))
        };
        for label in named.grouping.iter().filter(|label| !has(label)) {
            let metrics: Vec<_> = named.selectors.iter().map(|(metric, _)| *metric).collect();
            unknown.insert(Unknown::Label { metric: metrics.join(", "), label: (*label).to_owned() });
        }
        unknown
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metric(metric) => write!(f, "there is no metric `{metric}`"),
            Self::Label { metric, label } => write!(f, "`{metric}` has no label `{label}`"),
            Self::Value { metric, label, value } => write!(f, "`{metric}` has had no {label}=\"{value}\""),
        }
    }
}

/// A matcher: label, operator, value.
type Matcher<'a> = (&'a str, String, String);

/// What a query of PromQL names.
#[derive(Debug, Default)]
struct Named<'a> {
    selectors: Vec<(&'a str, Vec<Matcher<'a>>)>,
    /// Labels after `by`, `on` and their like.
    grouping: Vec<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(String),
    Sign(char),
}

struct Tokens;

impl<'a> Named<'a> {
    fn of(query: &'a str) -> Self {
        let tokens = Tokens::of(query);
        let mut named = Self::default();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let Token::Word(word) = token else {
                // A range or an offset: durations only.
                if *token == Token::Sign('[') {
                    at += tokens[at..].iter().take_while(|token| **token != Token::Sign(']')).count() + 1;
                }
                continue;
            };
            let next = tokens.get(at);
            match *word {
                "by" | "on" | "without" | "ignoring" | "group_left" | "group_right" => {
                    if next == Some(&Token::Sign('(')) {
                        let inside = tokens[at..].iter().take_while(|token| **token != Token::Sign(')'));
                        let counts = !matches!(*word, "without" | "ignoring");
                        named.grouping.extend(inside.clone().filter_map(|token| match token {
                            Token::Word(label) if counts => Some(*label),
                            _ => None,
                        }));
                        at += inside.count() + 1;
                    }
                }
                "and" | "or" | "unless" | "bool" | "offset" | "inf" | "nan" => {}
                // A number, with or without a unit.
                word if word.starts_with(|first: char| first.is_ascii_digit()) => {}
                // A function, or an aggregation with its grouping before the brackets.
                _ if next == Some(&Token::Sign('(')) => {}
                _ if matches!(next, Some(Token::Word("by" | "without"))) => {}
                metric if next == Some(&Token::Sign('{')) => {
                    let (own, length) = matchers(&tokens[at + 1..]);
                    named.selectors.push((metric, own));
                    at += length + 2;
                }
                metric => named.selectors.push((metric, Vec::new())),
            }
        }
        named
    }
}

impl Tokens {
    /// As far as names need it: words (with numbers and durations), texts in quotes, and every other character on its own.
    fn of(query: &str) -> Vec<Token<'_>> {
        let mut tokens = Vec::new();
        let mut rest = query;
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '$');
            if is_word(first) {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(&rest[..end]));
                rest = &rest[end..];
            } else if first == '"' {
                let (text, after) = quoted(&rest[1..]);
                tokens.push(Token::Text(text));
                rest = after;
            } else {
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first));
                }
                rest = &rest[first.len_utf8()..];
            }
        }
        tokens
    }
}

/// A text up to its closing quote, and what follows.
fn quoted(rest: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (text, &rest[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, other)) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    (text, "")
}

/// Matchers up to the closing brace, and how many tokens they are.
fn matchers<'a>(tokens: &[Token<'a>]) -> (Vec<Matcher<'a>>, usize) {
    let inside: Vec<_> = tokens.iter().take_while(|token| **token != Token::Sign('}')).collect();
    let mut found = Vec::new();
    for part in inside.split(|token| **token == Token::Sign(',')) {
        if let [Token::Word(label), operator @ .., Token::Text(value)] = part {
            let operator = operator.iter().filter_map(|token| match token {
                Token::Sign(sign) => Some(*sign),
                _ => None,
            });
            found.push((*label, operator.collect(), value.clone()));
        }
    }
    (found, inside.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "\
# HELP a_total things
# TYPE a_total counter
a_total{http_route=\"/orders/{id}\",say=\"\\\"x\\\", {y}\"} 3
b 1
c_seconds_bucket{le=\"0.25\"} 1 # {trace_id=\"abc\",span_id=\"d\"} 0.2 1.5
";

    fn told(query: &str) -> Vec<String> {
        Vocabulary::scraped(SCRAPE).unknown(query).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_there_is_found() {
        for query in [
            "a_total",
            r#"sum by (http_route) (rate(a_total{http_route="/orders/{id}",say="\"x\", {y}"}[5m])) > 1e3"#,
            r#"histogram_quantile(0.99, sum(rate(c_seconds_bucket{le="0.25"}[5m])) by (le))"#,
            "up == 0 and on (job, instance) max_over_time(b[1d])",
            r#"(a_total{http_route!="/nowhere"} or vector(0)) / on () group_left (say) b offset 5m"#,
            r#"topk(3, a_total{http_route=~".*",job="x"}) unless b"#,
        ] {
            assert_eq!(told(query), [""; 0], "{query}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (query, expected) in [
            ("rate(a[5m])", "there is no metric `a`"),
            (r#"a_total{route="/"}"#, "`a_total` has no label `route`"),
            (r#"a_total{http_route="/ordres"}"#, "`a_total` has had no http_route=\"/ordres\""),
            (r#"c_seconds_bucket{le="0.3"}"#, "`c_seconds_bucket` has had no le=\"0.3\""),
            ("sum by (rout) (a_total)", "`a_total` has no label `rout`"),
            ("sum(a_total) by (rout)", "`a_total` has no label `rout`"),
            ("a_total / on (trace_id) b", "`a_total, b` has no label `trace_id`"),
            ("1 - sum(b) / missing", "there is no metric `missing`"),
        ] {
            assert_eq!(told(query), [expected], "{query}");
        }
    }
}
