//! `mainstay export alerts URL --out DIRECTORY`: what a running service makes of its objectives, as files.
//!
//! The service writes them, because it knows under which names it measures; this only fetches and checks.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::{
    conform::{text::printable, units::Span, wire::Endpoint},
    inspect::{
        endpoint,
        read::{Page, Reader},
    },
};

/// Something in the files is not measured.
const UNKNOWN: u8 = 1;
/// They could not be read or written.
const FAILED: u8 = 2;

/// What `mainstay export` is told.
#[derive(Debug, Args)]
#[command(
    after_help = "EXIT STATUS: 0 the files are written; 1 with --strict, they name what the service does not have; 2 they \
                  can't be read or written."
)]
pub(crate) struct Options {
    /// What is wanted
    what: What,

    /// The admin listener, `http://HOST:PORT` or `HOST:PORT`
    #[arg(value_parser = endpoint)]
    url: Endpoint,

    /// The folder to write to, made if it is not there; files of the same names are replaced
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,

    /// End with status 1 where a file of one service names a metric, label or route that it does not have, or has not had yet
    #[arg(long)]
    strict: bool,

    /// How long to wait for the service
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// Rules for Prometheus, and their tests for promtool
    Alerts,
    /// A page for Grafana
    Dashboard,
    /// A route for Alertmanager to begin with
    Alertmanager,
}

/// The page `/slo`, as far as it is used.
#[derive(Debug, Deserialize)]
struct Exported {
    files: Vec<File>,
    /// What the files name that is not there, by file.
    unknown: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct File {
    name: String,
    purpose: String,
    /// None: of all services, of which this may be one that lacks something.
    service: Option<String>,
    text: String,
}

pub(crate) async fn main(options: &Options) -> ExitCode {
    match run(options).await {
        Ok(code) => code,
        Err(message) => {
            eprintln!("mainstay export: {message}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(options: &Options) -> Result<ExitCode, String> {
    let at = options.url.authority();
    let reader = Reader { endpoint: options.url.clone() };
    let page = match tokio::time::timeout(options.timeout.0, reader.page("/slo")).await {
        Ok(page) => page.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("{at}: not read within {}", options.timeout)),
    };
    let Page::Json(page) = page else { return Err(format!("{at}/slo is not JSON")) };
    let exported: Exported = serde_json::from_value(page)
        .map_err(|error| format!("{at}/slo is not as expected: {}", printable(&error.to_string(), 200)))?;
    let wanted =
        options.what.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let files: Vec<_> = exported.files.into_iter().filter(|file| file.purpose == wanted).collect();
    // All of them before the first is written.
    if let Some(file) = files.iter().find(|file| !is_plain(&file.name)) {
        return Err(format!("{at}/slo names a file {:?}, which is no plain name", printable(&file.name, 80)));
    }
    if files.is_empty() {
        return Err(format!("{at}/slo has no files for `{wanted}`"));
    }
    let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&options.out).map_err(|error| told(&options.out, error))?;
    let mut unknown = 0;
    for file in &files {
        let path = options.out.join(&file.name);
        write(&path, &file.text).map_err(|error| told(&path, error))?;
        // Whoever does not want to know the names needs the files all the same.
        let _ = writeln!(std::io::stdout(), "{}", path.display());
        for what in exported.unknown.get(&file.name).into_iter().flatten() {
            unknown += usize::from(file.service.is_some());
            eprintln!("mainstay export: {}: {}", path.display(), printable(what, 400));
        }
    }
    if unknown > 0 {
        eprintln!(
            "mainstay export: {unknown} names in files of its services are not, or not yet, what {at} measures"
        );
    }
    Ok(ExitCode::from(if unknown > 0 && options.strict { UNKNOWN } else { 0 }))
}

/// Whole or not at all: whoever reads it may do so at any moment.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        // What can't be removed either was never there.
        let _ = fs::remove_file(&beside);
    })
}

/// The name comes from whoever answered.
fn is_plain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= 100
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(fits)
}
