//! Policies, schema and entities as they are written: read, bounded, compared, not yet understood.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Config;

/// The largest file that is read, in bytes.
pub(super) const LARGEST_FILE: u64 = 1 << 20;

/// All of them together, in bytes.
pub(super) const LARGEST: usize = 8 << 20;

/// More files are not read.
pub(super) const MOST_FILES: usize = 1000;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) policies: Vec<Text>,
    pub(super) schema: Text,
    pub(super) entities: Option<Text>,
}

/// One file, or what stands in the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// The path, or the key of the configuration.
    pub(super) name: String,
    pub(super) text: String,
}

impl Text {
    fn inline(key: &str, text: &str) -> Self {
        Self { name: format!("auth.policy.{key}"), text: text.to_owned() }
    }

    /// The line that this byte stands in, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// The key within `auth.policy`, and what is wrong.
pub(super) type Wrong = (&'static str, String);

impl Source {
    /// Reads everything that is configured. Blocks.
    pub(super) fn read(config: &Config) -> Result<Self, Wrong> {
        let mut policies = Vec::new();
        let wrong = |path: &Path, error: io::Error| ("paths", format!("{}: {error}", path.display()));
        for path in &config.paths {
            for file in files(path).map_err(|error| wrong(path, error))? {
                if policies.len() == MOST_FILES {
                    return Err(("paths", format!("there are more than {MOST_FILES} files")));
                }
                policies.push(read(&file).map_err(|error| wrong(&file, error))?);
            }
        }
        if policies.is_empty() && !config.paths.is_empty() && config.policies.is_none() {
            return Err(("paths", "there is no file `*.cedar`".to_owned()));
        }
        policies.extend(config.policies.as_deref().map(|text| Text::inline("policies", text)));
        let one =
            |key, path: Option<&PathBuf>, inline: Option<&str>, file_key| -> Result<Option<Text>, Wrong> {
                match (path, inline) {
                    (Some(path), _) => match read(path) {
                        Ok(text) => Ok(Some(text)),
                        Err(error) => Err((file_key, format!("{}: {error}", path.display()))),
                    },
                    (None, inline) => Ok(inline.map(|text| Text::inline(key, text))),
                }
            };
        let schema = one("schema", config.schema_file.as_ref(), config.schema.as_deref(), "schema_file")?;
        let schema = schema.ok_or(("schema_file", "there is no schema".to_owned()))?;
        let entities =
            one("entities", config.entities_file.as_ref(), config.entities.as_deref(), "entities_file")?;
        let source = Self { policies, schema, entities };
        let all = source.policies.iter().chain([&source.schema]).chain(&source.entities);
        if all.map(|text| text.text.len()).sum::<usize>() > LARGEST {
            return Err(("paths", format!("there are more than {} MiB of policies", LARGEST >> 20)));
        }
        Ok(source)
    }
}

/// A file itself; of a directory its `*.cedar`, by name.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
            if files.len() > MOST_FILES {
                return Err(io::Error::other(format!("it has more than {MOST_FILES} files")));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<Text> {
    let content = mainstay_core::file::read(path, LARGEST_FILE)?;
    let text = String::from_utf8(content).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(Text { name: path.display().to_string(), text })
}
