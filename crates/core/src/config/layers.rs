//! Merges the sources, weakest first, with the origin of each value.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Num, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider, Source};

use super::document::{self, Document};
use super::key::{Key, Segment};
use super::node::{Kind, Node};
use super::origin::Origin;

const FILE: &str = "a file of mainstay's own";
const OUTSIDE: &str = "environment and command line";

/// The layers, stacked up.
pub(super) struct Layers {
    figment: Figment,
    lines: HashMap<PathBuf, HashMap<Key, usize>>,
    /// What set each key from outside.
    outside: BTreeMap<Key, Origin>,
}

impl Layers {
    pub(super) fn new(profile: &str) -> Self {
        Self { figment: Figment::new().select(profile), lines: HashMap::new(), outside: BTreeMap::new() }
    }

    /// Adds a default of the profile.
    pub(super) fn add_default(&mut self, profile: &str, key: &Key, value: &str) {
        let mut values = Dict::new();
        // Into an empty table nothing can be in the way.
        if insert(&mut values, key, Value::from(value)).is_ok() {
            let metadata = Metadata::named(format!("the default of the profile {profile}"));
            self.merge(Layer::of(Profile::Default, values, metadata));
        }
    }

    pub(super) fn add_file(&mut self, path: &Path, document: Document) {
        self.lines.insert(path.to_owned(), document.lines);
        self.merge(Layer::of(Profile::Default, document.values, Metadata::from(FILE, path)));
    }

    /// Adds what a program's source gives; a text when it fails.
    pub(super) fn add_source(&mut self, name: Option<&str>, provider: &dyn Provider) -> Result<(), String> {
        let mut metadata = provider.metadata();
        if let Some(name) = name {
            metadata.name = name.to_owned().into();
            metadata.source = None;
        }
        let data = provider.data().map_err(|error| without_excerpt(&error))?;
        // The lines of a TOML file that the program reads itself.
        if let Some(path) = metadata.source.as_ref().and_then(Source::file_path)
            && path.extension().is_some_and(|extension| extension == "toml")
            && let Some(document) =
                std::fs::read_to_string(path).ok().and_then(|text| Document::parse(&text).ok())
        {
            self.lines.insert(path.to_owned(), document.lines);
        }
        // A figment keeps the metadata of what it was made from; a name given by the program covers them all.
        let tags = provider.__metadata_map().map(|tags| match name {
            Some(_) => tags.into_keys().map(|tag| (tag, metadata.clone())).collect(),
            None => tags,
        });
        self.merge(Layer { metadata, data, tags });
        Ok(())
    }

    /// Adds values from outside the program; each key in `origins` or below it came from there.
    pub(super) fn add_outside(&mut self, values: Dict, origins: BTreeMap<Key, Origin>) {
        self.outside.extend(origins);
        // The global profile wins over whatever profile a program's source speaks for.
        self.merge(Layer::of(Profile::Global, values, Metadata::named(OUTSIDE)));
    }

    fn merge(&mut self, layer: Layer) {
        self.figment = std::mem::take(&mut self.figment).merge(layer);
    }

    /// The merged values.
    pub(super) fn node(&self) -> Node {
        match self.figment.find_value("") {
            Ok(value) => self.convert(value, &Key::root()),
            // Only a failing provider makes this fail, and those were left out.
            Err(_) => Node::empty_table(),
        }
    }

    fn convert(&self, value: Value, key: &Key) -> Node {
        let origin = self.origin(value.tag(), key);
        let outside =
            matches!(origin, Origin::Variable { .. } | Origin::VariableFile { .. } | Origin::Argument { .. });
        let program = matches!(origin, Origin::Program { .. });
        let kind = match value {
            Value::String(_, text) if outside || program => Kind::Loose(text, outside),
            Value::String(_, text) => Kind::Text(text),
            Value::Char(_, character) => Kind::Text(character.to_string()),
            Value::Bool(_, value) => Kind::Bool(value),
            Value::Num(_, number) => number_kind(number),
            Value::Empty(..) => Kind::Null,
            Value::Dict(_, entries) => Kind::Table(
                entries
                    .into_iter()
                    .map(|(name, value)| {
                        let node = self.convert(value, &key.child(&name));
                        (name, node)
                    })
                    .collect(),
            ),
            Value::Array(_, elements) => Kind::List(
                elements
                    .into_iter()
                    .enumerate()
                    .map(|(index, value)| (index, self.convert(value, &key.element(index))))
                    .collect(),
            ),
        };
        Node { origin, kind }
    }

