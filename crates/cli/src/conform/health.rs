//! HEALTH: probes on the admin listener, and `grpc.health.v1` on the main one.

use std::time::Duration;

use super::{
    check::{Check, Evidence, Finding, check},
    subject::{Subject, skipped},
    wire::{PATIENCE, Trouble, grpc},
};

pub(crate) static CHECKS: &[Check] = &[
    check!("HEALTH.1.livez", "/livez answers 200", [Admin], livez),
    check!("HEALTH.1.readyz", "/readyz answers 200", [Admin], readyz),
    check!("HEALTH.1.startupz", "/startupz answers 200", [Admin], startupz),
    check!(
        "HEALTH.1.verbose",
        "/readyz?verbose says more than /readyz: it lists the checks",
        [Admin],
        verbose
    ),
    check!("HEALTH.2.prompt", "each probe answers within a second, thirty at once too", [Admin], prompt),
    check!("HEALTH.3.server", "grpc.health.v1 Check of the server is SERVING", [Grpc], grpc_server),
    check!(
        "HEALTH.3.service",
        "grpc.health.v1 Check of a known service is SERVING",
        [GrpcService],
        grpc_service
    ),
    check!(
        "HEALTH.3.unknown",
        "grpc.health.v1 Check of an unknown service is NOT_FOUND",
        [Grpc],
        grpc_unknown
    ),
    check!(
        "HEALTH.3.watch",
        "Watch of an unknown service says SERVICE_UNKNOWN and stays open",
        [Grpc],
        grpc_watch
    ),
    check!("HEALTH.3.list", "grpc.health.v1 List names the server", [Grpc], grpc_list),
];

/// What a kubelet waits for by default (`timeoutSeconds: 1`).
const PROBE_BOUND: Duration = Duration::from_secs(1);

/// How long a watch is looked at to see that it stays open.
const LOOK: Duration = Duration::from_millis(500);

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const LIST: &str = "/grpc.health.v1.Health/List";
const UNKNOWN: &str = "mainstay.conform.NoSuchService";

async fn livez(subject: &Subject) -> Finding {
    is_ok(subject, "/livez").await
}

async fn readyz(subject: &Subject) -> Finding {
    is_ok(subject, "/readyz").await
}

async fn startupz(subject: &Subject) -> Finding {
    is_ok(subject, "/startupz").await
}

async fn is_ok(subject: &Subject, path: &str) -> Finding {
    subject.probe(path).await.expect("200", |answer| match answer.status {
        200 => Ok(()),
        other => Err(format!("status is {other}")),
    })
}

/// The contract fixes no format, so the suite looks only for what any listing has: more than the short answer.
async fn verbose(subject: &Subject) -> Finding {
    let short = subject.probe("/readyz").await.came.map_or(0, |answer| answer.body.len());
    subject.probe("/readyz?verbose").await.expect("200 with a list of checks and their states", |answer| {
        match answer.status {
            200 if answer.body.len() > short => Ok(()),
            200 => Err("says no more than /readyz".to_owned()),
            other => Err(format!("status is {other}")),
        }
    })
}

/// A probe answers from what background checks found, so many of them cost nothing.
async fn prompt(subject: &Subject) -> Finding {
    let mut probes = tokio::task::JoinSet::new();
    let admin = subject.settings.admin.clone().ok_or_else(|| skipped("needs --admin"))?;
    for path in ["/livez", "/readyz", "/startupz"].repeat(10) {
        let admin = admin.clone();
        probes.spawn(async move {
            let request = super::wire::http1::Request::get(path);
            super::subject::exchange(&admin, &request, PATIENCE).await
        });
    }
    let mut slowest = Duration::ZERO;
    let mut wrong = None;
    while let Some(joined) = probes.join_next().await {
        let Ok(exchange) = joined else { continue };
        slowest = slowest.max(exchange.took);
        match &exchange.came {
            Ok(answer) if matches!(answer.status, 200 | 503) => {}
            _ => wrong = Some(format!("{}: {}", exchange.sent, exchange.shown())),
        }
    }
    let came = format!("the slowest took {slowest:.2?}");
    Evidence::new("/livez, /readyz and /startupz, ten times each, at once", "200 or 503 within 1 s", came)
        .judge(match wrong {
            Some(wrong) => Err(wrong),
            None if slowest > PROBE_BOUND => Err(format!("one took {slowest:.2?}")),
            None => Ok(()),
        })
}

