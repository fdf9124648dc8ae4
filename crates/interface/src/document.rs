//! A description that can be read, and the places in it.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// The largest description, in bytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The deepest nesting of one; serde_json reads no more than 128 levels of text.
const MOST_LEVELS: usize = 128;
/// How many references may lead from one to the next.
const MOST_HOPS: usize = 32;

/// An OpenAPI description, version 3.0 to 3.2.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(Value);

/// Why a description can't be read, or two of them not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is no JSON.
    #[error("it is not JSON")]
    Json(#[from] serde_json::Error),
    /// It is JSON and no OpenAPI.
    #[error("it is no OpenAPI description: `openapi` is {found}, expected a version from 3.0 to 3.2")]
    #[non_exhaustive]
    Version {
        /// What stands there.
        found: String,
    },
    /// Something in it is not what OpenAPI has there.
    #[error("{pointer} is {found}, expected {expected}")]
    #[non_exhaustive]
    Malformed {
        /// Where: a JSON pointer (RFC 6901).
        pointer: String,
        /// What stands there, cut.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A reference leads nowhere, out of the document, or in a circle.
    #[error("{pointer} refers to `{reference}`, {why}")]
    #[non_exhaustive]
    Reference {
        /// Where it stands.
        pointer: String,
        /// The reference, cut.
        reference: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is larger, deeper or more entangled than what is read.
    #[error("it has more than {limit} {what}")]
    #[non_exhaustive]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl Document {
    /// Reads a description from JSON.
    ///
    /// # Errors
    /// When it is no JSON, no OpenAPI 3, or beyond the bounds.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        if text.len() > MOST_BYTES {
            return Err(Unreadable::TooLarge { what: "bytes", limit: MOST_BYTES });
        }
        Self::new(serde_json::from_str(text)?)
    }

    /// Takes what another library made of a service: utoipa's `OpenApi`, aide's, or a JSON value.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn from_serialize(description: impl Serialize) -> Result<Self, Unreadable> {
        Self::new(serde_json::to_value(description)?)
    }

    /// Takes a JSON value.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn new(mut value: Value) -> Result<Self, Unreadable> {
        if is_deeper(&value, MOST_LEVELS) {
            return Err(Unreadable::TooLarge { what: "levels", limit: MOST_LEVELS });
        }
        let version = value.get("openapi");
        let known = |version: &str| ["3.0", "3.1", "3.2"].iter().any(|known| version.starts_with(known));
        if !version.and_then(Value::as_str).is_some_and(known) {
            return Err(Unreadable::Version { found: version.map_or_else(|| "not there".to_owned(), shown) });
        }
        // serde_json keeps the order of keys where some crate of the program asked for it.
        value.sort_all_objects();
        Ok(Self(value))
    }

    /// The JSON value.
    #[must_use]
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// The JSON value, to be changed.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }

    /// As text that is the same for the same description: keys sorted, indented, with a line feed at the end.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{:#}\n", self.0)
    }

    /// The paths and methods that it describes, methods in upper case.
    ///
    /// # Errors
    /// When a path is not what OpenAPI has there.
    pub fn operations(&self) -> Result<Vec<(String, String)>, Unreadable> {
        let mut found = Vec::new();
        for (path, item) in self.root().members("paths")? {
            let item = item.resolved()?;
            let described = METHODS.iter().filter(|method| item.get(method).is_some());
            found.extend(described.map(|method| (path.to_owned(), method.to_uppercase())));
        }
        Ok(found)
    }

    pub(crate) fn root(&self) -> Node<'_> {
        Node { root: &self.0, value: &self.0, pointer: String::new() }
    }
}

/// What an operation can be of, as the keys of a path item.
pub(crate) const METHODS: [&str; 8] = ["delete", "get", "head", "options", "patch", "post", "put", "trace"];

/// A place in a document.
#[derive(Clone)]
pub(crate) struct Node<'d> {
    root: &'d Value,
    pub(crate) value: &'d Value,
    pub(crate) pointer: String,
}

impl<'d> Node<'d> {
    /// Two nodes of one identity are the same place.
    pub(crate) fn identity(&self) -> usize {
        std::ptr::from_ref(self.value).addr()
    }

    /// The whole document.
    pub(crate) fn document(&self) -> Self {
        Self { root: self.root, value: self.root, pointer: String::new() }
    }

    /// Whether the document is of OpenAPI 3.0, whose schemas are not those of JSON Schema 2020-12.
    pub(crate) fn is_3_0(&self) -> bool {
        self.root.get("openapi").and_then(Value::as_str).is_some_and(|version| version.starts_with("3.0"))
    }

