//! Nothing that is wrong is taken, and what is wrong is said where it is.

use std::fs;

use super::*;

fn refused(config: &Config) -> String {
    Policies::read(config).unwrap_err().to_string()
}

#[track_caller]
fn says(config: &Config, expected: &[&str]) {
    let said = refused(config);
    for expected in expected {
        assert!(said.contains(expected), "`{expected}` is not in: {said}");
    }
}

const FINE: &str = "permit(principal, action, resource);\n";

#[test]
fn mistakes_in_policies_are_told_with_line_and_id() {
    let text = |text: &str| config(&format!("{FINE}\n{text}"));
    let place = "`auth.policy.paths`: auth.policy.policies:3: ";
    says(&text("permit(principal action, resource);"), &[place, "unexpected token `action`", "expected"]);
    says(
        &text("@id(\"x\") permit(principal, action, resource is Invoice);"),
        &[place, "policy `x`", "Invoice"],
    );
    says(
        &text("permit(principal, action == Action::\"GET /order\", resource);"),
        &[place, "policy `auth.policy.policies#2`", "GET /order", "did you mean"],
    );
    says(
        &text("@id(\"x\") permit(principal, action, resource is Order) when { resource.totl > 3 };"),
        &[place, "policy `x`", "`totl`", "did you mean `total`?"],
    );
    says(
        &text("@id(\"x\") permit(principal, action, resource is Order) when {\n resource.total == \"12\" };"),
        &["auth.policy.policies:4: ", "policy `x`", "Long", "String"],
    );
    // An attribute that is not always there.
    says(
        &text("@id(\"x\") permit(principal is User, action, resource) when { principal.tenant == \"a\" };"),
        &[place, "`tenant`", "has"],
    );
    says(&text("permit(principal == ?principal, action, resource);"), &[place, "expected no template"]);
    says(
        &text(
            "@id(\"x\") permit(principal, action, resource);\n@id(\"x\") forbid(principal, action, resource);",
        ),
        &["auth.policy.policies:4: ", "`x` is also that of auth.policy.policies:3"],
    );
    // All of them at once.
    says(
        &text(
            "@id(\"x\") permit(principal, action, resource is A);\n@id(\"y\") permit(principal, action, resource is B);",
        ),
        &["policy `x`", "policy `y`"],
    );
}

#[test]
fn mistakes_in_the_schema_are_told() {
    let schema = |schema: &str| Config::new(schema, FINE);
    says(
        &schema("entity User {\n issuer Strin };"),
        &["`auth.policy.schema`: auth.policy.schema:2: ", "expected"],
    );
    says(&schema("entity User { issuer: Strin };"), &["auth.policy.schema", "Strin"]);
    says(&schema("entity Person;"), &["expected the entity type `User` or `Client`"]);
    says(
        &schema("entity User { scopes: String };"),
        &["`scopes` of `User`: expected the type `Set<String>`"],
    );
    says(
        &schema("type T = Long; entity User { means: T };"),
        &["`means` of `User`: expected the type `String`"],
    );
    says(
        &schema("entity User { tenent: String };"),
        &["nothing fills the attribute `tenent` of `User`", "`subject`"],
    );
    says(&schema("entity User { client: String };"), &["`client` of `User`", "optional"]);
    says(&schema("entity Client { subject: String };"), &["`subject` of `Client`", "optional"]);
    let action = "entity Order; action view appliesTo { principal: User, resource: Order };";
    assert!(Policies::read(&schema(&format!("entity User {{ tenent?: String }};{action}"))).is_ok());
}

#[test]
fn mistakes_in_entities_are_told() {
    let entities = |entities: &str| config(FINE).with_entities(entities);
    let place = "`auth.policy.entities`: auth.policy.entities: ";
    says(&entities("{"), &[place, "expected a list of entities"]);
    says(
        &entities(
            r#"[{"uid": {"type": "Order", "id": "8"}, "attrs": {"owner": 1, "total": 5}, "parents": []}]"#,
        ),
        &[place, "owner"],
    );
    says(
        &entities(
            r#"[{"uid": {"type": "Region", "id": "a"}, "attrs": {}, "parents": [{"type": "Region", "id": "b"}]},
                {"uid": {"type": "Region", "id": "b"}, "attrs": {}, "parents": [{"type": "Region", "id": "a"}]}]"#,
        ),
        &[place, "cycle"],
    );
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    let mut without = config(FINE);
    without.schema = None;
    says(&without, &["`auth.policy.schema_file`: expected the file of the schema"]);
    let mut twice = config(FINE);
    twice.schema_file = Some("x.cedarschema".into());
    says(&twice, &["only one of `schema` and `schema_file`"]);
    says(&Config { issuer: "x".to_owned(), ..Config::default() }, &["`auth.policy.paths`"]);
    says(&config(FINE).with_claim("scopes", "x"), &["`auth.policy.claims.scopes`: expected another name"]);
    assert!(Config::default().wrong().is_empty() && !Config::default().is_configured());
}

