//! The entities that are always there, and how much of them a decision needs.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, Schema};
use serde_json::{Map, Value};

use super::{principal::Principals, source::Text};

/// More entities are not read.
pub(super) const MOST: usize = 100_000;

/// The configured entities.
#[derive(Debug, Default)]
pub(super) struct Static {
    entities: HashMap<EntityUid, Known>,
    /// What the file has of users and clients, which a decision adds to what their token says.
    principals: HashMap<EntityUid, Written>,
}

#[derive(Debug)]
struct Known {
    entity: Entity,
    written: Written,
    /// What it names: its ancestors, and entities among its attributes.
    names: Vec<EntityUid>,
    ancestors: Vec<EntityUid>,
}

/// An entity as JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub(super) attributes: Map<String, Value>,
    pub(super) parents: Vec<Value>,
}

impl Static {
    /// Reads and checks them.
    pub(super) fn read(
        text: Option<&Text>,
        schema: &Schema,
        principals: &Principals,
    ) -> Result<Self, Vec<String>> {
        let Some(text) = text else { return Ok(Self::default()) };
        let wrong = |what: &dyn std::fmt::Display| vec![format!("{}: {what}", text.name)];
        let all: Vec<Value> = serde_json::from_str(&text.text)
            .map_err(|error| wrong(&format_args!("{error}: expected a list of entities")))?;
        if all.len() > MOST {
            return Err(wrong(&format_args!("there are more than {MOST} entities")));
        }
        let (mut of_principals, mut others) = (HashMap::new(), Vec::new());
        for value in all {
            let uid = value.get("uid").and_then(uid_of);
            match uid.filter(|uid| principals.kinds().any(|kind| kind.parsed == *uid.type_name())) {
                Some(uid) => {
                    let written = Written::of(&value);
                    if of_principals.insert(uid.clone(), written).is_some() {
                        return Err(wrong(&format_args!("`{uid}` is there twice")));
                    }
                }
                None => others.push(value),
            }
        }
        let others = Entities::from_json_value(Value::Array(others), Some(schema))
            .map_err(|error| wrong(&mainstay_core::error::Report::new(&error)))?;
        let mut entities = HashMap::new();
        for entity in others.iter() {
            // Actions are those of the schema.
            if entity.uid().type_name().basename() == "Action" {
                continue;
            }
            let written = entity.to_json_value().map_err(|error| wrong(&error))?;
            let ancestors: Vec<_> = others.ancestors(&entity.uid()).into_iter().flatten().cloned().collect();
            let mut names = ancestors.clone();
            referenced(&written, &mut |uid| names.push(uid));
            let known = Known { entity: entity.clone(), written: Written::of(&written), names, ancestors };
            entities.insert(entity.uid(), known);
        }
        Ok(Self { entities, principals: of_principals })
    }

    pub(super) fn len(&self) -> usize {
        self.entities.len() + self.principals.len()
    }

    /// What is configured of a user or client.
    pub(super) fn principal(&self, uid: &EntityUid) -> Option<&Written> {
        self.principals.get(uid)
    }

    /// What is configured of a resource.
    pub(super) fn written(&self, uid: &EntityUid) -> Option<&Written> {
        self.entities.get(uid).map(|known| &known.written)
    }

    /// Whether none is configured, but for users and clients.
    pub(super) fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// What this one is in.
    pub(super) fn ancestors(&self, uid: &EntityUid) -> Vec<EntityUid> {
        self.entities.get(uid).map(|known| known.ancestors.clone()).unwrap_or_default()
    }

    /// The ancestors of what has these parents, and the parents.
    pub(super) fn lineage(&self, parents: Vec<EntityUid>) -> Vec<EntityUid> {
        let above = parents.iter().filter_map(|parent| self.entities.get(parent));
        let above: Vec<_> = above.flat_map(|known| known.ancestors.iter().cloned()).collect();
        parents.into_iter().chain(above).collect()
    }

    /// Everything that can be reached from `roots`, so that a decision sees no less of it than with all entities.
    pub(super) fn reached(&self, roots: impl IntoIterator<Item = EntityUid>) -> Vec<Entity> {
        let mut reached = Vec::new();
        let mut seen: HashSet<EntityUid> = HashSet::new();
        let mut left: Vec<EntityUid> = roots.into_iter().collect();
        while let Some(uid) = left.pop() {
            if let Some(known) = self.entities.get(&uid)
                && seen.insert(uid)
            {
                reached.push(known.entity.clone());
                left.extend(known.names.iter().cloned());
            }
        }
        reached
    }
}

impl Written {
    fn of(value: &Value) -> Self {
        let attributes = value.get("attrs").and_then(Value::as_object).cloned().unwrap_or_default();
        let parents = value.get("parents").and_then(Value::as_array).cloned().unwrap_or_default();
        Self { attributes, parents }
    }
}

/// `{"type": …, "id": …}`, also within `__entity`.
pub(super) fn uid_of(value: &Value) -> Option<EntityUid> {
    let value = value.get("__entity").unwrap_or(value);
    let kind: EntityTypeName = value.get("type")?.as_str()?.parse().ok()?;
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(value.get("id")?.as_str()?)))
}

/// Each entity that a value names. What only looks like one does no harm.
pub(super) fn referenced(value: &Value, found: &mut impl FnMut(EntityUid)) {
    match value {
        Value::Object(fields) => {
            if let Some(uid) = uid_of(value) {
                found(uid);
            }
            fields.values().for_each(|value| referenced(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| referenced(value, found)),
        _ => {}
    }
}
