//! Gathers sources and trees, and loads them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::Provider;
use serde::de::DeserializeOwned;

use super::command_line::CommandLine;
use super::de::NodeDeserializer;
use super::document::Document;
use super::environment;
use super::errors::{Errors, Finding, Problem};
use super::key::Key;
use super::known::Known;
use super::layers::{self, Layers};
use super::loaded::Loaded;
use super::node::Node;
use super::origin::Origin;
use super::reading;
use super::schema::Schema;
use super::section::{Findings, Section};
use super::translation::{self, Translate, Translated, Variables};
use super::tree::{Tree, Value};

const FILE_NAME: &str = "mainstay.toml";

/// Gathers the sources of the configuration and the trees that read it.
///
/// Nothing is read from the process or the disk before [`load`](Loader::load), except by
/// [`environment_from_process`](Loader::environment_from_process).
#[derive(Clone)]
pub struct Loader {
    directory: PathBuf,
    file: Option<(PathBuf, Origin)>,
    profile: Option<(String, Origin)>,
    variables: Vec<(OsString, OsString)>,
    reserved: Vec<String>,
    defaults: Vec<(String, Key, String)>,
    sources: Vec<(Option<String>, Arc<dyn Provider + Send + Sync>)>,
    translations: Vec<Translate>,
    arguments: Vec<(String, String)>,
    pub(super) trees: BTreeMap<Key, Tree>,
    pub(super) checks: Vec<(Key, Check)>,
    ignored: BTreeMap<Key, Arc<Schema>>,
}

/// What a program wants of a tree beyond what its type says.
pub(super) type Check = Arc<dyn Fn(&Value, &mut Findings) + Send + Sync>;

