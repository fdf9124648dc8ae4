//! Who asks, as an entity of the schema.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{EntityTypeName, Schema};
use serde_json::{Map, Value, json};

use super::{Caller, Config, source::Text};
use crate::{
    Principal,
    principal::{Identity, Means},
    token::value_at,
};

/// The attributes that every principal has, and their types.
pub(super) const OWN: [(&str, &str); 6] = [
    ("issuer", "String"),
    ("subject", "String"),
    ("client", "String"),
    ("scopes", "Set<String>"),
    ("roles", "Set<String>"),
    ("means", "String"),
];

/// Those that are not always there.
const SOMETIMES: [&str; 2] = ["subject", "client"];

/// `User` or `Client`, as far as the schema has it.
#[derive(Debug)]
pub(super) struct Kind {
    /// With its namespace.
    pub(super) name: String,
    pub(super) parsed: EntityTypeName,
    /// What it has an attribute for: of principals, and of claims by their way.
    own: Vec<&'static str>,
    claims: Vec<(String, String)>,
    /// `Role`, where it can be one's parent.
    role: Option<String>,
}

/// How principals become entities.
#[derive(Debug)]
pub(super) struct Principals {
    issuer: String,
    user: Option<Kind>,
    client: Option<Kind>,
}

impl Principals {
    /// By what the schema has of `User`, `Client` and `Role`; `json` is the same schema.
    pub(super) fn of(
        config: &Config,
        schema: &Schema,
        json: &Value,
        text: &Text,
    ) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut kind = |name: &str| {
            Kind::of(name, config, schema, json).and_then(|kind| match kind {
                Ok(kind) => Some(kind),
                Err(what) => {
                    wrong.extend(what.into_iter().map(|what| format!("{}: {what}", text.name)));
                    None
                }
            })
        };
        let (user, client) = (kind("User"), kind("Client"));
        if user.is_none() && client.is_none() && wrong.is_empty() {
            let [user, client] = ["User", "Client"].map(|name| qualified(&config.namespace, name));
            wrong.push(format!(
                "{}: expected the entity type `{user}` or `{client}`, for who asks",
                text.name
            ));
        }
        if wrong.is_empty() { Ok(Self { issuer: config.issuer.clone(), user, client }) } else { Err(wrong) }
    }

    /// Those that the schema has.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.user.iter().chain(&self.client)
    }

    /// Its type and its id.
    pub(super) fn identify<'a>(&'a self, principal: &Principal) -> Result<(&'a Kind, String), String> {
        let (subject, client) = (principal.subject(), principal.client());
        // A client that acts for itself is its own subject (RFC 9068 section 2.2), or has none.
        let (kind, name, of) = match (subject, client) {
            (Some(subject), client) if client != Some(subject) => ("User", subject, &self.user),
            (_, Some(client)) => ("Client", client, &self.client),
            (Some(subject), None) => ("User", subject, &self.user),
            (None, None) => return Err("the principal has neither subject nor client".to_owned()),
        };
        let kind = of.as_ref().ok_or_else(|| format!("the schema has no entity type `{kind}`"))?;
        Ok((kind, self.id(principal.issuer(), name)))
    }

    /// Subjects are unique within their issuer only. No two ids of this form are the same for different ones: the plain ones
    /// have no `#`, and in the others it is the first one that ends the issuer.
    fn id(&self, issuer: &str, name: &str) -> String {
        if !self.issuer.is_empty() && issuer == self.issuer && !name.contains('#') {
            name.to_owned()
        } else {
            format!("{}#{name}", issuer.replace('%', "%25").replace('#', "%23"))
        }
    }
}