    /// The member `key`, where this is an object that has it.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        self.value.get(key).map(|value| self.child(key, value))
    }

    pub(crate) fn text(&self, key: &str) -> Option<&'d str> {
        self.value.get(key).and_then(Value::as_str)
    }

    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.value.get(key) == Some(&Value::Bool(true))
    }

    pub(crate) fn object(&self) -> Result<&'d Map<String, Value>, Unreadable> {
        self.value.as_object().ok_or_else(|| self.malformed("an object"))
    }

    /// The members of the object at `key`; none where there is no such key.
    pub(crate) fn members(&self, key: &str) -> Result<Vec<(&'d str, Self)>, Unreadable> {
        let Some(node) = self.get(key) else { return Ok(Vec::new()) };
        Ok(node.object()?.iter().map(|(key, value)| (key.as_str(), node.child(key, value))).collect())
    }

    /// The elements of the array at `key`; none where there is no such key.
    pub(crate) fn elements(&self, key: &str) -> Result<Vec<Self>, Unreadable> {
        let Some(node) = self.get(key) else { return Ok(Vec::new()) };
        let elements = node.value.as_array().ok_or_else(|| node.malformed("an array"))?;
        Ok(elements.iter().enumerate().map(|(index, value)| node.child(&index.to_string(), value)).collect())
    }

    /// The place that this one refers to, or this one where it is no reference.
    pub(crate) fn resolved(self) -> Result<Self, Unreadable> {
        let mut node = self;
        for _ in 0..MOST_HOPS {
            match node.reference()? {
                Some(target) => node = target,
                None => return Ok(node),
            }
        }
        Err(node.broken(node.text("$ref").unwrap_or_default(), "which leads on and on"))
    }

    /// The place that `$ref` names. Only references within the document are followed: a check must not fetch what the
    /// document says.
    pub(crate) fn reference(&self) -> Result<Option<Self>, Unreadable> {
        let Some(value) = self.value.get("$ref") else { return Ok(None) };
        let reference = value.as_str().ok_or_else(|| self.malformed("an object whose `$ref` is a string"))?;
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(self.broken(reference, "which is not in this document"));
        };
        let pointer = percent_decoded(pointer);
        match self.root.pointer(&pointer) {
            Some(value) => Ok(Some(Self { root: self.root, value, pointer })),
            None => Err(self.broken(reference, "which is not there")),
        }
    }

    pub(crate) fn malformed(&self, expected: &'static str) -> Unreadable {
        Unreadable::Malformed { pointer: shown_pointer(&self.pointer), found: shown(self.value), expected }
    }

    pub(crate) fn broken(&self, reference: &str, why: &'static str) -> Unreadable {
        let reference = cut(reference.to_owned());
        Unreadable::Reference { pointer: shown_pointer(&self.pointer), reference, why }
    }

    fn child(&self, key: &str, value: &'d Value) -> Self {
        Self { root: self.root, value, pointer: joined(&self.pointer, key) }
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pointer)
    }
}

/// The JSON pointer to the member `key` of what `pointer` points to (RFC 6901, section 3).
pub(crate) fn joined(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A value in a message, cut.
pub(crate) fn shown(value: &Value) -> String {
    cut(value.to_string())
}

fn shown_pointer(pointer: &str) -> String {
    if pointer.is_empty() { "the document".to_owned() } else { cut(pointer.to_owned()) }
}

fn cut(text: String) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, levels)),
        Value::Object(members) => members.values().any(|member| is_deeper(member, levels)),
        _ => false,
    }
}

/// A fragment's percent-encoding undone (RFC 6901, section 6); what is none is kept.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(value: Value) -> String {
        Document::new(value).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_openapi_3_is_refused_with_what_was_found() {
        let expected =
            "it is no OpenAPI description: `openapi` is \"2.0\", expected a version from 3.0 to 3.2";
        assert_eq!(refused(json!({"openapi": "2.0"})), expected);
        assert!(refused(json!([])).contains("`openapi` is not there"));
        assert!(Document::parse("{").is_err());
        let deep = (0..200).fold(json!(1), |value, _| json!([value]));
        assert_eq!(refused(json!({"openapi": "3.1.0", "x": deep})), "it has more than 128 levels");
    }

    #[test]
    fn the_text_is_sorted_and_reads_back() {
        let document = Document::new(json!({"paths": {"/b": {}, "/a": {}}, "openapi": "3.1.0"})).unwrap();
        let text = document.to_text();
        assert!(
            text.find("/a") < text.find("/b")
                && text.find("openapi") < text.find("paths")
                && text.ends_with("}\n")
        );
        assert_eq!(Document::parse(&text).unwrap(), document);
    }

    #[test]
    fn a_reference_out_of_the_document_to_nothing_or_in_a_circle_is_an_error_that_names_it() {
        let document = Document::new(json!({
            "openapi": "3.1.0",
            "out": {"$ref": "https://example.com/x.json#/a"},
            "nothing": {"$ref": "#/nowhere"},
            "a/b": {"$ref": "#/round"}, "round": {"$ref": "#/a~1b"},
            "good": {"$ref": "#/with%20space"}, "with space": {"x": 1},
        }))
        .unwrap();
        let at = |key: &str| document.root().get(key).unwrap().resolved();
        let wrong = |key: &str| at(key).unwrap_err().to_string();
        assert_eq!(
            wrong("out"),
            "/out refers to `https://example.com/x.json#/a`, which is not in this document"
        );
        assert_eq!(wrong("nothing"), "/nothing refers to `#/nowhere`, which is not there");
        assert!(wrong("a/b").contains("which leads on and on"), "{}", wrong("a/b"));
        assert_eq!(at("good").unwrap().pointer, "/with space");
    }

    #[test]
    fn operations_are_listed_by_path_and_method() {
        let paths = json!({"/a": {"get": {}, "put": {}, "parameters": []}});
        let document = Document::new(json!({"openapi": "3.1.0", "paths": paths})).unwrap();
        let listed = document.operations().unwrap();
        assert_eq!(listed, [("/a".to_owned(), "GET".to_owned()), ("/a".to_owned(), "PUT".to_owned())]);
    }
}