/// What the sources gave.
pub(super) struct Gathered {
    pub(super) profile: String,
    pub(super) node: Node,
    pub(super) findings: Vec<Finding>,
    /// Every file whose content matters, whether it exists or not.
    pub(super) files: Vec<PathBuf>,
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    /// A loader that reads `mainstay.toml` of the working directory, and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self {
            directory: PathBuf::new(),
            file: None,
            profile: None,
            variables: Vec::new(),
            reserved: Vec::new(),
            defaults: Vec::new(),
            sources: Vec::new(),
            translations: Vec::new(),
            arguments: Vec::new(),
            trees: BTreeMap::new(),
            checks: Vec::new(),
            ignored: BTreeMap::new(),
        }
    }

    /// Looks for files in `directory` instead of the working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Reads `path` instead of `mainstay.toml`, and `NAME.PROFILE.toml` beside it. Unlike the default file it must
    /// exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some((path.into(), Origin::Program { name: "the program".to_owned() }));
        self
    }

    /// Sets the profile, whatever the environment says.
    #[must_use]
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some((profile.into(), Origin::Program { name: "the program".to_owned() }));
        self
    }

    /// Takes the environment from `variables`, for tests and for programs that filter theirs.
    #[must_use]
    pub fn environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        self.variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Takes the environment of this process, as it is now.
    #[must_use]
    pub fn environment_from_process(self) -> Self {
        self.environment(std::env::vars_os())
    }

    /// Leaves a variable that starts with `MAINSTAY_` but is no key alone.
    #[must_use]
    pub fn reserve_variable(mut self, name: impl Into<String>) -> Self {
        self.reserved.push(name.into());
        self
    }

    /// Gives `key` another default in one profile: stronger than that of the type, weaker than everything else.
    ///
    /// ```
    /// # use mainstay_core::config::Loader;
    /// let loader = Loader::new().profile_default("dev", "drain.delay", "0s");
    /// ```
    ///
    /// # Panics
    /// When `key` is no key of a table. Keys are written by programmers.
    #[must_use]
    #[track_caller]
    pub fn profile_default(
        mut self,
        profile: impl Into<String>,
        key: &str,
        value: impl Into<String>,
    ) -> Self {
        let key = key_of_place(key);
        assert!(!key.is_root() && !key.has_index(), "a default has a key of a table");
        self.defaults.push((profile.into(), key, value.into()));
        self
    }

    /// Adds a source, stronger than the files and than the sources before it, weaker than the environment. It is shown
    /// by the name that its metadata gives, and read again at every reload.
    #[must_use]
    pub fn source(mut self, provider: impl Provider + Send + Sync + 'static) -> Self {
        self.sources.push((None, Arc::new(provider)));
        self
    }

    /// As [`source`](Loader::source), shown as `name`.
    #[must_use]
    pub fn named_source(
        mut self,
        name: impl Into<String>,
        provider: impl Provider + Send + Sync + 'static,
    ) -> Self {
        self.sources.push((Some(name.into()), Arc::new(provider)));
        self
    }

    /// Has variables that others have named set keys: stronger than files and sources, weaker than the framework's own
    /// variables. `translate` says which set which.
    ///
    /// ```
    /// use mainstay_core::config::{Key, Loader, Translated};
    ///
    /// let port = Key::parse("app.orders.port")?;
    /// let loader = Loader::new().translate(move |variables| {
    ///     let value = variables.get("PORT");
    ///     value.map(|value| Translated::new("PORT", port.clone(), value)).into_iter().collect()
    /// });
    /// # Ok::<(), mainstay_core::config::InvalidKey>(())
    /// ```
    #[must_use]
    pub fn translate(
        mut self,
        translate: impl Fn(&Variables<'_>) -> Vec<Translated> + Send + Sync + 'static,
    ) -> Self {
        self.translations.push(Arc::new(translate));
        self
    }

    /// Sets a key as `--set KEY=VALUE` does; later ones win.
    #[must_use]
    pub fn set(self, assignment: impl Into<String>) -> Self {
        self.argument("--set", assignment)
    }

    /// Sets a key for the argument `name`, such as a program's own `--port`; errors name it.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, assignment: impl Into<String>) -> Self {
        self.arguments.push((name.into(), assignment.into()));
        self
    }

    /// Takes profile, file and settings of the command line.
    #[must_use]
    pub fn command_line(mut self, arguments: &CommandLine) -> Self {
        if let Some(profile) = &arguments.profile {
            self.profile = Some((profile.clone(), Origin::Argument { name: "--profile".to_owned() }));
        }
        if let Some(path) = &arguments.config {
            self.file = Some((path.clone(), Origin::Argument { name: "--config".to_owned() }));
        }
        for assignment in &arguments.set {
            self = self.argument("--set", assignment);
        }
        if let Some(services) = &arguments.services {
            self = self.argument("--services", format!("host.services={}", services.join(",")));
        }
        self
    }

    /// Has `T` read the tree at `place`: `""` for the framework's settings, `app.orders` for those of a service.
    ///
    /// # Panics
    /// When `place` is no key. Places are written by programmers.
    #[must_use]
    #[track_caller]
    pub fn tree<T: Section>(self, place: &str) -> Self {
        self.with_tree(place, Tree::of::<T>())
    }

    /// As [`tree`](Loader::tree), with a type that was named elsewhere.
    ///
    /// # Panics
    /// When `place` is no key.
    #[must_use]
    #[track_caller]
    pub fn with_tree(mut self, place: &str, tree: Tree) -> Self {
        self.trees.insert(key_of_place(place), tree);
        self
    }

    /// Has `check` look at the tree of `T` at `place` too, after [`Section::check`] and at every reload: for what only
    /// this program knows, such as the names that it has.
    ///
    /// # Panics
    /// When `place` is no key.
    #[must_use]
    #[track_caller]
    pub fn check<T: Section>(
        mut self,
        place: &str,
        check: impl Fn(&T, &mut Findings) + Send + Sync + 'static,
    ) -> Self {
        let check: Check = Arc::new(move |value, findings| {
            if let Some(tree) = value.downcast_ref::<T>() {
                check(tree, findings);
            }
        });
        self.checks.push((key_of_place(place), check));
        self
    }

    /// Leaves the table at `place` unread: it belongs to a service that does not run in this process.
    ///
    /// # Panics
    /// When `place` is no key.
    #[must_use]
    #[track_caller]
    pub fn ignore(mut self, place: &str) -> Self {
        self.ignored.insert(key_of_place(place), Arc::new(Schema::open()));
        self
    }

    /// Reads one key before the rest, without complaint: what is wrong with it is said by [`load`](Loader::load).
    /// For keys that decide which trees there are; the tree that knows the key must be registered.
    #[must_use]
    pub fn peek<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let gathered = self.gather();
        let node = gathered.node.get(&Key::parse(key).ok()?)?;
        T::deserialize(NodeDeserializer::new(node)).ok()
    }

    /// Reads all sources and gives every tree its values.
    ///
    /// # Errors
    /// Everything that is wrong, in every source and every tree. A program ends with
    /// [`EXIT_CONFIG`](super::EXIT_CONFIG) then.
    pub fn load(&self) -> Result<Loaded, Errors> {
        let gathered = self.gather();
        let snapshot = reading::read(self, gathered)?;
        Ok(Loaded::new(self.clone(), snapshot))
    }

    pub(super) fn known(&self) -> Known<'_> {
        let trees = self.trees.iter().map(|(place, tree)| (place, &*tree.schema));
        Known::new(trees.chain(self.ignored.iter().map(|(place, schema)| (place, &**schema))))
    }

    /// The places of trees, read or not.
    pub(super) fn places(&self) -> impl Iterator<Item = &Key> {
        self.trees.keys().chain(self.ignored.keys())
    }

    pub(super) fn gather(&self) -> Gathered {
        let mut findings = Vec::new();
        let mut files = Vec::new();
        let profile = self.chosen_profile(&mut findings);
        let mut layers = Layers::new(&profile);
        for (_, key, value) in self.defaults.iter().filter(|(of, ..)| *of == profile) {
            layers.add_default(&profile, key, value);
        }
        for (path, required) in self.chosen_files(&profile) {
            match read_document(&path, required.as_ref()) {
                Ok(Some(document)) => layers.add_file(&path, document),
                Ok(None) => {}
                Err(finding) => findings.push(*finding),
            }
            files.push(path);
        }
        for (name, provider) in &self.sources {
            if let Err(error) = layers.add_source(name.as_deref(), &**provider) {
                let name = name.clone().unwrap_or_else(|| provider.metadata().name.into_owned());
                findings.push(source_finding(Origin::Program { name }, error));
            }
        }
        let known = self.known();
        let variables = Variables::new(&self.variables);
        for translate in &self.translations {
            let (values, origins) =
                translation::values(translate(&variables), &variables, &known, &mut findings);
            layers.add_outside(values, origins);
        }
        let below = layers.node();
        let read = environment::read(&self.variables, &self.reserved, &known, &below, &self.directory);
        findings.extend(read.findings);
        files.extend(read.files);
        layers.add_outside(read.values, read.origins);
        self.add_arguments(&mut layers, &known, &mut findings);
        Gathered { profile, node: layers.node(), findings, files }
    }

    fn chosen_profile(&self, findings: &mut Vec<Finding>) -> String {
        let (profile, origin) = match &self.profile {
            Some((profile, origin)) => (profile.clone(), origin.clone()),
            None => match self.variable("MAINSTAY_PROFILE") {
                Some(profile) => {
                    let origin = Origin::Variable { name: "MAINSTAY_PROFILE".to_owned() };
                    (profile.to_string_lossy().into_owned(), origin)
                }
                // Cargo sets this for what it runs.
                None if self.variable("CARGO").is_some() => return "dev".to_owned(),
                None => return "production".to_owned(),
            },
        };
        // It becomes part of a file name.
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if profile.is_empty() || !profile.chars().all(plain) {
            findings.push(Finding {
                value: Some(format!("{profile:?}")),
                ..source_finding(
                    origin,
                    "a profile's name of lower-case letters, digits, `-` and `_`".to_owned(),
                )
            });
            return "production".to_owned();
        }
        profile
    }

    /// The files to read, weakest first; with what asked for it where it must exist.
    fn chosen_files(&self, profile: &str) -> [(PathBuf, Option<Origin>); 2] {
        let asked = self.file.clone().or_else(|| {
            let origin = Origin::Variable { name: "MAINSTAY_CONFIG".to_owned() };
            self.variable("MAINSTAY_CONFIG").map(|path| (PathBuf::from(path), origin))
        });
        let (path, origin) = match asked {
            Some((path, origin)) => (self.directory.join(path), Some(origin)),
            None => (self.directory.join(FILE_NAME), None),
        };
        let mut name = path.file_stem().unwrap_or(OsStr::new("mainstay")).to_owned();
        name.push(format!(".{profile}.toml"));
        let of_profile = path.with_file_name(name);
        [(path, origin), (of_profile, None)]
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        let (_, value) = self.variables.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value)
    }

    fn add_arguments(&self, layers: &mut Layers, known: &Known<'_>, findings: &mut Vec<Finding>) {
        for (name, assignment) in &self.arguments {
            let origin = Origin::Argument { name: name.clone() };
            let Some((key, text)) = assignment.split_once('=') else {
                let expected = "KEY=VALUE, such as `server.address=127.0.0.1:8080`".to_owned();
                // Shown only where it is a key: somebody may have written the secret with a space or colon.
                let value = Key::parse(assignment).is_ok().then(|| format!("{assignment:?}"));
                findings.push(Finding { value, ..source_finding(origin, expected) });
                continue;
            };
            let key = match Key::parse(key) {
                Ok(key) if key.has_index() => {
                    findings.push(source_finding(origin, format!("the whole list, not its element `{key}`")));
                    continue;
                }
                Ok(key) if !key.is_root() => key,
                Ok(_) => {
                    findings.push(source_finding(origin, "a key before the `=`".to_owned()));
                    continue;
                }
                Err(error) => {
                    findings.push(source_finding(origin, format!("a key before the `=` ({error})")));
                    continue;
                }
            };
            let mut values = figment::value::Dict::new();
            let value = environment::outside_value(&key, text, known);
            // Into an empty table nothing can be in the way.
            if layers::insert(&mut values, &key, value).is_ok() {
                layers.add_outside(values, BTreeMap::from([(key, origin)]));
            }
        }
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the variables and arguments: they hold secrets.
        f.debug_struct("Loader")
            .field("directory", &self.directory)
            .field("file", &self.file)
            .field("profile", &self.profile)
            .field("trees", &self.trees)
            .finish_non_exhaustive()
    }
}

#[track_caller]
fn key_of_place(place: &str) -> Key {
    match Key::parse(place) {
        Ok(key) => key,
        Err(error) => panic!("the place of a configuration tree: {error}"),
    }
}

fn read_document(path: &Path, required: Option<&Origin>) -> Result<Option<Document>, Box<Finding>> {
    let of_file = |line, column| Origin::File { path: path.to_owned(), line, column };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && required.is_none() => return Ok(None),
        Err(error) => {
            let asked = required.map(|origin| format!("; {origin} asks for it")).unwrap_or_default();
            let expected = format!("a file that can be read ({error}{asked})");
            return Err(Box::new(source_finding(of_file(None, None), expected)));
        }
    };
    match Document::parse(&text) {
        Ok(document) => Ok(Some(document)),
        Err(error) => {
            let expected = format!("TOML ({})", error.message);
            Err(Box::new(source_finding(of_file(Some(error.line), Some(error.column)), expected)))
        }
    }
}

fn source_finding(origin: Origin, expected: String) -> Finding {
    Finding {
        key: Key::root(),
        problem: Problem::Source,
        origin: Some(origin),
        value: None,
        expected,
        suggestion: None,
    }
}
