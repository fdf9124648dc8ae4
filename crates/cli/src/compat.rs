//! `mainstay compat OLD NEW`.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use mainstay_interface::{Comparison, Document, compare};

/// The description is wrong, or can't be read.
const UNUSABLE: u8 = 2;

/// The most that is read of a file, in bytes: one more than any description that is taken may have.
const MOST: u64 = 16 * 1024 * 1024 + 1;

/// What `mainstay compat` is told.
#[derive(Debug, Args)]
#[command(
    after_help = "EXIT STATUS: 0 nothing breaks; 1 something does; 2 a file can't be read as a description."
)]
pub(crate) struct Options {
    /// The description that callers keep to: OpenAPI 3 as JSON; `-` reads standard input
    old: PathBuf,

    /// The description that the service is about to have; `-` reads standard input
    new: PathBuf,

    /// Write everything as JSON: the fields of each change are `place`, `pointer`, `old`, `new`, `why`
    #[arg(long)]
    json: bool,

    /// Write what breaks only
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("mainstay compat: {message}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let (old, new) = (read(&options.old)?, read(&options.new)?);
    let mut comparison = compare(&old, &new).map_err(|error| format!("these can't be compared: {error}"))?;
    let code = ExitCode::from(u8::from(!comparison.is_compatible()));
    if options.quiet {
        comparison.compatible.clear();
    }
    let text = written(&comparison, options)?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| format!("could not write the report: {error}"))?;
    Ok(code)
}

fn written(comparison: &Comparison, options: &Options) -> Result<String, String> {
    if options.json {
        return serde_json::to_string_pretty(comparison).map_err(|error| error.to_string());
    }
    Ok(comparison.to_string())
}

fn read(path: &Path) -> Result<Document, String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MOST).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text))
    };
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    read.map_err(|error| told(&error))?;
    Document::parse(&text).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => told(&format!("{error}: {cause}")),
        None => told(&error),
    })
}
