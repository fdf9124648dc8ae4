//! What is logged: `/log` of the admin listener, and its metric.

use axum::{
    Json,
    routing::{MethodRouter, get},
};
use mainstay_core::{
    Error, Result,
    admin::Nearby,
    config::Duration,
    error::{Kind, Report, Violation},
    extract::Query,
    metrics::{Definition, Registry},
};
use mainstay_telemetry::logs::{self, Handle, Levels};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

/// `?filter=shop=debug&for=10m`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    filter: String,
    #[serde(rename = "for", default = "ten_minutes")]
    time: Duration,
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

/// What was forgotten fills no disk for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// GET shows it, PUT changes it for some time, DELETE ends that. `None`: the program has set up its logs itself.
pub(super) fn route(logs: Option<Handle>) -> MethodRouter {
    let (shown, put, deleted) = (logs.clone(), logs.clone(), logs);
    get(async move || Ok::<_, Error>(Json(show(&ours(shown.as_ref())?.levels()))))
        .put(async move |_: Nearby, Query(wanted): Query<Wanted>| {
            let logs = ours(put.as_ref())?;
            if wanted.time.is_zero() || wanted.time > LONGEST {
                return Err(Error::invalid("for", format_args!("more than no time, at most {LONGEST}")));
            }
            let set = logs.set_filter_for(&wanted.filter, wanted.time.into());
            set.map_err(|error| refused(&error))?;
            tracing::warn!(filter = wanted.filter, time = %wanted.time, "logs are filtered otherwise for some time");
            Ok(Json(show(&logs.levels())))
        })
        .delete(async move |_: Nearby| {
            let logs = ours(deleted.as_ref())?;
            logs.reset().map_err(|error| refused(&error))?;
            Ok::<_, Error>(Json(show(&logs.levels())))
        })
}

/// Counts what was left out because it repeated.
pub(super) fn observe(logs: &Handle, registry: &Registry) {
    let left_out = Definition::new(
        "mainstay.log.lines.left_out",
        "{line}",
        "Lines that were left out because they repeated",
    );
    let logs = logs.clone();
    registry.observe(move |to| to.counter(&left_out, [], logs.left_out()));
}

fn ours(logs: Option<&Handle>) -> Result<&Handle> {
    logs.ok_or_else(|| Error::new(Kind::NotFound).with_detail("the program has set up its logs itself"))
}

fn refused(error: &logs::Error) -> Error {
    let why = Violation::new("filter", Report::new(error).to_string());
    Error::new(Kind::Unprocessable).with_violation(why)
}

fn show(levels: &Levels) -> Value {
    let temporary = levels.temporary.as_ref().map(|(filter, until)| {
        let left = until.saturating_duration_since(Instant::now());
        json!({"filter": filter, "seconds_left": left.as_secs()})
    });
    json!({"filter": levels.filter, "temporary": temporary})
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use mainstay_core::{
        health,
        lifecycle::Drain,
        server::{Config, Server},
        task::Tasks,
    };
    use mainstay_telemetry::test::Capture;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr, request: &str, fields: &str) -> (u16, String) {
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{request} HTTP/1.1\r\nconnection: close\r\n{fields}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(std::time::Duration::from_secs(60), exchange).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn who_is_on_this_machine_changes_what_is_logged_and_nobody_else_does() {
        let telemetry = Capture::with(&logs::Config::default());
        let pages = mainstay_core::admin::Admin::new(health::Registry::new());
        let routes = pages.with_route("/log", "log", route(Some(telemetry.logs().clone()))).router();
        let mut config = Config::default();
        config.address = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(&config).unwrap();
        let (address, tasks, (_drainer, drain)) =
            (server.local_addr().unwrap(), Tasks::new(), Drain::channel());
        tasks.spawn_detached(server.serve(move |_| routes.clone(), drain));

        let put = "PUT /log?filter=shop=debug,mainstay=off&for=5m";
        for fields in [
            "",
            "host: evil.example\r\n",
            "host: localhost\r\nx-forwarded-for: 10.0.0.1\r\n",
            "host: localhost\r\norigin: http://localhost\r\n",
        ] {
            let (status, body) = ask(address, put, fields).await;
            assert!(status == 403 || status == 400 && fields.is_empty(), "{fields}: {status} {body}");
            assert_eq!(ask(address, "DELETE /log", fields).await.0, status);
        }
        let here = "host: localhost\r\n";
        tracing::debug!(target: "shop", "before");
        assert_eq!(ask(address, put, here).await.0, 200);
        tracing::debug!(target: "shop", "meanwhile");
        let (_, shown) = ask(address, "GET /log", here).await;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(
            (&shown["filter"], &shown["temporary"]["filter"]),
            (&json!("info"), &json!("shop=debug,mainstay=off"))
        );
        assert!((1..=300).contains(&shown["temporary"]["seconds_left"].as_u64().unwrap()), "{shown}");

        for (query, field) in [
            ("filter=shop=loud", "`shop=loud`"),
            ("filter=inof", "`inof`"),
            ("filter=info&for=0s", "more than no time, at most 1d"),
            ("filter=info&for=25h", "at most"),
            ("filter=info&four=5m", "four"),
            ("for=5m", "filter"),
        ] {
            let (status, body) = ask(address, &format!("PUT /log?{query}"), here).await;
            assert!((status == 422 || status == 400) && body.contains(field), "{query}: {status} {body}");
        }
        let (status, shown) = ask(address, "DELETE /log", here).await;
        assert_eq!((status, &*shown), (200, "{\"filter\":\"info\",\"temporary\":null}"));
        tracing::debug!(target: "shop", "after");
        assert_eq!(telemetry.line("meanwhile")["scope"], "shop");
        assert!(telemetry.lines().iter().all(|line| line["body"] != "before" && line["body"] != "after"));
    }

    #[tokio::test]
    async fn logs_of_the_program_are_left_to_it() {
        assert_eq!(ours(None).unwrap_err().kind(), Kind::NotFound);
    }
}
