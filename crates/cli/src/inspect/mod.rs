//! `mainstay inspect URL PAGE`: what the admin listener of a running process says, for people.
//!
//! The pages are JSON, and are shown by their shape, not by what they are known to hold: a newer service may say more.

mod paint;
pub(crate) mod read;
mod show;

use std::{io::Write, process::ExitCode};

use clap::Args;
use serde_json::{Map, Value};

use crate::conform::{units::Span, wire::Endpoint};
use paint::Paint;
use read::{Page, Reader};

/// The probes, as one page.
const HEALTH: &str = "health";
/// What would be decided by policies.
const EXPLAIN: &str = "explain";
const PROBES: [&str; 3] = ["/readyz", "/livez", "/startupz"];

/// It was shown, and the process is not well.
const UNWELL: u8 = 1;
/// It could not be shown.
const UNREAD: u8 = 2;

/// What `mainstay inspect` is told.
#[derive(Debug, Args)]
#[command(
    after_help = "EXIT STATUS: 0 it was shown; 1 `health` was shown, and a probe fails; 2 it could not be read."
)]
pub(crate) struct Options {
    /// The admin listener, `http://HOST:PORT` or `HOST:PORT`
    #[arg(value_parser = endpoint)]
    url: Endpoint,

    /// `health`, `requests`, `discovery`, `status`, `config`, `explain`, or the path of another page such as `/openapi/orders`
    #[arg(default_value = HEALTH)]
    page: String,

    /// With `explain`: the question, as JSON with `principal`, `action`, `resource` and `context`
    #[arg(long, value_name = "JSON", required_if_eq("page", EXPLAIN))]
    ask: Option<String>,

    /// Write the JSON as it came
    #[arg(long)]
    json: bool,

    /// How long to wait for all of it
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Span,
}

pub(crate) async fn main(options: &Options) -> ExitCode {
    let timeout = options.timeout.0;
    let reader = Reader { endpoint: options.url.clone() };
    let read = async {
        match (options.page.as_str(), &options.ask) {
            (EXPLAIN, Some(question)) => reader.explain(question).await,
            (page, Some(_)) => Err(read::Error::NoQuestion(page.to_owned())),
            (HEALTH, None) => health(&reader).await,
            (page, None) => reader.page(&format!("/{}", page.trim_start_matches('/'))).await,
        }
    };
    let read = match tokio::time::timeout(timeout, read).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{}: not read within {}", options.url.authority(), options.timeout)),
    };
    match read.and_then(|page| written(&page, options).map(|()| page)) {
        Ok(page) if options.page == HEALTH && !is_well(&page) => ExitCode::from(UNWELL),
        Ok(_) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mainstay inspect: {message}");
            ExitCode::from(UNREAD)
        }
    }
}

/// The scheme may be left out: there is only one.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    if text.contains("://") { text.parse() } else { format!("http://{text}").parse() }
}

/// What each probe says, by its name.
async fn health(reader: &Reader) -> Result<Page, read::Error> {
    let mut probes = Map::new();
    for path in PROBES {
        if let Page::Json(said) = reader.page(path).await? {
            probes.insert(path.trim_start_matches('/').to_owned(), said);
        }
    }
    Ok(Page::Json(Value::Object(probes)))
}

fn is_well(page: &Page) -> bool {
    let Page::Json(Value::Object(probes)) = page else { return false };
    PROBES.iter().all(|path| {
        probes
            .get(path.trim_start_matches('/'))
            .is_some_and(|said| said.get("status") == Some(&"pass".into()))
    })
}

fn written(page: &Page, options: &Options) -> Result<(), String> {
    let text = match page {
        Page::Json(value) if options.json => {
            serde_json::to_string_pretty(value).map_err(|error| error.to_string())?
        }
        Page::Json(value) => show::text(value, Paint::stdout()),
        Page::Text(text) => text.clone(),
    };
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        // A reader that has gone away, as `head` does, wants no more.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("can't be written: {error}"))
        }
        _ => Ok(()),
    }
}
