//! Who may call: alternatives of schemes that are all needed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Found, operation::Both};
use crate::document::{Node, Unreadable};

/// One alternative: what each scheme is, and the scopes that it needs. Schemes go by what they are, not by name.
type Requirement = BTreeMap<String, Vec<String>>;

pub(super) fn compare(both: &Both<'_, '_>, found: &mut Found) -> Result<(), Unreadable> {
    let old_roots = (both.old.item.document(), &both.old_operation);
    let new_roots = (both.new.item.document(), &both.new_operation);
    let (old, new) = (requirements(&old_roots)?, requirements(&new_roots)?);
    let is_met_by = |needed: &Requirement, had: &Requirement| {
        needed.iter().all(|(scheme, scopes)| {
            had.get(scheme).is_some_and(|had| scopes.iter().all(|scope| had.contains(scope)))
        })
    };
    if old.iter().all(|had| new.iter().any(|needed| is_met_by(needed, had))) {
        return Ok(());
    }
    let (old, new) = (stated(&old_roots), stated(&new_roots));
    let place = format!("{}, security", both.place);
    found.breaks(
        &place,
        old.as_ref(),
        new.as_ref(),
        "what callers identify themselves with is no longer enough",
    );
    Ok(())
}

type Roots<'a, 'd> = (Node<'d>, &'a Node<'d>);

/// What the operation says of security, or else the document.
fn stated<'d>((root, operation): &Roots<'_, 'd>) -> Option<Node<'d>> {
    operation.get("security").or_else(|| root.get("security"))
}

/// The alternatives; one that needs nothing where nothing is said.
fn requirements(roots: &Roots<'_, '_>) -> Result<Vec<Requirement>, Unreadable> {
    let Some(stated) = stated(roots) else { return Ok(vec![Requirement::new()]) };
    let alternatives = stated.value.as_array().ok_or_else(|| stated.malformed("an array"))?;
    if alternatives.is_empty() {
        return Ok(vec![Requirement::new()]);
    }
    let schemes = roots.0.get("components").and_then(|components| components.get("securitySchemes"));
    let mut all = Vec::new();
    for alternative in alternatives {
        let alternative = alternative.as_object().ok_or_else(|| stated.malformed("an array of objects"))?;
        let mut requirement = Requirement::new();
        for (name, scopes) in alternative {
            let scheme =
                schemes.as_ref().and_then(|schemes| schemes.get(name)).map(Node::resolved).transpose()?;
            let identity = scheme.map_or_else(|| name.clone(), |scheme| identity(scheme.value));
            let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            requirement.insert(identity, scopes.collect());
        }
        all.push(requirement);
    }
    Ok(all)
}

/// What a scheme is for a caller: not how it is described, nor where tokens come from.
fn identity(scheme: &Value) -> String {
    let parts =
        ["type", "in", "name", "scheme"].map(|key| scheme.get(key).map(Value::to_string).unwrap_or_default());
    parts.join(" ").to_ascii_lowercase()
}
