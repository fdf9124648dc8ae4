//! Several descriptions of one service as one.

use serde_json::Value;

use super::Misdescribed;

/// Members that stand for the whole document: those of the first description stay.
const OF_THE_WHOLE: [&str; 7] = ["openapi", "info", "servers", "security", "externalDocs", "tags", "$self"];

/// Adds what `other` describes to `whole`. What both have has to be the same.
pub(super) fn into(whole: &mut Value, other: Value) -> Result<(), Misdescribed> {
    let (Value::Object(whole), Value::Object(other)) = (whole, other) else { return Ok(()) };
    for (key, other) in other {
        match whole.get_mut(&key) {
            Some(_) if OF_THE_WHOLE.contains(&key.as_str()) => {}
            Some(had) => members(had, other, &format!("/{key}"), 2)?,
            None => drop(whole.insert(key, other)),
        }
    }
    Ok(())
}

/// Joins two objects, and those in them to so many levels: paths and their methods, kinds of components and their names.
fn members(whole: &mut Value, other: Value, pointer: &str, levels: usize) -> Result<(), Misdescribed> {
    match (whole, other) {
        (Value::Object(whole), Value::Object(other)) if levels > 0 => {
            for (key, other) in other {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                match whole.get_mut(&key) {
                    Some(had) => members(had, other, &pointer, levels - 1)?,
                    None => drop(whole.insert(key, other)),
                }
            }
            Ok(())
        }
        (whole, other) if *whole == other => Ok(()),
        _ => Err(Misdescribed::Twice(pointer.to_owned())),
    }
}