impl Kind {
    /// `None` where the schema has no such type.
    fn of(name: &str, config: &Config, schema: &Schema, json: &Value) -> Option<Result<Self, Vec<String>>> {
        let full = qualified(&config.namespace, name);
        let parsed: EntityTypeName = full.parse().ok()?;
        if !schema.entity_types().any(|kind| *kind == parsed) {
            return None;
        }
        let role = qualified(&config.namespace, "Role");
        let has_role = schema
            .ancestors(&parsed)
            .is_some_and(|mut ancestors| ancestors.any(|kind| kind.to_string() == role));
        let (mut own, mut claims, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (attribute, (kind, is_required)) in declared(json, &config.namespace, name) {
            if let Some((own_name, expected)) = OWN.iter().find(|(own, _)| *own == attribute) {
                if kind.as_ref().is_some_and(|kind| kind != expected) {
                    wrong.push(format!("`{attribute}` of `{full}`: expected the type `{expected}`"));
                } else if is_required && name == "User" && *own_name == "client"
                    || is_required && name == "Client" && *own_name == "subject"
                {
                    wrong.push(format!(
                        "`{attribute}` of `{full}`: expected it to be optional (`{attribute}?`), since not all have it"
                    ));
                }
                own.push(*own_name);
            } else if let Some(claim) = config.claims.get(&attribute) {
                claims.push((attribute, claim.clone()));
            } else if is_required && config.entities.is_none() && config.entities_file.is_none() {
                let known: Vec<_> = OWN.iter().map(|(name, _)| format!("`{name}`")).collect();
                wrong.push(format!(
                    "nothing fills the attribute `{attribute}` of `{full}`: expected one of {}, or a claim for it in `auth.policy.claims`",
                    known.join(", ")
                ));
            }
        }
        let kind = Self { name: full, parsed, own, claims, role: has_role.then_some(role) };
        Some(if wrong.is_empty() { Ok(kind) } else { Err(wrong) })
    }

    /// What the schema declares of it, filled from `principal`.
    pub(super) fn attributes(&self, principal: &Principal) -> Map<String, Value> {
        let mut attributes = Map::new();
        for name in &self.own {
            let value = match *name {
                "issuer" => json!(principal.issuer()),
                "subject" => json!(principal.subject()),
                "client" => json!(principal.client()),
                "scopes" => json!(principal.scopes()),
                "roles" => json!(principal.roles()),
                _ => json!(principal.means().name()),
            };
            debug_assert!(!value.is_null() || SOMETIMES.contains(name));
            if !value.is_null() {
                attributes.insert((*name).to_owned(), value);
            }
        }
        for (attribute, claim) in &self.claims {
            if let Some(value) = value_at(&principal.0.claims, claim).filter(|value| !value.is_null()) {
                attributes.insert(attribute.clone(), value.clone());
            }
        }
        attributes
    }

    /// The roles, where they can be its parents.
    pub(super) fn parents(&self, principal: &Principal) -> Vec<Value> {
        let Some(role) = &self.role else { return Vec::new() };
        principal.roles().iter().map(|id| json!({ "type": role, "id": id })).collect()
    }
}

/// `name` within `namespace`.
pub(super) fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

/// The attributes of an entity type by the schema: the type where it is a plain one, and whether they are required.
fn declared(schema: &Value, namespace: &str, name: &str) -> BTreeMap<String, (Option<String>, bool)> {
    let shape = schema.get(namespace).and_then(|space| space.get("entityTypes")?.get(name)?.get("shape"));
    let shape = shape.map(|shape| resolved(schema, namespace, shape));
    let attributes = shape.and_then(|shape| shape.get("attributes")?.as_object());
    let entry = |(name, kind): (&String, &Value)| {
        let is_required = kind.get("required").is_none_or(|required| required != &Value::Bool(false));
        (name.clone(), (plain(resolved(schema, namespace, kind)), is_required))
    };
    attributes.into_iter().flatten().map(entry).collect()
}

/// What a common type stands for.
fn resolved<'a>(schema: &'a Value, namespace: &str, kind: &'a Value) -> &'a Value {
    let named = ["name", "type"].iter().find_map(|key| kind.get(key)?.as_str()).unwrap_or_default();
    let common = |space: &str, name: &str| schema.get(space)?.get("commonTypes")?.get(name);
    let found = match named.rsplit_once("::") {
        Some((space, name)) => common(space, name),
        None => common(namespace, named).or_else(|| common("", named)),
    };
    found.unwrap_or(kind)
}

/// `String` or `Set<String>`; nothing for what is less simple.
fn plain(kind: &Value) -> Option<String> {
    let name = |kind: &Value| match kind.get("type")?.as_str()? {
        "EntityOrCommon" => Some(kind.get("name")?.as_str()?.trim_start_matches("__cedar::").to_owned()),
        other => Some(other.to_owned()),
    };
    match name(kind)?.as_str() {
        primitive @ ("String" | "Long" | "Bool" | "Boolean") => Some(primitive.to_owned()),
        "Set" => match name(kind.get("element")?)?.as_str() {
            primitive @ ("String" | "Long" | "Bool" | "Boolean") => Some(format!("Set<{primitive}>")),
            _ => None,
        },
        _ => None,
    }
}

impl Principal {
    /// Somebody who was not authenticated.
    pub(super) fn described(caller: Caller) -> Self {
        let Caller { issuer, subject, client, scopes, roles, claims } = caller;
        Self(Arc::new(Identity {
            issuer,
            subject,
            client,
            scopes,
            roles,
            expires: f64::INFINITY,
            claims,
            means: Means::Bearer,
            bound: None,
        }))
    }
}
