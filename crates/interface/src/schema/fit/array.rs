//! Arrays: item by item as far as either side tells them apart, then the rest.

use super::{Fitting, Found, Meeting};
use crate::{
    document::{Node, Unreadable},
    schema::expand::Conjunction,
};

impl Fitting {
    /// The items that the reader's `prefixItems` are for.
    pub(super) fn first_items<'d>(&mut self, meeting: Meeting<'_, 'd>) -> Found<'d> {
        let Meeting { writer, reader, field } = meeting;
        let mut breaks = Vec::new();
        let most = most_items(writer)?;
        for (index, item) in reader.elements("prefixItems")?.iter().enumerate().take(most) {
            let field = format!("{field}[{index}]");
            breaks.extend(self.fit(&items_at(writer, index)?, item, &field)?);
        }
        Ok(breaks)
    }

    /// The items that the reader's `items` is for: all that have no schema in `prefixItems`.
    pub(super) fn rest_of_items<'d>(&mut self, meeting: Meeting<'_, 'd>) -> Found<'d> {
        let Meeting { writer, reader, field } = meeting;
        let mut breaks = Vec::new();
        let Some(items) = reader.get("items") else { return Ok(breaks) };
        let first = reader.elements("prefixItems")?.len();
        let (most, mut told_apart) = (most_items(writer)?, first);
        for node in writer {
            told_apart = told_apart.max(node.elements("prefixItems")?.len());
        }
        for index in first..told_apart.min(most) {
            breaks.extend(self.fit(&items_at(writer, index)?, &items, &format!("{field}[{index}]"))?);
        }
        if most > told_apart {
            breaks.extend(self.fit(&items_at(writer, told_apart)?, &items, &format!("{field}[]"))?);
        }
        Ok(breaks)
    }
}

/// What all of `writer` say of the item at `index`.
fn items_at<'d>(writer: &Conjunction<'d>, index: usize) -> Result<Vec<Node<'d>>, Unreadable> {
    let mut all = Vec::new();
    for node in writer {
        let first = node.elements("prefixItems")?;
        all.extend(first.get(index).cloned().or_else(|| node.get("items")));
    }
    Ok(all)
}

/// How many items `writer` writes at most.
fn most_items(writer: &Conjunction<'_>) -> Result<usize, Unreadable> {
    let mut most = usize::MAX;
    for node in writer {
        if let Some(bound) = node.value.get("maxItems").and_then(serde_json::Value::as_u64) {
            most = most.min(usize::try_from(bound).unwrap_or(usize::MAX));
        }
        if node.value.get("items") == Some(&serde_json::Value::Bool(false)) {
            most = most.min(node.elements("prefixItems")?.len());
        }
    }
    Ok(most)
}
