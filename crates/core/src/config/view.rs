//! Shows the effective configuration to people, secrets redacted.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value as Json;

use super::key::Key;
use super::loader::Loader;
use super::origin::Origin;
use super::reading::{Snapshot, is_from_file};
use super::secret::REDACTED;

/// The effective configuration, defaults included, each value with its origin. Cheap to clone; follows reloads.
#[derive(Clone)]
pub struct View {
    loader: Arc<Loader>,
    state: Arc<ArcSwap<Snapshot>>,
}

/// One value of the effective configuration.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its value, redacted where it is a secret; lists as a whole, `null` for an optional key that is not set.
    pub value: Json,
    /// What set it.
    pub origin: Origin,
}

impl View {
    pub(super) fn new(loader: Loader, state: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { loader: Arc::new(loader), state }
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> String {
        self.state.load().profile.clone()
    }

    /// Every value, in the order of the keys.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        entries(&self.loader, &self.state.load())
    }

    /// The configuration as TOML that can be read again, save for the redacted secrets; a comment behind each value
    /// says where it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut tables: BTreeMap<Key, Vec<Entry>> = BTreeMap::new();
        for entry in self.entries() {
            tables.entry(entry.key.parent().unwrap_or_default()).or_default().push(entry);
        }
        let mut text = format!("# profile: {}\n", self.profile());
        for (table, entries) in tables {
            if !table.is_root() {
                // Writing to a string does not fail.
                let _ = write!(text, "\n[{table}]\n");
            }
            for entry in entries {
                let name = entry.key.below(&table).unwrap_or_default();
                let _ = match toml_value(&entry.value) {
                    Some(value) => {
                        // A line break in an argument must not end the comment.
                        let origin = entry.origin.to_string().replace(char::is_control, " ");
                        writeln!(text, "{name} = {value} # {origin}")
                    }
                    None => writeln!(text, "# {name} is not set"),
                };
            }
        }
        text
    }

    /// The configuration as JSON: `{"profile": ..., "values": [{"key", "value", "source"}, ...]}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let values: Vec<_> = self
            .entries()
            .into_iter()
            .map(|entry| {
                serde_json::json!({
                    "key": entry.key.to_string(),
                    "value": entry.value,
                    "source": entry.origin.to_string(),
                })
            })
            .collect();
        serde_json::json!({ "profile": self.profile(), "values": values })
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("profile", &self.profile()).finish_non_exhaustive()
    }
}

pub(super) fn entries(loader: &Loader, snapshot: &Snapshot) -> Vec<Entry> {
    let known = loader.known();
    let mut entries = Vec::new();
    for (place, tree) in &snapshot.trees {
        flatten(&tree.shown, place, &mut |key, value| {
            let node = snapshot.node.get(&key);
            let origin = node.and_then(|node| node.first_origin().cloned()).unwrap_or(Origin::Default);
            let hidden = known.is_secret(&key) || node.is_some_and(is_from_file);
            let mut value = if hidden && !value.is_null() { Json::from(REDACTED) } else { value.clone() };
            // Some dependency may have serde_json keep the order in which things were written.
            value.sort_all_objects();
            entries.push(Entry { key, value, origin });
        });
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

/// Tables are opened up, lists and empty tables are values.
fn flatten(value: &Json, key: &Key, visit: &mut impl FnMut(Key, &Json)) {
    match value {
        Json::Object(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                flatten(value, &key.child(name), visit);
            }
        }
        Json::Object(_) if key.is_root() => {}
        _ => visit(key.clone(), value),
    }
}

fn toml_value(value: &Json) -> Option<toml_edit::Value> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) if !number.is_nan() => number.into(),
            _ => number.to_string().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(elements) => elements.iter().filter_map(toml_value).collect::<toml_edit::Array>().into(),
        Json::Object(entries) => {
            let mut table = toml_edit::InlineTable::new();
            for (name, value) in entries {
                if let Some(value) = toml_value(value) {
                    table.insert(name, value);
                }
            }
            table.into()
        }
    })
}
