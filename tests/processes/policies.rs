//! Policies in files, replaced while the process runs; what it says of them.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    auth::{ask, closed_with, token},
    harness::{Process, get, metrics},
    inspect::inspect,
};

const SCHEMA: &str = r#"
entity User { subject: String };
entity Service;
action "GET /reports" appliesTo { principal: User, resource: Service };
"#;

/// The one rule: who may see the reports.
fn only(id: &str, subject: &str) -> String {
    let when = format!("principal.subject == {subject:?}");
    format!(
        "@id({id:?})\npermit(principal, action == Action::\"GET /reports\", resource) when {{ {when} }};\n"
    )
}

/// As a whole, as an editor does.
fn replace(folder: &Path, text: &str) {
    std::fs::write(folder.join("rules.new"), text).unwrap();
    std::fs::rename(folder.join("rules.new"), folder.join("rules.cedar")).unwrap();
}

/// Status of the reports for alice and for bob.
async fn reports(process: &Process) -> [u16; 2] {
    let status = async |subject: &str| {
        let fields = format!("Authorization: Bearer {}\r\n", token(subject));
        ask(process, "GET /reports", &fields).await.status
    };
    [status("alice").await, status("bob").await]
}

/// What the process says it would decide about somebody.
async fn explained(process: &Process, subject: &str) -> Value {
    let question = json!({
        "principal": {"issuer": "https://id.example", "subject": subject, "client": "web"},
        "action": "GET /reports",
        "resource": {"type": "Service", "id": "specimen"},
    });
    let arguments = ["explain", "--json", "--ask", &question.to_string()];
    let (code, text) = inspect(process.admin, &arguments).await;
    assert_eq!(code, Some(0), "{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

async fn listed(process: &Process) -> Value {
    let page = get(process.admin, "/policy").await;
    assert_eq!(page.status, 200, "{page:?}");
    serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{page:?}"))
}

#[tokio::test]
async fn a_policy_that_is_replaced_decides_and_is_explained_and_one_that_is_wrong_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schema.cedarschema"), SCHEMA).unwrap();
    replace(folder.path(), &only("first", "alice"));
    let path = format!("auth.policy.paths={}", folder.path().display());
    let schema = format!("auth.policy.schema_file={}/schema.cedarschema", folder.path().display());
    let process = closed_with(&["--set", &path, "--set", &schema]).await;

    assert_eq!(reports(&process).await, [200, 403]);
    let said = explained(&process, "alice").await;
    assert_eq!(
        (said["outcome"].as_str(), said["policies"][0]["id"].as_str()),
        (Some("permit"), Some("first")),
        "{said}"
    );
    assert_eq!(explained(&process, "bob").await["outcome"], "no_permit");
    let page = listed(&process).await;
    assert_eq!(
        (page["policies"].as_array().map(Vec::len), &page["policies"][0]["id"]),
        (Some(1), &"first".into()),
        "{page}"
    );
    assert!(page["refused"].is_null(), "{page}");
    let denied = process.log().wait_for("the denial", |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = line.get("attributes")?;
        (fields["decision"] == "no_permit").then(|| fields.clone())
    });
    let denied = denied.await;
    assert_eq!(
        (denied["subject"].as_str(), denied["action"].as_str()),
        (Some("bob"), Some("GET /reports")),
        "{denied}"
    );

    replace(folder.path(), &only("second", "bob"));
    let taken = |line: &str| line.contains("the changed policies are in use").then_some(());
    process.log().wait_for("the change", taken).await;
    assert_eq!(reports(&process).await, [403, 200]);
    assert_eq!(explained(&process, "alice").await["outcome"], "no_permit");
    assert_eq!(explained(&process, "bob").await["policies"][0]["id"], "second");
    assert_eq!(listed(&process).await["policies"][0]["id"], "second");

    // The schema has no such attribute.
    replace(folder.path(), &only("third", "alice").replace("principal.subject", "principal.name"));
    let refused = |line: &str| line.contains("can't be used, the last ones stay in use").then_some(());
    process.log().wait_for("the refusal", refused).await;
    assert_eq!(reports(&process).await, [403, 200]);
    let page = listed(&process).await;
    let why = page["refused"].as_str().unwrap_or_else(|| panic!("{page}"));
    assert!(why.contains("rules.cedar") && why.contains("name"), "{why}");
    assert_eq!(page["policies"][0]["id"], "second", "{page}");
    let (code, text) = inspect(process.admin, &["policy"]).await;
    assert!(code == Some(0) && text.contains("second") && text.contains("rules.cedar"), "{text}");
    let metrics = metrics(&process).await;
    for outcome in ["taken", "refused"] {
        let series = format!("auth_policy_reloads_total{{outcome=\"{outcome}\"}}");
        assert_eq!(metrics.get(&series), Some(&1.0), "{series}: {metrics:?}");
    }
}
