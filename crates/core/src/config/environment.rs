//! Values from environment variables, and from the files that they name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use super::document::parse_value;
use super::errors::{Finding, Problem};
use super::key::Key;
use super::known::Known;
use super::layers;
use super::node::Node;
use super::origin::Origin;
use super::schema::Shape;

pub(super) const PREFIX: &str = "MAINSTAY_";
const FILE_SUFFIX: &str = "_FILE";

/// A secret larger than this is somebody's disk image.
const FILE_LIMIT: u64 = 1 << 20;

/// Variables of the framework that are not keys.
const RESERVED: [&str; 2] = ["MAINSTAY_PROFILE", "MAINSTAY_CONFIG"];

/// What the environment sets.
#[derive(Default)]
pub(super) struct FromEnvironment {
    pub(super) values: Dict,
    pub(super) origins: BTreeMap<Key, Origin>,
    pub(super) findings: Vec<Finding>,
    /// The files that were read.
    pub(super) files: Vec<PathBuf>,
}

/// Reads the variables; `below` are the weaker layers, whose map keys decide how a map's key is spelled.
pub(super) fn read(
    variables: &[(OsString, OsString)],
    reserved: &[String],
    known: &Known<'_>,
    below: &Node,
    directory: &Path,
) -> FromEnvironment {
    let mut read = FromEnvironment::default();
    for (name, value) in variables {
        // A name that is no text can't start with the prefix and still be a key.
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if RESERVED.contains(&name) || reserved.iter().any(|reserved| reserved == name) {
            continue;
        }
        read.variable(name, value, known, below, directory);
    }
    read
}

/// The name of the variable that sets `key`.
pub(super) fn variable_of(key: &Key) -> String {
    let parts: Vec<_> = key
        .segments()
        .iter()
        .map(|segment| match segment {
            super::key::Segment::Name(name) => super::schema::normalized(name).to_ascii_uppercase(),
            super::key::Segment::Index(index) => index.to_string(),
        })
        .collect();
    format!("{PREFIX}{}", parts.join("__"))
}

impl FromEnvironment {
    fn variable(&mut self, name: &str, value: &OsStr, known: &Known<'_>, below: &Node, directory: &Path) {
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        let parts: Vec<_> = rest.split("__").collect();
        let plain = known.resolve(&parts, below);
        // In a map every key is known, so there a secret's `_FILE` comes first.
        let from_file = rest.strip_suffix(FILE_SUFFIX).and_then(|rest| {
            let key = known.resolve(&rest.split("__").collect::<Vec<_>>(), below)?;
            (plain.is_none() || known.is_secret(&key)).then_some(key)
        });
        match (from_file, plain) {
            (Some(key), _) => self.read_file(name, key, value, known, directory),
            (None, Some(key)) => {
                let origin = Origin::Variable { name: name.to_owned() };
                match value.to_str() {
                    Some(value) => self.set(key, value, origin, known),
                    None => self.refuse(key, origin, "text in UTF-8"),
                }
            }
            (None, None) => {
                let suggestion = known.nearest_variable(name).map(|name| format!("`{name}`"));
                let key = parts.iter().fold(Key::root(), |key, part| key.child(&part.to_ascii_lowercase()));
                self.findings.push(Finding {
                    key,
                    problem: Problem::UnknownKey,
                    origin: Some(Origin::Variable { name: name.to_owned() }),
                    // Not shown: nobody knows whether it is a secret.
                    value: None,
                    expected: "a known key, its parts joined with two underscores".to_owned(),
                    suggestion,
                });
            }
        }
    }

    fn read_file(&mut self, name: &str, key: Key, path: &OsStr, known: &Known<'_>, directory: &Path) {
        let path = directory.join(path);
        let origin = Origin::VariableFile { name: name.to_owned(), path: path.clone() };
        let text = read_limited(&path);
        self.files.push(path);
        match text {
            Ok(text) => self.set(key, without_newline(&text), origin, known),
            Err(error) => self.refuse(key, origin, &format!("a file that can be read ({error})")),
        }
    }

    fn set(&mut self, key: Key, text: &str, origin: Origin, known: &Known<'_>) {
        if let Some(other) = self.origins.get(&key) {
            let expected = format!("one source only; {other} sets it too");
            return self.refuse(key, origin, &expected);
        }
        let value = outside_value(&key, text, known);
        match layers::insert(&mut self.values, &key, value) {
            Ok(()) => {
                self.origins.insert(key, origin);
            }
            Err(other) => {
                let expected = match self.origins.get(&other) {
                    Some(setter) => format!("the table in parts or as a whole; {setter} sets `{other}`"),
                    None => "the table in parts or as a whole".to_owned(),
                };
                self.refuse(key, origin, &expected);
            }
        }
    }

    fn refuse(&mut self, key: Key, origin: Origin, expected: &str) {
        let expected = expected.to_owned();
        let problem = Problem::Source;
        self.findings.push(Finding {
            key,
            problem,
            origin: Some(origin),
            value: None,
            expected,
            suggestion: None,
        });
    }
}

/// The value of a text from outside: a table or list where one is wanted and one is written, so that tables merge with
/// the layers below and each element of a list is judged by itself.
pub(super) fn outside_value(key: &Key, text: &str, known: &Known<'_>) -> Value {
    let trimmed = text.trim();
    let parsed = match known.shape(key) {
        Some(Shape::Table(_) | Shape::Map) if trimmed.starts_with('{') => parse_value(trimmed),
        Some(Shape::List) if trimmed.starts_with('[') => parse_value(trimmed),
        Some(Shape::List) if !trimmed.is_empty() => {
            Some(trimmed.split(',').map(|part| Value::from(part.trim())).collect::<Vec<_>>().into())
        }
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::from(text))
}

fn without_newline(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

fn read_limited(path: &Path) -> Result<String, String> {
    use std::io::Read as _;

    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    match u64::try_from(read) {
        Ok(read) if read <= FILE_LIMIT => Ok(text),
        _ => Err("it is larger than 1 MiB".to_owned()),
    }
}
