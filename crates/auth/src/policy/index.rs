//! The policies, found by what their scopes name, so that a decision evaluates those only that can matter.
//!
//! Each policy stands in one group of each action that its scope lets through: below the principal or the resource that the scope
//! names (`==` or `in`), or among those that name neither. A decision evaluates the groups of the principal, of the resource, and
//! of the ancestors of both. No other policy can match: its scope is false.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityUid, Policy, PolicySet, PrincipalConstraint,
    ResourceConstraint, Schema,
};

/// The policies for one action.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) uid: EntityUid,
    /// It and the groups that it is in, where it is in any.
    pub(super) entities: Vec<Entity>,
    general: Group,
    by_principal: HashMap<EntityUid, Group>,
    by_resource: HashMap<EntityUid, Group>,
}

/// Policies that are evaluated together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) policies: PolicySet,
    /// Entities that they name.
    pub(super) named: Vec<EntityUid>,
}

impl Action {
    /// Those of `policies` that can matter for this action.
    pub(super) fn of<'a>(
        uid: &EntityUid,
        actions: &Entities,
        policies: impl Iterator<Item = &'a Policy>,
    ) -> Result<Self, String> {
        let ancestors: Vec<_> = actions.ancestors(uid).into_iter().flatten().cloned().collect();
        let is_in = |group: &EntityUid| group == uid || ancestors.contains(group);
        let mut action = Self {
            uid: uid.clone(),
            entities: Vec::new(),
            general: Group::default(),
            by_principal: HashMap::new(),
            by_resource: HashMap::new(),
        };
        for policy in policies {
            let can_match = match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(named) => named == *uid,
                ActionConstraint::In(named) => named.iter().any(is_in),
            };
            if can_match {
                action.group(policy).add(policy)?;
            }
        }
        if !ancestors.is_empty() {
            let lineage = ancestors.iter().chain([uid]);
            action.entities = lineage.filter_map(|uid| actions.get(uid).cloned()).collect();
        }
        Ok(action)
    }

    fn group(&mut self, policy: &Policy) -> &mut Group {
        match (policy.principal_constraint(), policy.resource_constraint()) {
            (PrincipalConstraint::Eq(named), _) => self.by_principal.entry(named).or_default(),
            (_, ResourceConstraint::Eq(named)) => self.by_resource.entry(named).or_default(),
            (PrincipalConstraint::In(named) | PrincipalConstraint::IsIn(_, named), _) => {
                self.by_principal.entry(named).or_default()
            }
            (_, ResourceConstraint::In(named) | ResourceConstraint::IsIn(_, named)) => {
                self.by_resource.entry(named).or_default()
            }
            _ => &mut self.general,
        }
    }

    /// The groups for these: each with all that it is in. Each group once.
    pub(super) fn groups<'a, 'b>(
        &'a self,
        principal: impl Iterator<Item = &'b EntityUid>,
        resource: impl Iterator<Item = &'b EntityUid>,
    ) -> Vec<&'a Group> {
        let mut groups = Vec::with_capacity(4);
        groups.push(&self.general);
        let found = principal.filter_map(|uid| self.by_principal.get(uid));
        let found = found.chain(resource.filter_map(|uid| self.by_resource.get(uid)));
        for group in found {
            if !groups.iter().any(|known| std::ptr::eq(*known, group)) {
                groups.push(group);
            }
        }
        groups
    }
}

impl Group {
    fn add(&mut self, policy: &Policy) -> Result<(), String> {
        self.policies.add(policy.clone()).map_err(|error| error.to_string())?;
        self.named.extend(policy.entity_literals());
        Ok(())
    }
}

/// By the id of the action, all actions that stand in `namespace`.
pub(super) fn actions(
    schema: &Schema,
    namespace: &str,
    policies: &[Policy],
) -> Result<HashMap<String, Action>, String> {
    let kind = super::principal::qualified(namespace, "Action");
    let all = schema.action_entities().map_err(|error| error.to_string())?;
    let own = schema.actions().filter(|uid| uid.type_name().to_string() == kind);
    let action =
        |uid: &EntityUid| Ok((uid.id().unescaped().to_owned(), Action::of(uid, &all, policies.iter())?));
    own.map(action).collect()
}
