//! `mainstay token`: an access token for development, in one command. It asks a provider as a service would, by client
//! credentials; without options the one of `mainstay idp`.

use std::{fs, io::Write as _, path::PathBuf, process::ExitCode};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::Value;

use crate::{
    conform::{
        text::printable,
        units::Span,
        wire::{
            Endpoint,
            http1::{Answer, Connection, Request},
        },
    },
    idp,
};

/// The provider refuses, or can't be asked.
const FAILED: u8 = 2;

/// What `mainstay token` is told.
#[derive(Debug, Args)]
#[command(after_help = "EXIT STATUS: 0 the token stands on standard output; 2 there is none.")]
pub(crate) struct Options {
    /// The provider, `http://HOST:PORT` with or without a path
    #[arg(long, default_value = "http://127.0.0.1:9400")]
    issuer: String,

    /// As which client
    #[arg(long, default_value = idp::CLIENT)]
    client: String,

    /// A file with the client's secret [default: that of the client that `mainstay idp` has built in]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// What the token is for, by `aud`; may be given several times [default: what the provider takes]
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,

    /// What one may do with it; may be given several times [default: all that the client may]
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,

    /// Write `Authorization: Bearer TOKEN`, as `curl -H @-` reads it
    #[arg(long)]
    header: bool,

    /// How long to wait for the provider
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Span,
}

pub(crate) async fn main(options: &Options) -> ExitCode {
    let asked = tokio::time::timeout(options.timeout.0, token(options)).await;
    let token =
        asked.unwrap_or_else(|_| Err(format!("{}: no answer within {}", options.issuer, options.timeout)));
    let prefix = if options.header { "Authorization: Bearer " } else { "" };
    let written = token
        .and_then(|token| writeln!(std::io::stdout(), "{prefix}{token}").map_err(|error| error.to_string()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mainstay token: {message}");
            ExitCode::from(FAILED)
        }
    }
}

async fn token(options: &Options) -> Result<String, String> {
    let issuer = options.issuer.trim_end_matches('/');
    let discovered = exchange(&format!("{issuer}/.well-known/openid-configuration"), Request::get).await?;
    // OpenID Connect Discovery section 4.3: the secret goes where this document says.
    if discovered.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(format!("{issuer} calls itself otherwise: expected the same, as in `iss` of its tokens"));
    }
    let Some(endpoint) = discovered.get("token_endpoint").and_then(Value::as_str) else {
        return Err(format!("{issuer} does not say where its tokens are: is it an identity provider?"));
    };
    let mut body = form(&[("grant_type", "client_credentials")]);
    if !options.scope.is_empty() {
        body += &format!("&{}", form(&[("scope", &options.scope.join(" "))]));
    }
    for audience in &options.audience {
        body += &format!("&{}", form(&[("audience", audience)]));
    }
    let secret = match &options.secret_file {
        Some(path) => fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None if options.client == idp::CLIENT => idp::SECRET.to_owned(),
        None => {
            return Err(format!("the client `{}` needs its secret: expected --secret-file", options.client));
        }
    };
    // RFC 6749 section 2.3.1: both form-encoded.
    let proof = STANDARD.encode(format!(
        "{}:{}",
        encoded(&options.client),
        encoded(secret.trim_end_matches(['\r', '\n']))
    ));
    let request = |path: &str| {
        let request = Request::new("POST", path).with("authorization", &format!("Basic {proof}"));
        request.with_body("application/x-www-form-urlencoded", body)
    };
    let answer = exchange(endpoint, request).await?;
    let token = answer
        .get("access_token")
        .and_then(Value::as_str)
        .filter(|token| token.chars().all(|c| c.is_ascii_graphic()));
    Ok(token.ok_or_else(|| format!("{endpoint} answers without a token"))?.to_owned())
}

/// Sends the `request` of a path to `url`; what is answered is JSON.
async fn exchange(url: &str, request: impl FnOnce(&str) -> Request) -> Result<Value, String> {
    let shown = printable(url, 200);
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(format!("{shown}: expected an `http://` URL: this command speaks no TLS"));
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !path.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!("{shown}: expected a URL"));
    }
    let endpoint: Endpoint =
        format!("http://{authority}").parse().map_err(|error| format!("{shown}: {error}"))?;
    let path = if path.is_empty() { "/" } else { path };
    let request = request(path).with("accept", "application/json").with("connection", "close");
    let answer = async {
        let mut connection = Connection::open(&endpoint).await?;
        // Both exchanges are bounded together.
        connection.send(&request, std::time::Duration::MAX).await
    };
    let answer: Answer = answer.await.map_err(|trouble| format!("{shown}: {trouble}"))?;
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |name: &str| printable(said.get(name).and_then(Value::as_str).unwrap_or_default(), 200);
    match (answer.status, text("error")) {
        (200, _) => Ok(said),
        (_, error) if !error.is_empty() => {
            Err(format!("{shown} refuses: {error}: {}", text("error_description")))
        }
        _ => Err(format!("{shown} answers {}", answer.summary())),
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

/// The percent-encoding of forms.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