    fn origin(&self, tag: Tag, key: &Key) -> Origin {
        let Some(metadata) = self.figment.get_metadata(tag) else { return Origin::Default };
        if metadata.name == OUTSIDE {
            return self.origin_outside(key);
        }
        match &metadata.source {
            Some(Source::File(path)) if metadata.name == FILE || self.lines.contains_key(path) => {
                let line = self.lines.get(path).and_then(|lines| lines.get(key)).copied();
                Origin::File { path: path.clone(), line, column: None }
            }
            Some(source) => Origin::Program { name: format!("{} ({source})", metadata.name) },
            None => Origin::Program { name: metadata.name.to_string() },
        }
    }

    fn origin_outside(&self, key: &Key) -> Origin {
        let mut at = Some(key.clone());
        while let Some(key) = at {
            if let Some(origin) = self.outside.get(&key) {
                return origin.clone();
            }
            at = key.parent();
        }
        Origin::Default
    }
}

/// Reads a TOML value written outside a file, such as `[1, 2]`.
pub(super) fn node_of_toml_value(text: &str, origin: &Origin) -> Option<Node> {
    let layers = Layers::new("default");
    let node = layers.convert(document::parse_value(text)?, &Key::root());
    Some(with_origin(node, origin))
}

fn with_origin(node: Node, origin: &Origin) -> Node {
    let kind = match node.kind {
        Kind::Table(entries) => {
            Kind::Table(entries.into_iter().map(|(name, node)| (name, with_origin(node, origin))).collect())
        }
        Kind::List(elements) => {
            Kind::List(elements.into_iter().map(|(at, node)| (at, with_origin(node, origin))).collect())
        }
        kind => kind,
    };
    Node { origin: origin.clone(), kind }
}

/// Puts `value` at `key`. Where a table on the way is another value already, gives that value's key.
pub(super) fn insert(values: &mut Dict, key: &Key, value: Value) -> Result<(), Key> {
    let mut names = key.segments().iter().filter_map(|segment| match segment {
        Segment::Name(name) => Some(name),
        Segment::Index(_) => None,
    });
    let Some(mut name) = names.next() else { return Err(Key::root()) };
    let mut at = Key::root();
    let mut dict = values;
    for next in names {
        at = at.child(name);
        let below = dict.entry(name.clone()).or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
        match below {
            Value::Dict(_, below) => dict = below,
            _ => return Err(at),
        }
        name = next;
    }
    match (dict.get_mut(name), value) {
        (Some(Value::Dict(_, old)), Value::Dict(_, new)) => old.extend(new),
        (_, value) => {
            dict.insert(name.clone(), value);
        }
    }
    Ok(())
}

fn number_kind(number: Num) -> Kind {
    if let Some(number) = number.to_i128() {
        Kind::Integer(number)
    } else if let Some(number) = number.to_u128() {
        i128::try_from(number).map_or_else(|_| Kind::Text(number.to_string()), Kind::Integer)
    } else {
        number.to_f64().map_or(Kind::Null, Kind::Float)
    }
}

/// A format's error without the lines that show the file, which may hold secrets.
fn without_excerpt(error: &Error) -> String {
    let text = error.to_string();
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|')).collect();
    lines.join(": ")
}

struct Layer {
    metadata: Metadata,
    data: Map<Profile, Dict>,
    tags: Option<Map<Tag, Metadata>>,
}

impl Layer {
    fn of(profile: Profile, values: Dict, metadata: Metadata) -> Self {
        Self { metadata, data: Map::from([(profile, values)]), tags: None }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(self.data.clone())
    }

    fn __metadata_map(&self) -> Option<Map<Tag, Metadata>> {
        self.tags.clone()
    }
}
