//! The arguments that every program built with Mainstay takes.

use std::ffi::OsString;
use std::path::PathBuf;

use super::known::nearest;

/// The arguments of a program. Programs that parse their own give them to the [`Loader`](super::Loader) themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandLine {
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// `--profile NAME`.
    pub profile: Option<String>,
    /// `--config PATH`.
    pub config: Option<PathBuf>,
    /// `--services A,B`.
    pub services: Option<Vec<String>>,
    /// `--print-config`: print the effective configuration and end.
    pub print_config: bool,
    /// `--export-openapi DIRECTORY`: write the descriptions of the services there and end.
    pub export_openapi: Option<PathBuf>,
    /// `--help`: print [`CommandLine::HELP`] and end.
    pub help: bool,
}

/// An argument that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// No such argument.
    #[error("unknown argument {argument:?}{}", suggestion.as_ref().map(|name| format!(", perhaps `{name}`")).unwrap_or_default())]
    Unknown {
        /// The argument as it was given, without its value.
        argument: String,
        /// The known one that was probably meant.
        suggestion: Option<String>,
    },
    /// An argument lacks what must follow it.
    #[error("{argument} needs a value: {argument} {expected}")]
    NoValue {
        /// The argument.
        argument: String,
        /// What should follow.
        expected: &'static str,
    },
    /// A flag was given a value.
    #[error("{argument} takes no value")]
    NeedlessValue {
        /// The argument.
        argument: String,
    },
    /// An argument that counts once was given twice.
    #[error("{argument} is given more than once")]
    Twice {
        /// The argument.
        argument: String,
    },
    /// An argument that is not UTF-8.
    #[error("argument {argument:?} is not UTF-8")]
    NotText {
        /// The argument.
        argument: OsString,
    },
}

const ARGUMENTS: [(&str, Option<&str>); 8] = [
    ("--set", Some("KEY=VALUE")),
    ("--profile", Some("NAME")),
    ("--config", Some("PATH")),
    ("--services", Some("NAME,...")),
    ("--print-config", None),
    ("--export-openapi", Some("DIRECTORY")),
    ("--help", None),
    ("-h", None),
];

impl CommandLine {
    /// What `--help` prints.
    pub const HELP: &str = "\
Options:
  --set KEY=VALUE      set a key of the configuration; may be repeated
  --profile NAME       use the profile NAME (dev, production, ...)
  --config PATH        read PATH instead of mainstay.toml
  --services NAME,...  run these services only
  --print-config       print the effective configuration and exit
  --export-openapi DIRECTORY
                       write the descriptions of these services there and exit
  -h, --help           print this and exit
";

    /// Understands the arguments after the program's name: `std::env::args_os().skip(1)`.
    /// A value follows its argument, or stands behind an `=` in it.
    ///
    /// # Errors
    /// The first argument that is not understood. A program ends with status 2 or
    /// [`EXIT_CONFIG`](super::EXIT_CONFIG) then.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut parsed = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let argument = text(argument)?;
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let Some((_, wanted)) = ARGUMENTS.iter().find(|(known, _)| *known == name) else {
                let suggestion = nearest(name, ARGUMENTS.iter().map(|(name, _)| *name))
                    .filter(|_| name.len() > 2)
                    .map(str::to_owned);
                return Err(UsageError::Unknown { argument: name.to_owned(), suggestion });
            };
            match (wanted, value) {
                (None, None) if name == "--print-config" => parsed.print_config = true,
                (None, None) => parsed.help = true,
                (None, Some(_)) => return Err(UsageError::NeedlessValue { argument: name.to_owned() }),
                (Some(_), Some(value)) => parsed.take(name, value)?,
                (Some(expected), None) => match arguments.next() {
                    Some(path) if name == "--config" => once(name, &mut parsed.config, PathBuf::from(path))?,
                    Some(path) if name == "--export-openapi" => {
                        once(name, &mut parsed.export_openapi, PathBuf::from(path))?;
                    }
                    Some(value) => parsed.take(name, text(value)?)?,
                    None => return Err(UsageError::NoValue { argument: name.to_owned(), expected }),
                },
            }
        }
        Ok(parsed)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), UsageError> {
        match name {
            "--set" => self.set.push(value),
            "--profile" => once(name, &mut self.profile, value)?,
            "--config" => once(name, &mut self.config, PathBuf::from(value))?,
            "--export-openapi" => once(name, &mut self.export_openapi, PathBuf::from(value))?,
            _ => {
                let services =
                    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
                let services: Vec<_> = services.collect();
                // Nothing would unset the key, and all services would run.
                if services.is_empty() {
                    return Err(UsageError::NoValue { argument: name.to_owned(), expected: "NAME,..." });
                }
                once(name, &mut self.services, services)?;
            }
        }
        Ok(())
    }
}

fn text(argument: OsString) -> Result<String, UsageError> {
    argument.into_string().map_err(|argument| UsageError::NotText { argument })
}

fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), UsageError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UsageError::Twice { argument: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<CommandLine, UsageError> {
        CommandLine::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn values_follow_their_argument_or_stand_in_it() {
        let parsed = parse(&[
            "--set",
            "a=b=c",
            "--set=d=e",
            "--profile",
            "dev",
            "--config=x.toml",
            "--services",
            "orders, gateway,",
            "--print-config",
            "--export-openapi",
            "openapi",
        ]);
        let expected = CommandLine {
            set: vec!["a=b=c".to_owned(), "d=e".to_owned()],
            profile: Some("dev".to_owned()),
            config: Some(PathBuf::from("x.toml")),
            services: Some(vec!["orders".to_owned(), "gateway".to_owned()]),
            print_config: true,
            export_openapi: Some(PathBuf::from("openapi")),
            help: false,
        };
        assert_eq!(parsed, Ok(expected));
        assert!(parse(&["-h"]).is_ok_and(|parsed| parsed.help));
        assert_eq!(parse(&[]), Ok(CommandLine::default()));
    }

    #[test]
    fn an_argument_that_is_not_understood_is_named() {
        let told = |arguments: &[&str]| parse(arguments).map_err(|error| error.to_string()).unwrap_err();
        assert_eq!(told(&["--profil", "dev"]), "unknown argument \"--profil\", perhaps `--profile`");
        assert_eq!(told(&["orders"]), "unknown argument \"orders\"");
        assert_eq!(told(&["--"]), "unknown argument \"--\"");
        assert_eq!(told(&["--set"]), "--set needs a value: --set KEY=VALUE");
        assert_eq!(told(&["--services", " , "]), "--services needs a value: --services NAME,...");
        assert_eq!(told(&["--help=me"]), "--help takes no value");
        assert_eq!(told(&["--profile", "a", "--profile=b"]), "--profile is given more than once");
    }

    #[cfg(unix)]
    #[test]
    fn only_a_path_may_be_something_else_than_text() {
        use std::os::unix::ffi::OsStringExt as _;

        let odd = OsString::from_vec(vec![b'/', 0xff]);
        let parsed = CommandLine::parse(["--config".into(), odd.clone()]);
        assert_eq!(parsed.map(|parsed| parsed.config), Ok(Some(PathBuf::from(&odd))));
        let parsed = CommandLine::parse(["--profile".into(), odd.clone()]);
        assert_eq!(parsed, Err(UsageError::NotText { argument: odd }));
    }

    #[test]
    fn the_help_names_every_argument() {
        for (name, _) in ARGUMENTS {
            assert!(CommandLine::HELP.contains(name), "{name}");
        }
    }
}
