use super::*;

#[test]
fn without_a_policy_that_permits_nothing_is_permitted() {
    for text in ["", "permit(principal, action == Action::\"shop.Orders/Place\", resource);"] {
        assert_eq!(outcome(&policies(text), &alice(), READ, &order()), Outcome::NoPermit);
    }
}

#[test]
fn attributes_of_principal_and_resource_decide_and_the_decision_names_its_policies() {
    let policies = policies(
        "@id(\"own\")\npermit(principal is User, action in Action::\"read\", resource is Order)\n\
         when { resource.owner == principal.subject };\n\n@id(\"frozen\")\nforbid(principal, action, resource is Order)\n\
         when { resource has frozen && resource.frozen };",
    );
    assert_eq!(decided(&policies, &alice(), READ, &order()), (Outcome::Permit, vec!["own".to_owned()]));
    assert_eq!(outcome(&policies, &Caller::user(ISSUER, "bob"), READ, &order()), Outcome::NoPermit);
    assert_eq!(outcome(&policies, &alice(), DELETE, &order()), Outcome::NoPermit);
    let frozen = order().with("frozen", true);
    assert_eq!(decided(&policies, &alice(), READ, &frozen), (Outcome::Forbid, vec!["frozen".to_owned()]));

    let principal = alice().into_principal();
    let decision = policies.decide(&Question::new(&principal, READ, &frozen));
    assert_eq!(decision.to_string(), "forbid by frozen (auth.policy.policies:5)");
    let error = policies.check(&principal, READ, &frozen).unwrap_err();
    assert_eq!(error.kind(), Kind::PermissionDenied);
    assert_eq!(error.find::<Denied>().unwrap().decision().outcome, Outcome::Forbid);
    policies.check(&principal, READ, &order()).unwrap();
}

#[test]
fn scopes_roles_claims_and_means_are_what_the_token_says() {
    let text =
        |condition: &str| format!("permit(principal is User, action, resource) when {{ {condition} }};");
    let caller = alice()
        .with_scope("orders:read")
        .with_role("clerk")
        .with_claim("tenant", "north")
        .with_claim("org", serde_json::json!({ "level": 3 }));
    for (condition, expected) in [
        ("principal.scopes.contains(\"orders:read\")", true),
        ("principal.scopes.contains(\"orders\")", false),
        ("principal.roles.contains(\"clerk\")", true),
        ("principal in Role::\"clerk\"", true),
        ("principal in Role::\"manager\"", false),
        ("principal has tenant && principal.tenant == \"north\"", true),
        ("principal has level && principal.level > 2", true),
        ("principal.means == \"bearer\"", true),
        ("principal.issuer == \"https://id.example\" && principal.subject == \"alice\"", true),
        ("principal has client", false),
    ] {
        let permitted = outcome(&policies(&text(condition)), &caller, READ, &order()) == Outcome::Permit;
        assert_eq!(permitted, expected, "{condition}");
    }
}

#[test]
fn a_client_for_itself_is_no_user() {
    let policies = policies("permit(principal == Client::\"billing\", action, resource);");
    for (caller, expected) in [
        (Caller::client(ISSUER, "billing"), Outcome::Permit),
        // Many providers say it twice.
        (Caller { client: Some("billing".into()), ..Caller::user(ISSUER, "billing") }, Outcome::Permit),
        // Somebody who uses it.
        (Caller { client: Some("billing".into()), ..alice() }, Outcome::NoPermit),
        (Caller::user(ISSUER, "billing"), Outcome::NoPermit),
        (Caller::client(ISSUER, "other"), Outcome::NoPermit),
        (Caller::default(), Outcome::Invalid),
    ] {
        assert_eq!(outcome(&policies, &caller, READ, &order()), expected, "{caller:?}");
    }
}

#[test]
fn nobody_is_taken_for_a_subject_of_another_issuer() {
    let policies = policies("permit(principal == User::\"alice\", action, resource);");
    assert_eq!(outcome(&policies, &alice(), READ, &order()), Outcome::Permit);
    let other = Caller::user("https://evil.example", "alice");
    assert_eq!(outcome(&policies, &other, READ, &order()), Outcome::NoPermit);

    let policies =
        super::policies("permit(principal == User::\"https://other.example#alice\", action, resource);");
    let right = Caller::user("https://other.example", "alice");
    assert_eq!(outcome(&policies, &right, READ, &order()), Outcome::Permit);
    for (issuer, subject) in [
        (ISSUER, "https://other.example#alice"),
        ("https://other.example#alice", ""),
        ("https://other.example%23alice", ""),
        ("", "https://other.example#alice"),
        ("https://other.example", "#alice"),
    ] {
        let caller = Caller::user(issuer, subject);
        assert_eq!(outcome(&policies, &caller, READ, &order()), Outcome::NoPermit, "{caller:?}");
    }
}

