//! The descriptions that are kept in the repository.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use mainstay_interface::{Comparison, Document, Unreadable, compare};

/// A directory with one description for each service, `NAME.json`, as `--export-openapi DIRECTORY` writes them. In a
/// test it finds what a change of a handler does to the interface:
///
/// ```no_run
/// use mainstay::{Host, interface::Stored};
///
/// # fn host() -> Host { Host::new() }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// Stored::new("openapi").check(&host().descriptions()?)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Stored {
    directory: PathBuf,
}

/// What is stored is not what the services have.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Drift {
    /// Changes that break callers, by service.
    pub breaking: BTreeMap<String, Comparison>,
    /// Changes that don't, by service: the files have to be written anew.
    pub outdated: BTreeMap<String, Comparison>,
    /// Files that can't be read, or that nothing describes any more; each with why.
    pub unusable: Vec<(PathBuf, String)>,
}

impl Stored {
    /// The descriptions in this directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The description of one service.
    ///
    /// # Errors
    /// Where its file can't be read, or is no description.
    pub fn read(&self, service: &str) -> Result<Document, Drift> {
        let path = self.file(service);
        read(&path).map_err(|why| Drift { unusable: vec![(path, why)], ..Drift::default() })
    }

    /// Holds what the services are against what is stored.
    ///
    /// # Errors
    /// All that differs.
    pub fn check(&self, described: &BTreeMap<String, Document>) -> Result<(), Drift> {
        let mut drift = Drift::default();
        for (service, new) in described {
            let path = self.file(service);
            let old = match read(&path) {
                Ok(old) => old,
                Err(why) => {
                    drift.unusable.push((path, why));
                    continue;
                }
            };
            match compare(&old, new) {
                Ok(comparison) if !comparison.is_compatible() => {
                    drift.breaking.insert(service.clone(), comparison);
                }
                Ok(comparison) if old != *new => {
                    drift.outdated.insert(service.clone(), comparison);
                }
                Ok(_) => {}
                Err(error) => drift.unusable.push((path, error.to_string())),
            }
        }
        for path in self.files() {
            let is_known = path
                .file_stem()
                .and_then(|name| name.to_str())
                .is_some_and(|name| described.contains_key(name));
            if !is_known {
                drift.unusable.push((path, "no service has this description any more".to_owned()));
            }
        }
        if drift.breaking.is_empty() && drift.outdated.is_empty() && drift.unusable.is_empty() {
            return Ok(());
        }
        Err(drift)
    }

    /// Writes the descriptions, in the place of those that are there.
    ///
    /// # Errors
    /// Where a file can't be written.
    pub fn write(&self, described: &BTreeMap<String, Document>) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        described
            .iter()
            .try_for_each(|(service, document)| std::fs::write(self.file(service), document.to_text()))
    }

    fn file(&self, service: &str) -> PathBuf {
        self.directory.join(format!("{service}.json"))
    }

    /// The files that are there; none where there is no directory: each lacking one is told by itself.
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        files
    }
}

fn read(path: &Path) -> Result<Document, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Document::parse(&text).map_err(|error: Unreadable| mainstay_core::error::Report::new(&error).to_string())
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (service, comparison) in &self.breaking {
            writeln!(f, "`{service}` breaks its callers:")?;
            comparison.breaking.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        }
        for (service, comparison) in &self.outdated {
            let count = comparison.compatible.len();
            writeln!(
                f,
                "`{service}` has changed ({count} places, and texts); it breaks nobody, and its file is the old one:"
            )?;
            comparison.compatible.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        }
        for (path, why) in &self.unusable {
            writeln!(f, "{}: {why}", path.display())?;
        }
        f.write_str("what is meant so is written by running the program with `--export-openapi DIRECTORY`")
    }
}

impl std::error::Error for Drift {}