#[test]
fn files_are_read_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("shop.cedarschema");
    fs::write(&schema, SCHEMA).unwrap();
    let mut config =
        Config::of_files(&schema, [folder.path()]).with_claim("level", "level").with_claim("tenant", "t");
    says(&config, &["there is no file `*.cedar`"]);

    fs::write(folder.path().join("b.cedar"), "permit(principal, action, resource);").unwrap();
    fs::write(
        folder.path().join("a.cedar"),
        "permit(principal, action, resource);\n\nforbid(principal, action, resource);",
    )
    .unwrap();
    fs::write(folder.path().join("notes.txt"), "not a policy").unwrap();
    let policies = Policies::read(&config).unwrap();
    let (outcome, ids) = decided(&policies, &alice(), READ, &order());
    assert_eq!((outcome, ids), (Outcome::Forbid, vec!["a.cedar#2".to_owned()]));

    fs::write(folder.path().join("a.cedar"), "permit(principal, action, resource)\n\nforbid").unwrap();
    says(&config, &["a.cedar:3: "]);
    fs::write(folder.path().join("a.cedar"), vec![b' '; source::LARGEST_FILE as usize + 1]).unwrap();
    says(&config, &["a.cedar: it has more than 1024 KiB"]);
    fs::write(folder.path().join("a.cedar"), b"\xff").unwrap();
    says(&config, &["a.cedar: it is not UTF-8"]);
    fs::write(folder.path().join("a.cedar"), "").unwrap();
    for number in 0..=source::LARGEST as u64 / source::LARGEST_FILE {
        fs::write(folder.path().join(format!("c{number}.cedar")), vec![b' '; source::LARGEST_FILE as usize])
            .unwrap();
    }
    says(&config, &["there are more than 8 MiB of policies"]);

    config.paths = vec![folder.path().join("missing.cedar")];
    says(&config, &["`auth.policy.paths`", "missing.cedar"]);
    config.paths = vec!["/dev/zero".into()];
    says(&config, &["/dev/zero: it is not a file"]);
    config.paths = Vec::new();
    config.policies = Some(FINE.to_owned());
    config.schema_file = Some(folder.path().join("missing"));
    says(&config, &["`auth.policy.schema_file`", "missing"]);
}

#[test]
fn deep_and_huge_policies_cost_an_error_and_not_the_process() {
    let when = |condition: &str| {
        config(&format!("{FINE}permit(principal, action, resource) when {{ {condition} }};"))
    };
    let deep = |depth: usize| when(&format!("{}true{}", "(".repeat(depth), ")".repeat(depth)));
    let conditions = |count: usize| when(&format!("{}true", "if true then true else ".repeat(count)));
    let chained = |count: usize| when(&format!("{}true", "true && ".repeat(count)));
    for far in [deep(20_000), conditions(20_000), chained(100_000), when(&"!".repeat(100_000))] {
        says(&far, &["`auth.policy.paths`: auth.policy.policies:2: expected at most"]);
    }
    says(&when(&"!".repeat(1000)), &["auth.policy.policies:2"]);
    // As much as is read can be evaluated, or fails as a policy does.
    for near in [deep(60), conditions(60), chained(990)] {
        assert_ne!(outcome(&Policies::read(&near).unwrap(), &alice(), READ, &order()), Outcome::Invalid);
    }
    let sets = |depth: usize| {
        let set = format!("{}String{}", "Set<".repeat(depth), ">".repeat(depth));
        format!(
            "entity Order; entity User {{ a?: {set} }}; action view appliesTo {{ principal: User, resource: Order }};"
        )
    };
    says(&Config::new(sets(20_000), FINE), &["`auth.policy.schema`: auth.policy.schema:1: expected at most"]);
    Policies::read(&Config::new(sets(60), FINE)).unwrap();
    // What only looks deep.
    let text = format!("// {0}\n@id(\"{0}\\\"{0}\") permit(principal, action, resource);", "(".repeat(1000));
    assert!(Policies::read(&config(&text)).is_ok());

    says(
        &config(&"permit(principal,action,resource);".repeat(set::MOST + 1)),
        &["there are more than 20000 policies"],
    );
}
