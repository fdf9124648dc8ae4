//! `mainstay compat OLD NEW`.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use mainstay_interface::{
    Comparison, Document, compare,
    protobuf::{self, Descriptors},
};

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
    /// The description that callers keep to: OpenAPI 3 as JSON, a `.proto` file, or an encoded `FileDescriptorSet`;
    /// `-` reads standard input
    old: PathBuf,

    /// The description that the service is about to have; `-` reads standard input
    new: PathBuf,

    /// Write everything as JSON: the fields of each change are `place`, `pointer`, `old`, `new`, `why`
    #[arg(long)]
    json: bool,

    /// A folder that imports of `.proto` files are relative to; may be given several times [default: that of the file]
    #[arg(long, short = 'I', value_name = "FOLDER")]
    include: Vec<PathBuf>,

    /// Count what breaks generated code too, and nothing on the wire: names, mostly (protobuf)
    #[arg(long)]
    source: bool,

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
    use Description::{OpenApi, Protobuf};
    let compared = match (read(&options.old, options)?, read(&options.new, options)?) {
        (OpenApi(old), OpenApi(new)) => compare(&old, &new),
        (Protobuf(old), Protobuf(new)) => protobuf::compare(&old, &new),
        _ => return Err("these can't be compared: one is OpenAPI, the other one protobuf".to_owned()),
    };
    let mut comparison = compared.map_err(|error| format!("these can't be compared: {error}"))?;
    let breaks = !comparison.is_compatible() || (options.source && !comparison.source.is_empty());
    if options.quiet {
        comparison.compatible.clear();
    }
    let text = written(&comparison, options)?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| format!("could not write the report: {error}"))?;
    Ok(ExitCode::from(u8::from(breaks)))
}

fn written(comparison: &Comparison, options: &Options) -> Result<String, String> {
    if options.json {
        return serde_json::to_string_pretty(comparison).map_err(|error| error.to_string());
    }
    Ok(comparison.to_string())
}

/// What a service is described by.
enum Description {
    OpenApi(Document),
    Protobuf(Descriptors),
}

fn read(path: &Path, options: &Options) -> Result<Description, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if path.extension().is_some_and(|extension| extension == "proto") {
        return compiled(path, &options.include).map(Description::Protobuf).map_err(|error| told(&error));
    }
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MOST).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes))
    };
    read.map_err(|error| told(&error))?;
    // The key of a set's first file. A line end before JSON looks alike, and is no file.
    if bytes.first() == Some(&0x0a)
        && let Ok(descriptors) = Descriptors::decode(&bytes)
        && descriptors != Descriptors::default()
    {
        return Ok(Description::Protobuf(descriptors));
    }
    let expected = "expected OpenAPI 3 as JSON, a `.proto` file or an encoded `FileDescriptorSet`";
    let text = std::str::from_utf8(&bytes).map_err(|_| told(&format!("it is no text: {expected}")))?;
    let document = Document::parse(text).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => told(&format!("{error}: {cause}; {expected}")),
        None => told(&error),
    })?;
    Ok(Description::OpenApi(document))
}

/// The `.proto` file and all that it imports, found in its own folder where nothing else is said.
fn compiled(path: &Path, include: &[PathBuf]) -> Result<Descriptors, String> {
    let own = [path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")).to_owned()];
    let include = if include.is_empty() { &own[..] } else { include };
    // The first line names the place; the source that follows is at hand.
    let told = |error: protox::Error| error.to_string();
    let set = protox::compile([path], include).map_err(told)?;
    Ok(Descriptors::new(&set))
}