async fn grpc_server(subject: &Subject) -> Finding {
    serving(subject, "").await
}

async fn grpc_service(subject: &Subject) -> Finding {
    let name = subject.settings.grpc_service.as_deref().ok_or_else(|| skipped("needs --grpc-service"))?;
    serving(subject, name).await
}

async fn serving(subject: &Subject, service: &str) -> Finding {
    call(subject, CHECK, service, "grpc-status: 0 and status SERVING (1)", |outcome| {
        let status = outcome.reply.as_deref().and_then(grpc::health_status);
        match (outcome.code, status) {
            (Some(0), Some(grpc::SERVING)) => Ok(()),
            (Some(0), status) => Err(format!("status is {status:?}")),
            (code, _) => Err(format!("grpc-status is {code:?}")),
        }
    })
    .await
}

async fn grpc_unknown(subject: &Subject) -> Finding {
    call(subject, CHECK, UNKNOWN, "grpc-status: 5 (NOT_FOUND)", |outcome| match outcome.code {
        Some(grpc::NOT_FOUND) => Ok(()),
        code => Err(format!("grpc-status is {code:?}")),
    })
    .await
}

async fn grpc_list(subject: &Subject) -> Finding {
    call(subject, LIST, "", "grpc-status: 0 and a map in which \"\" is SERVING (1)", |outcome| {
        let list = outcome.reply.as_deref().and_then(grpc::health_list);
        match (outcome.code, list) {
            (Some(0), Some(list)) if list.contains(&(String::new(), grpc::SERVING)) => Ok(()),
            (Some(0), list) => Err(format!("the map is {list:?}")),
            (code, _) => Err(format!("grpc-status is {code:?}")),
        }
    })
    .await
}

async fn grpc_watch(subject: &Subject) -> Finding {
    let outcome = async {
        let mut watching =
            grpc::watch(subject.main(), WATCH, &grpc::health_request(UNKNOWN), PATIENCE).await?;
        let first = watching.next(PATIENCE).await?;
        Ok::<_, Trouble>((first, watching.next(LOOK).await))
    }
    .await;
    let (shown, judged) = match outcome {
        Err(trouble) => (trouble.to_string(), Err(trouble.to_string())),
        Ok((None, _)) => ("the end of the stream".to_owned(), Err("no message came".to_owned())),
        Ok((Some(first), second)) => {
            let status = grpc::health_status(&first);
            let stays = matches!(second, Err(Trouble::Silent(_)) | Ok(Some(_)));
            let shown = format!("status {status:?}, then {}", if stays { "open" } else { "closed" });
            let judged = match (status, stays) {
                (Some(grpc::SERVICE_UNKNOWN), true) => Ok(()),
                (Some(grpc::SERVICE_UNKNOWN), false) => Err("the stream did not stay open".to_owned()),
                (status, _) => Err(format!("status is {status:?}")),
            };
            (shown, judged)
        }
    };
    Evidence::new(format!("gRPC {WATCH} {UNKNOWN}"), "status SERVICE_UNKNOWN (3), then an open stream", shown)
        .judge(judged)
}

async fn call(
    subject: &Subject,
    method: &str,
    service: &str,
    expected: &str,
    rule: impl FnOnce(&grpc::Outcome) -> Result<(), String>,
) -> Finding {
    let came = grpc::call(subject.main(), method, &grpc::health_request(service), None, PATIENCE).await;
    let shown = came.as_ref().map_or_else(ToString::to_string, grpc::Outcome::summary);
    Evidence::new(format!("gRPC {method} \"{service}\""), expected, shown).judge(match &came {
        Ok(outcome) => rule(outcome),
        Err(trouble) => Err(trouble.to_string()),
    })
}
