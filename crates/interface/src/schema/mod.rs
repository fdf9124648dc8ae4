//! JSON Schema 2020-12, as far as OpenAPI descriptions of services use it (and the dialect of OpenAPI 3.0): whether
//! everything that a writer may write can be read ([`fit`]), and whether one value can ([`value`]).
//!
//! Both sides are taken apart first ([`expand`]): references, `allOf`, `anyOf` and `oneOf` become a list of
//! alternatives, each a list of plain schemas that all hold.

mod expand;
mod fit;
mod number;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub(crate) use fit::{Break, Direction, Fitting};
pub(crate) use value::Reading;

/// Keywords that say nothing about which values are valid.
pub(crate) const ANNOTATIONS: [&str; 18] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "deprecated",
    "description",
    "discriminator",
    "example",
    "examples",
    "externalDocs",
    "summary",
    "title",
    "xml",
];

/// Whether `keyword` says nothing about which values are valid.
pub(crate) fn is_annotation(keyword: &str) -> bool {
    keyword.starts_with("x-") || ANNOTATIONS.contains(&keyword)
}