#[test]
fn a_policy_that_fails_never_lets_in() {
    // The order is not known beyond its id.
    let bare = Resource::new("Order", "7");
    let permits = "@id(\"p\") permit(principal, action, resource is Order) when { resource.total < 100 };";
    let all = "@id(\"all\") permit(principal, action, resource);";
    let forbids = "@id(\"f\") forbid(principal, action, resource is Order) when { resource.total > 1000 };";

    assert_eq!(outcome(&policies(permits), &alice(), READ, &order()), Outcome::Permit);
    assert_eq!(outcome(&policies(permits), &alice(), READ, &bare), Outcome::NoPermit);
    // What fails to permit does not keep others from it.
    assert_eq!(outcome(&policies(&format!("{permits}{all}")), &alice(), READ, &bare), Outcome::Permit);
    // What fails to forbid forbids.
    let both = policies(&format!("{all}{forbids}"));
    assert_eq!(outcome(&both, &alice(), READ, &order()), Outcome::Permit);
    assert_eq!(decided(&both, &alice(), READ, &bare), (Outcome::Forbid, vec!["f".to_owned()]));
    let principal = alice().into_principal();
    let decision = both.decide(&Question::new(&principal, READ, &bare));
    assert_eq!(decision.errors.len(), 1);
    assert!(decision.errors[0].contains("`f`") && decision.errors[0].contains("Order"), "{decision}");

    // Numbers that don't fit are such a failure too.
    let overflow = "@id(\"o\") forbid(principal, action, resource is Order) when { resource.total * 9223372036854775807 > 0 };";
    let decision = policies(&format!("{all}{overflow}"));
    assert_eq!(outcome(&decision, &alice(), READ, &order()), Outcome::Forbid);
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    let policies = policies("permit(principal, action, resource);");
    let invalid = |caller: &Caller, action: &str, resource: &Resource, expected: &str| {
        let principal = caller.clone().into_principal();
        let decision = policies.decide(&Question::new(&principal, action, resource));
        assert_eq!(decision.outcome, Outcome::Invalid, "{expected}");
        assert!(decision.errors[0].contains(expected), "{}", decision.errors[0]);
    };
    invalid(&alice(), "POST /orders", &order(), "no action `POST /orders`");
    // A group is nothing that somebody does.
    invalid(&alice(), "read", &order(), "read");
    invalid(&alice(), READ, &Resource::new("Invoice", "7"), "no entity type `Invoice`");
    invalid(&alice(), READ, &Resource::new("Team", "7"), "Team");
    invalid(&alice(), READ, &order().with("total", "12"), "total");
    invalid(&alice(), READ, &order().with("secret", true), "secret");
    invalid(&alice(), READ, &Resource::new("Order", "7").with("total", 1), "owner");
    invalid(&alice(), READ, &order().within("Team", "a"), "Team");
    // A claim that is a text where the schema has a number would make comparisons false, and let in.
    invalid(&alice().with_claim("org", serde_json::json!({ "level": "3" })), READ, &order(), "level");
    invalid(&alice().with_claim("org", serde_json::json!({ "level": 1.5 })), READ, &order(), "level");
    invalid(&alice().with_claim("tenant", serde_json::json!(["a"])), READ, &order(), "tenant");

    let principal = alice().into_principal();
    let order = order();
    let question = Question::new(&principal, DELETE, &order);
    assert!(policies.decide(&question.clone().with("reason", "spoilt")).is_permitted());
    assert_eq!(policies.decide(&question.clone().with("reason", 7)).outcome, Outcome::Invalid);
    assert_eq!(policies.decide(&question.with("other", "x")).outcome, Outcome::Invalid);
}

