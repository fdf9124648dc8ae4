//! What is logged and counted of decisions.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use mainstay_core::metrics::Point;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;

/// The value of each series by its one label.
pub(super) fn series(registry: &Registry, name: &str) -> BTreeMap<String, u64> {
    let metrics = registry.read();
    let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
    let series = metric.series.iter().map(|series| {
        let Point::Counter(value) = series.point else { panic!("a counter") };
        (series.labels.iter().next().unwrap().1.to_string(), value)
    });
    series.collect()
}

type Line = BTreeMap<String, String>;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

struct Fields(Line);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Line::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn lines(audit: Audit, work: impl Fn(&Policies)) -> Vec<Line> {
    let mut config = config(
        "@id(\"own\") permit(principal is User, action, resource is Order) when { resource.owner == principal.subject };\n\
         @id(\"no-frozen\") forbid(principal, action, resource is Order) when { resource has frozen && resource.frozen };",
    );
    config.audit = audit;
    let policies = Policies::read(&config).unwrap();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || work(&policies));
    lines.0.lock().unwrap().clone()
}

fn asks(policies: &Policies) {
    let alice = Caller { client: Some("web".into()), ..alice() }.with_claim("tenant", "of nobody's business");
    let alice = alice.into_principal();
    policies.check(&alice, READ, &order()).unwrap();
    policies.check(&alice, READ, &order().with("frozen", true)).unwrap_err();
    policies.check(&alice, "POST /orders", &order()).unwrap_err();
    // Whoever only wants to know leaves no trace.
    assert!(!policies.decide(&Question::new(&alice, READ, &order().with("frozen", true))).is_permitted());
}

#[test]
fn denials_are_logged_with_who_what_and_why() {
    let denied = lines(Audit::Denials, asks);
    assert_eq!(denied.len(), 2);
    let line = &denied[0];
    for (field, expected) in [
        ("issuer", ISSUER),
        ("subject", "alice"),
        ("client", "web"),
        ("action", READ),
        ("resource.type", "Order"),
        ("resource.id", "7"),
        ("decision", "forbid"),
        ("policies", "no-frozen"),
    ] {
        assert_eq!(line.get(field).map(String::as_str), Some(expected), "{line:?}");
    }
    assert!(!format!("{denied:?}").contains("business"));
    assert_eq!(denied[1]["decision"], "invalid");
    assert!(denied[1]["errors"].contains("POST /orders"));
}

#[test]
fn all_decisions_are_logged_where_that_is_asked_for() {
    let all = lines(Audit::All, asks);
    let decisions: Vec<_> = all.iter().map(|line| line["decision"].as_str()).collect();
    assert_eq!(decisions, ["permit", "forbid", "invalid"]);
    assert_eq!(all[0]["policies"], "own");
}

#[test]
fn decisions_are_counted_by_outcome_alone() {
    let policies = policies("permit(principal, action, resource is Order);");
    let registry = Registry::new();
    policies.observe(&registry);
    let alice = alice().into_principal();
    for number in 0..50 {
        let order = Resource::new("Order", number.to_string());
        policies.check(&alice, READ, &order).unwrap();
        policies.check(&alice, &format!("made up {number}"), &order).unwrap_err();
    }
    policies.check(&alice, READ, &Resource::new("Service", "x")).unwrap_err();
    let counted = series(&registry, "auth.policy.decisions");
    let expected = [("permit", 50), ("forbid", 0), ("no_permit", 1), ("invalid", 50)];
    assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)).into());
}
