//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value of the configuration came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Nothing sets the key: the built-in default holds.
    Default,
    /// A configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line of the key, from 1, where it is known.
        line: Option<usize>,
        /// The column, from 1; given for syntax errors.
        column: Option<usize>,
    },
    /// An environment variable.
    Variable {
        /// Its whole name.
        name: String,
    },
    /// A file that an environment variable ending in `_FILE` names.
    VariableFile {
        /// The variable's whole name.
        name: String,
        /// The file that holds the value.
        path: PathBuf,
    },
    /// An argument of the command line.
    Argument {
        /// The argument's name, such as `--set`.
        name: String,
    },
    /// A source that the program added.
    Program {
        /// What the source calls itself.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File { path, line: None, .. } => write!(f, "{}", path.display()),
            Self::File { path, line: Some(line), column: None } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: Some(line), column: Some(column) } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Variable { name } => write!(f, "environment variable {name}"),
            Self::VariableFile { name, path } => {
                write!(f, "{} (named by environment variable {name})", path.display())
            }
            Self::Argument { name } => write!(f, "{name} on the command line"),
            Self::Program { name } => f.write_str(name),
        }
    }
}