#[test]
fn configured_entities_are_seen_from_what_names_them() {
    let entities = r#"[
        {"uid": {"type": "Region", "id": "europe"}, "attrs": {}, "parents": []},
        {"uid": {"type": "Region", "id": "north"}, "attrs": {}, "parents": [{"type": "Region", "id": "europe"}]},
        {"uid": {"type": "Role", "id": "manager"}, "attrs": {}, "parents": [{"type": "Role", "id": "clerk"}]},
        {"uid": {"type": "Role", "id": "clerk"}, "attrs": {}, "parents": []},
        {"uid": {"type": "Order", "id": "8"}, "attrs": {"owner": "alice", "total": 5}, "parents": []},
        {"uid": {"type": "User", "id": "alice"}, "attrs": {"tenant": "east"}, "parents": [{"type": "Team", "id": "a"}]}
    ]"#;
    let policies = |text: &str| Policies::read(&config(text).with_entities(entities)).unwrap();
    let permitted = |text: &str, caller: &Caller, resource: &Resource| {
        outcome(&policies(text), caller, READ, resource) == Outcome::Permit
    };
    let of_region = order().within("Region", "north");
    assert!(permitted("permit(principal, action, resource in Region::\"europe\");", &alice(), &of_region));
    assert!(!permitted("permit(principal, action, resource in Region::\"europe\");", &alice(), &order()));
    let manager = alice().with_role("manager");
    assert!(permitted("permit(principal in Role::\"clerk\", action, resource);", &manager, &order()));
    assert!(!permitted("permit(principal in Role::\"clerk\", action, resource);", &alice(), &order()));
    // What is configured of a user is added to what the token says.
    assert!(permitted("permit(principal in Team::\"a\", action, resource);", &alice(), &order()));
    assert!(!permitted(
        "permit(principal in Team::\"a\", action, resource);",
        &Caller::user(ISSUER, "bob"),
        &order()
    ));
    let of_tenant = "permit(principal is User, action, resource) when { principal has tenant && principal.tenant == \"east\" };";
    assert!(permitted(of_tenant, &alice(), &order()));
    assert!(!permitted(of_tenant, &alice().with_claim("tenant", "west"), &order()));
    // A resource that is configured is known by its id, and one that a policy names as well.
    let small = "permit(principal, action, resource is Order) when { resource.total < 10 };";
    assert!(permitted(small, &alice(), &Resource::new("Order", "8")));
    assert!(!permitted(small, &alice(), &Resource::new("Order", "8").with("total", 50)));
    let named = "permit(principal, action, resource) when { Order::\"8\".total == 5 && Region::\"north\" in Region::\"europe\" };";
    assert!(permitted(named, &alice(), &order()));
}

#[test]
fn attributes_are_read_by_their_types() {
    #[derive(serde::Serialize)]
    struct Row {
        owner: &'static str,
        total: u32,
        price: &'static str,
        frozen: Option<bool>,
    }
    let row = Row { owner: "alice", total: 12, price: "9.99", frozen: None };
    let resource = Resource::new("Order", "7")
        .with_fields(&row)
        .unwrap()
        .with("contact", Resource::reference("User", "bob"));
    let policies = policies(
        "permit(principal, action, resource is Order) when { resource has price && resource has contact && resource.price.lessThan(decimal(\"10.0\")) && \
         resource.contact == User::\"bob\" && !(resource has frozen) };",
    );
    assert_eq!(outcome(&policies, &alice(), READ, &resource), Outcome::Permit);
    assert_eq!(outcome(&policies, &alice(), READ, &resource.with("price", "10.01")), Outcome::NoPermit);
}

#[test]
fn types_and_actions_may_stand_in_a_namespace() {
    let schema = "namespace Shop { entity User { subject: String }; entity Order; \
                  action view appliesTo { principal: User, resource: Order }; }";
    let text = "permit(principal == Shop::User::\"alice\", action == Shop::Action::\"view\", resource == Shop::Order::\"7\");";
    let mut config = Config::new(schema, text).with_issuer(ISSUER);
    config.namespace = "Shop".to_owned();
    let policies = Policies::read(&config).unwrap();
    for kind in ["Order", "Shop::Order"] {
        assert_eq!(outcome(&policies, &alice(), "view", &Resource::new(kind, "7")), Outcome::Permit);
        assert_eq!(outcome(&policies, &alice(), "view", &Resource::new(kind, "8")), Outcome::NoPermit);
    }
}

#[test]
fn an_explanation_has_what_was_evaluated_and_with_what() {
    let policies = policies(
        "@id(\"own\") permit(principal is User, action, resource is Order) when { resource.owner == principal.subject };\n\
         @id(\"other\") permit(principal == User::\"bob\", action, resource);\n\
         @id(\"never\") forbid(principal, action in Action::\"write\", resource);",
    );
    let description: Description = serde_json::from_value(serde_json::json!({
        "principal": { "issuer": ISSUER, "subject": "alice", "roles": ["clerk"] },
        "action": READ,
        "resource": { "type": "Order", "id": "7", "attributes": { "owner": "alice", "total": 1 } },
    }))
    .unwrap();
    let explanation = serde_json::to_value(policies.explain(&description)).unwrap();
    assert_eq!(explanation["outcome"], "permit");
    let ids = |key: &str| -> Vec<String> {
        let list = explanation[key].as_array().unwrap();
        list.iter().map(|policy| policy["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((ids("policies"), ids("evaluated")), (vec!["own".to_owned()], vec!["own".to_owned()]));
    assert_eq!(explanation["policies"][0]["line"], 1);
    assert_eq!(explanation["principal"]["parents"][0]["id"], "clerk");
    assert_eq!(explanation["resource"]["attrs"]["total"], 1);
}
