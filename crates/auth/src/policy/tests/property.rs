//! What holds for all policies.

use std::collections::BTreeSet;

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, Entity, EntityUid, PolicySet, Request, Schema,
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

const ENTITIES: &str = r#"[
    {"uid": {"type": "Region", "id": "r0"}, "attrs": {}, "parents": [{"type": "Region", "id": "r1"}]},
    {"uid": {"type": "Region", "id": "r1"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Role", "id": "a"}, "attrs": {}, "parents": [{"type": "Role", "id": "b"}]},
    {"uid": {"type": "Role", "id": "b"}, "attrs": {}, "parents": []}
]"#;

fn policy() -> impl Strategy<Value = String> {
    let effect = select(vec!["permit", "forbid"]);
    let principal = select(vec![
        "principal",
        "principal == User::\"alice\"",
        "principal == User::\"bob\"",
        "principal in Role::\"a\"",
        "principal in Role::\"b\"",
        "principal is User in Role::\"b\"",
        "principal is Client",
        "principal is User",
    ]);
    let action = select(vec![
        "action",
        "action == Action::\"GET /orders/{id}\"",
        "action == Action::\"DELETE /orders/{id}\"",
        "action in Action::\"read\"",
        "action in [Action::\"write\", Action::\"GET /orders/{id}\"]",
    ]);
    let resource = select(vec![
        "resource",
        "resource == Order::\"1\"",
        "resource == Order::\"2\"",
        "resource in Region::\"r0\"",
        "resource in Region::\"r1\"",
        "resource is Order in Region::\"r1\"",
        "resource is Order",
        "resource is Service",
    ]);
    let condition = select(vec![
        "",
        "when { principal.scopes.contains(\"s\") }",
        "unless { principal.scopes.contains(\"s\") }",
        "when { resource is Order && resource.total > 10 }",
        "unless { resource is Order && resource.total * 9223372036854775807 > 10 }",
        "when { Region::\"r0\" in Region::\"r1\" }",
    ]);
    (effect, principal, action, resource, condition).prop_map(
        |(effect, principal, action, resource, condition)| {
            format!("{effect}({principal}, {action}, {resource}) {condition};\n")
        },
    )
}

fn caller() -> impl Strategy<Value = Caller> {
    let who = select(vec![alice(), Caller::user(ISSUER, "bob"), Caller::client(ISSUER, "alice")]);
    let (roles, scope) = (select(vec![&[][..], &["a"], &["b"], &["a", "b"]]), any::<bool>());
    (who, roles, scope).prop_map(|(who, roles, scope)| {
        let who = roles.iter().fold(who, |who, role| who.with_role(*role));
        if scope { who.with_scope("s") } else { who }
    })
}

fn resource() -> impl Strategy<Value = Resource> {
    let whole = |id: &str, total: i64| Resource::new("Order", id).with("owner", "alice").with("total", total);
    select(vec![
        whole("1", 5),
        whole("1", 50).within("Region", "r0"),
        whole("2", 50).within("Region", "r1"),
        Resource::new("Order", "1"),
        Resource::new("Service", "orders"),
    ])
}

/// The same with Cedar alone: all policies, all entities.
fn by_cedar(
    texts: &[String],
    caller: &Caller,
    action: &str,
    resource: &Resource,
) -> (Verdict, BTreeSet<String>, BTreeSet<String>) {
    let schema: Schema = SCHEMA.parse().unwrap();
    let all: PolicySet = texts.concat().parse().unwrap();
    let mut given: Vec<serde_json::Value> = serde_json::from_str(ENTITIES).unwrap();
    let (kind, id) = match (&caller.subject, &caller.client) {
        (Some(subject), _) => ("User", subject),
        (None, client) => ("Client", client.as_ref().unwrap()),
    };
    let mut attributes = serde_json::json!({ "issuer": caller.issuer, "scopes": caller.scopes });
    if kind == "User" {
        attributes["subject"] = id.as_str().into();
        attributes["roles"] = caller.roles.clone().into();
        attributes["means"] = "bearer".into();
    } else {
        attributes["client"] = id.as_str().into();
    }
    let parents: Vec<_> =
        caller.roles.iter().map(|role| serde_json::json!({ "type": "Role", "id": role })).collect();
    given.push(
        serde_json::json!({ "uid": { "type": kind, "id": id }, "attrs": attributes, "parents": parents }),
    );
    if !resource.attributes.is_empty() {
        let parents = serde_json::to_value(&resource.parents).unwrap();
        given.push(serde_json::json!({
            "uid": { "type": resource.kind, "id": resource.id }, "attrs": resource.attributes, "parents": parents
        }));
    }
    let given: Vec<Entity> =
        given.into_iter().map(|json| Entity::from_json_value(json, Some(&schema)).unwrap()).collect();
    let entities = Entities::from_entities(given, Some(&schema)).unwrap();
    let uid = |kind: &str, id: &str| -> EntityUid {
        EntityUid::from_type_name_and_id(kind.parse().unwrap(), cedar_policy::EntityId::new(id))
    };
    let request = Request::new(
        uid(kind, id),
        uid("Action", action),
        uid(&resource.kind, &resource.id),
        Context::empty(),
        Some(&schema),
    );
    let response = Authorizer::new().is_authorized(&request.unwrap(), &all, &entities);
    // As we number them, from 1.
    let named = |id: &cedar_policy::PolicyId| {
        let number: usize = id.to_string().trim_start_matches("policy").parse().unwrap();
        format!("auth.policy.policies#{}", number + 1)
    };
    let reasons = response.diagnostics().reason().map(named).collect();
    let errors = response.diagnostics().errors().map(|error| {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
        named(error.policy_id())
    });
    (response.decision(), reasons, errors.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_evaluated_decides_as_all_policies_would_and_no_forbid_is_overruled(
        texts in vec(policy(), 0..12),
        caller in caller(),
        action in select(vec![READ, DELETE]),
        resource in resource(),
    ) {
        let policies = Policies::read(&config(&texts.concat()).with_entities(ENTITIES)).unwrap();
        let principal = caller.clone().into_principal();
        let decision = policies.decide(&Question::new(&principal, action, &resource));
        let ids: BTreeSet<_> = decision.policies.iter().map(|policy| policy.id.clone()).collect();

        let (verdict, reasons, errors) = by_cedar(&texts, &caller, action, &resource);
        let number = |id: &String| id.rsplit('#').next().unwrap().parse::<usize>().unwrap() - 1;
        let forbids = |id: &String| texts[number(id)].starts_with("forbid");
        let failed: BTreeSet<_> = errors.iter().filter(|id| forbids(id)).cloned().collect();
        prop_assert_eq!(decision.errors.len(), errors.len());
        match verdict {
            Verdict::Allow if failed.is_empty() => {
                prop_assert_eq!((decision.outcome, ids), (Outcome::Permit, reasons));
            }
            // Cedar alone would have let this in.
            Verdict::Allow => prop_assert_eq!((decision.outcome, ids), (Outcome::Forbid, failed)),
            Verdict::Deny if reasons.is_empty() && failed.is_empty() => {
                prop_assert_eq!((decision.outcome, ids), (Outcome::NoPermit, reasons));
            }
            Verdict::Deny => {
                prop_assert_eq!((decision.outcome, ids), (Outcome::Forbid, &reasons | &failed));
            }
        }
    }

    #[test]
    fn ids_of_different_principals_are_different(
        one in ("[a#%2/ ]{0,6}", "[a#%2/ ]{0,6}"),
        other in ("[a#%2/ ]{0,6}", "[a#%2/ ]{0,6}"),
        home in "[a#%2/ ]{0,6}",
    ) {
        let mut config = config("permit(principal, action, resource);");
        config.issuer = home;
        let policies = Policies::read(&config).unwrap();
        let id = |(issuer, subject): &(String, String)| {
            let caller = Caller::user(issuer, subject);
            let description = Description {
                principal: caller, action: READ.to_owned(), resource: order(), context: Default::default(),
            };
            policies.explain(&description).principal["uid"]["id"].clone()
        };
        prop_assert_eq!(id(&one) == id(&other), one == other);
    }
}
