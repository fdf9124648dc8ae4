//! Decisions, told and counted.

use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_core::metrics::{Definition, Observations};

use super::{Audit, Decision, Outcome, Question};

/// The target of the log lines.
pub const TARGET: &str = "mainstay_auth::audit";

/// How many decisions came out how, and how often policies were read.
#[derive(Debug, Default)]
pub(super) struct Counts {
    decisions: [AtomicU64; Outcome::ALL.len()],
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    pub(super) fn decided(&self, outcome: Outcome) {
        let all = Outcome::ALL.iter().zip(&self.decisions);
        if let Some((_, count)) = all.into_iter().find(|(known, _)| **known == outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn reloaded(&self, is_taken: bool) {
        let count = if is_taken { &self.taken } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, policies: usize, to: &mut Observations) {
        let decisions =
            Definition::new("auth.policy.decisions", "{decision}", "Decisions by policies, by outcome");
        for (outcome, count) in Outcome::ALL.iter().zip(&self.decisions) {
            to.counter(&decisions, [("outcome", outcome.name())], count.load(Ordering::Relaxed));
        }
        let reloads =
            Definition::new("auth.policy.reloads", "{reload}", "Changed policies, taken over or refused");
        for (outcome, count) in [("taken", &self.taken), ("refused", &self.refused)] {
            to.counter(&reloads, [("outcome", outcome)], count.load(Ordering::Relaxed));
        }
        let size = Definition::new("auth.policy.policies", "{policy}", "Policies in use");
        to.gauge(&size, [], policies as f64);
    }
}

/// A line, where `audit` wants one of this decision. Claims and attributes are not in it: they are about people.
pub(super) fn log(audit: Audit, question: &Question<'_>, decision: &Decision) {
    if decision.is_permitted() && audit == Audit::Denials {
        return;
    }
    let Question { principal, action, resource, .. } = question;
    let mut policies = String::new();
    for policy in &decision.policies {
        if !policies.is_empty() {
            policies.push_str(", ");
        }
        policies.push_str(&policy.id);
    }
    tracing::info!(
        target: TARGET,
        issuer = principal.issuer(),
        subject = principal.subject(),
        client = principal.client(),
        action,
        resource.r#type = resource.kind,
        resource.id = resource.id,
        decision = decision.outcome.name(),
        policies,
        errors = (!decision.errors.is_empty()).then(|| decision.errors.join("; ")),
        "decided by policy"
    );
}
