//! DEADLINE: a request that has no time left is not worked on.

use std::time::Duration;

use super::{
    check::{Check, Evidence, Finding, check},
    problem::{Trace, problem},
    settings::Route,
    subject::{Subject, skipped},
    wire::{PATIENCE, grpc},
};

pub(crate) static CHECKS: &[Check] = &[
    check!("DEADLINE.1.http", "x-request-timeout ends a slow request with a 504 problem", [SlowRoute], http),
    check!("DEADLINE.1.malformed", "a malformed x-request-timeout is a 400 problem", [Route], malformed),
    check!(
        "DEADLINE.1.grpc",
        "grpc-timeout ends a slow call with DEADLINE_EXCEEDED",
        [SlowGrpc],
        grpc_timeout
    ),
    check!(
        "DEADLINE.2.default",
        "without one the configured default holds",
        [HangRoute, DefaultDeadline],
        default
    ),
];

/// A slow route takes at least a second by its definition: anything quicker than that is no slow route.
const SLOW: Duration = Duration::from_millis(800);

async fn http(subject: &Subject) -> Finding {
    let route = subject.settings.slow_route.as_ref().ok_or_else(|| skipped("needs --slow-route"))?;
    let bounded = route.request().with("x-request-timeout", "100m").traced();
    let plain = route.request();
    // The same request without a deadline shows that it is the deadline that ends it.
    let (plain, bounded) = tokio::join!(subject.send(&plain), subject.send(&bounded));
    match &plain.came {
        Ok(answer) if answer.is_success() && plain.took >= SLOW => {}
        _ => {
            return Err(skipped(format!(
                "--slow-route has to take a second and answer 2xx: without a deadline it took {:.1?} and gave {}",
                plain.took,
                plain.shown()
            )));
        }
    }
    let (took, whole) = (bounded.took, plain.took);
    bounded.expect("504 application/problem+json before the route would have answered", |answer| {
        problem(answer, &[504], Trace::Sent)?;
        if took < whole { Ok(()) } else { Err(format!("it took {took:.1?}")) }
    })
}

async fn malformed(subject: &Subject) -> Finding {
    let request = || subject.settings.route.as_ref().map(Route::request);
    let mut last = Err(skipped("needs --route"));
    // Nine digits, no unit, an unknown unit, a sign: all outside the grammar of `grpc-timeout`.
    for value in ["soon", "123456789m", "100", "5x", "-1S"] {
        let Some(request) = request() else { break };
        last = subject
            .send(&request.with("x-request-timeout", value).traced())
            .await
            .expect("400 application/problem+json", |answer| problem(answer, &[400], Trace::Sent));
        if last.is_err() {
            break;
        }
    }
    last
}

async fn grpc_timeout(subject: &Subject) -> Finding {
    let method = subject.settings.slow_grpc.as_deref().ok_or_else(|| skipped("needs --slow-grpc"))?;
    let path = format!("/{}", method.trim_start_matches('/'));
    let came = grpc::call(subject.main(), &path, &[], Some("100m"), PATIENCE).await;
    let shown = came.as_ref().map_or_else(ToString::to_string, grpc::Outcome::summary);
    Evidence::new(format!("gRPC {path} | grpc-timeout: 100m"), "grpc-status: 4 (DEADLINE_EXCEEDED)", shown)
        .judge(match came {
            Ok(outcome) if outcome.code == Some(grpc::DEADLINE_EXCEEDED) => Ok(()),
            Ok(outcome) => Err(format!("grpc-status is {:?}", outcome.code)),
            Err(trouble) => Err(trouble.to_string()),
        })
}

async fn default(subject: &Subject) -> Finding {
    let settings = &subject.settings;
    let (Some(route), Some(deadline)) = (&settings.hang_route, settings.default_deadline) else {
        return Err(skipped("needs --hang-route, --default-deadline"));
    };
    let bound = deadline + Duration::from_secs(1);
    subject
        .send_within(&route.request().traced(), bound)
        .await
        .expect(&format!("504 application/problem+json within {bound:?}"), |answer| {
            problem(answer, &[504], Trace::Sent)
        })
}
