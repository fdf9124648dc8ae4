//! METRIC: what the service counts of its requests, and of its calls.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    check::{Check, Evidence, Finding, Miss, check},
    dependency,
    settings::Route,
    subject::{Exchange, Subject, exchange, skipped},
    text::{SHOWN, printable},
    wire::{PATIENCE, exposition::Exposition, grpc, http1::Request, http2::Http2, stand_in::Manner},
};

pub(crate) static CHECKS: &[Check] = &[
    check!("METRIC.1.prometheus", "/metrics is Prometheus' text, and can be read", [Admin], prometheus),
    check!(
        "METRIC.1.openmetrics",
        "/metrics is OpenMetrics where that is asked for, and ends as it must",
        [Admin],
        openmetrics
    ),
    check!("METRIC.1.target", "target_info says which service the metrics are of", [Admin], target),
    check!(
        "METRIC.2.server",
        "a request is counted in http.server.request.duration, with the agreed labels and bounds",
        [Admin, Route],
        server
    ),
    check!(
        "METRIC.2.http2",
        "a request over HTTP/2 is counted in http.server.request.duration too",
        [Admin, Route],
        http2_server
    ),
    check!(
        "METRIC.2.active",
        "http.server.active_requests is back where it was after a request",
        [Admin, Route],
        active
    ),
    check!(
        "METRIC.2.grpc",
        "a gRPC call is counted in rpc.server.call.duration, with the agreed labels and bounds",
        [Admin, SlowGrpc],
        grpc_server
    ),
    check!(
        "METRIC.2.client",
        "a call is counted in http.client.request.duration, with the agreed labels and bounds",
        [Admin, CallRoute, Dependency],
        client
    ),
    check!(
        "METRIC.2.client-error",
        "a call that gets no answer is counted with error.type",
        [Admin, CallRoute, Dependency],
        client_error
    ),
    check!("METRIC.3.bounded", "300 paths and 30 methods that nobody knows add no series", [Admin], bounded),
];

const DURATION: &str = "http_server_request_duration_seconds";
const CALL_DURATION: &str = "rpc_server_call_duration_seconds";
const CLIENT_DURATION: &str = "http_client_request_duration_seconds";
const ACTIVE: &str = "http_server_active_requests";

/// How long it may take until what was answered is counted.
const SETTLED: Duration = Duration::from_secs(2);

/// The bounds that the semantic conventions advise, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

async fn prometheus(subject: &Subject) -> Finding {
    let scraped = scrape(subject, "text/plain;version=0.0.4").await;
    scraped.expect("200, text/plain; version=0.0.4, samples", |answer| {
        let kind = answer.field("content-type").unwrap_or_default();
        if answer.status != 200 || !kind.starts_with("text/plain") {
            return Err(format!("status {}, content-type `{}`", answer.status, printable(&kind, SHOWN)));
        }
        let text = Exposition::read(&answer.text())?;
        if text.samples.is_empty() { Err("there is no sample in it".to_owned()) } else { Ok(()) }
    })
}

async fn openmetrics(subject: &Subject) -> Finding {
    let scraped = scrape(subject, "application/openmetrics-text;version=1.0.0").await;
    scraped.expect("200, application/openmetrics-text, and # EOF at its end", |answer| {
        let kind = answer.field("content-type").unwrap_or_default();
        if !kind.starts_with("application/openmetrics-text") {
            return Err(format!("content-type is `{}`", printable(&kind, SHOWN)));
        }
        if !answer.text().ends_with("# EOF\n") {
            return Err("it does not end with `# EOF`".to_owned());
        }
        Exposition::read(&answer.text()).map(|_| ())
    })
}

async fn target(subject: &Subject) -> Finding {
    let scraped = scrape(subject, "text/plain").await;
    scraped.expect("target_info of 1 with service_name", |answer| {
        let text = Exposition::read(&answer.text())?;
        let named = text.sum("target_info", |labels| says(labels, "service_name"));
        if named >= 1.0 { Ok(()) } else { Err("there is none".to_owned()) }
    })
}

async fn server(subject: &Subject) -> Finding {
    let route = route(subject)?;
    let before = read(subject).await?;
    let answer = subject.send(&route.request()).await;
    let status = match &answer.came {
        Ok(answer) => answer.status.to_string(),
        Err(trouble) => return Err(skipped(format!("--route was not answered: {trouble}"))),
    };
    let own = [("http_request_method", &*route.method), ("http_response_status_code", &status)];
    counted(subject, &answer.sent, &before, DURATION, &own, &["url_scheme"]).await
}

async fn http2_server(subject: &Subject) -> Finding {
    let route = route(subject)?;
    let before = read(subject).await?;
    let request = http::Request::builder().method(route.method.as_str());
    let answer =
        async { Http2::open(subject.main()).await?.send(request, &route.path, None, PATIENCE).await };
    let status = match answer.await {
        Ok(answer) => answer.head.status.as_str().to_owned(),
        Err(trouble) => return Err(skipped(format!("--route was not answered: {trouble}"))),
    };
    let sent = format!("{} {} over HTTP/2", route.method, route.path);
    let own = [("http_request_method", &*route.method), ("http_response_status_code", &status)];
    counted(subject, &sent, &before, DURATION, &own, &["url_scheme"]).await
}

async fn grpc_server(subject: &Subject) -> Finding {
    let method = subject.settings.slow_grpc.as_deref().ok_or_else(|| skipped("needs --slow-grpc"))?;
    let method = method.trim_start_matches('/');
    let before = read(subject).await?;
    // Need not be waited for to its end, and so is an error, which says more.
    let outcome = grpc::call(subject.main(), &format!("/{method}"), &[], Some("100m"), PATIENCE).await;
    let (code, required): (_, &[&str]) = match outcome {
        Ok(outcome) if outcome.code == Some(grpc::DEADLINE_EXCEEDED) => {
            ("DEADLINE_EXCEEDED", &["error_type"])
        }
        Ok(outcome) if outcome.code == Some(0) => ("OK", &[]),
        Ok(outcome) => return Err(skipped(format!("--slow-grpc gave {}", outcome.summary()))),
        Err(trouble) => return Err(skipped(format!("--slow-grpc was not answered: {trouble}"))),
    };
    let own = [("rpc_system_name", "grpc"), ("rpc_method", method), ("rpc_response_status_code", code)];
    let sent = format!("gRPC /{method} | grpc-timeout: 100m");
    counted(subject, &sent, &before, CALL_DURATION, &own, required).await
}

async fn client(subject: &Subject) -> Finding {
    dependency::calm(subject).await?;
    let before = read(subject).await?;
    let answer = subject.send(&dependency::route(subject)?.request()).await;
    let own = [("http_request_method", "GET"), ("http_response_status_code", "200")];
    counted(subject, &answer.sent, &before, CLIENT_DURATION, &own, &["server_address"]).await
}

async fn client_error(subject: &Subject) -> Finding {
    dependency::calm(subject).await?;
    let before = read(subject).await?;
    dependency::behave(subject, Manner::Break);
    let answer = subject.send(&dependency::route(subject)?.request()).await;
    dependency::behave(subject, Manner::Answer);
    let own = [("http_request_method", "GET")];
    let required = ["server_address", "error_type"];
    counted(subject, &answer.sent, &before, CLIENT_DURATION, &own, &required).await
}

async fn active(subject: &Subject) -> Finding {
    let route = route(subject)?;
    let sent = subject.send(&route.request()).await;
    let method = format!("http_request_method=\"{}\"", route.method);
    let of = |text: &Exposition| text.sum(ACTIVE, |labels| labels.contains(&method));
    let text = once(subject, |text| text.has(ACTIVE) && of(text) == 0.0).await?;
    let (is_there, now) = (text.has(ACTIVE), of(&text));
    let came = if is_there { now.to_string() } else { "(none)".to_owned() };
    Evidence::new(&sent.sent, format!("{ACTIVE} of 0"), came).judge(match is_there {
        true if now == 0.0 => Ok(()),
        true => Err(format!("{ACTIVE} is {now}")),
        false => Err(format!("there is no {ACTIVE}")),
    })
}

async fn bounded(subject: &Subject) -> Finding {
    // One of each kind, whose series may well be new.
    let warm = [Request::get("/conform/nowhere"), Request::new("CONFORM", "/conform/nowhere")];
    for request in &warm {
        subject.send(request).await;
    }
    let all = |text: &Exposition| text.sum(&format!("{DURATION}_count"), |_| true);
    let before = once(subject, |text| all(text) > 0.0).await?;
    for index in 0..300 {
        let request = Request::get(&format!("/conform/{index}?q={index}")).with("host", &format!("h{index}"));
        let _ = exchange(subject.main(), &request, PATIENCE).await;
    }
    for index in 0..30 {
        let _ = exchange(subject.main(), &Request::new(&format!("CONFORM{index}"), "/"), PATIENCE).await;
    }
    let after = once(subject, |text| all(text) >= all(&before) + 330.0).await?;
    let named = |text: &Exposition| text.series_of("http_server_");
    let (was, is) = (named(&before), named(&after));
    let came = format!("{} series of http_server_* before, {} after", was.len(), is.len());
    let mut new = is.difference(&was);
    // Buckets, sum and count of one more status and method are a series or two.
    let few = is.len() <= was.len() + 4 * (BOUNDS.len() + 3);
    let counted = after.has(&format!("{DURATION}_count"));
    Evidence::new("GET /conform/0 to /conform/299, 30 methods", "no series of their own", came).judge(match (
        counted, few,
    ) {
        (false, _) => Err(format!("there is no {DURATION}")),
        (true, false) => {
            let first = new.next().map(String::as_str).unwrap_or_default();
            Err(format!("{} new series, such as {}", is.len() - was.len(), printable(first, SHOWN)))
        }
        (true, true) => Ok(()),
    })
}

fn route(subject: &Subject) -> Result<&Route, Miss> {
    subject.settings.route.as_ref().ok_or_else(|| skipped("needs --route"))
}

async fn scrape(subject: &Subject, accept: &str) -> Exchange {
    subject.ask_admin(&Request::get("/metrics").with("accept", accept)).await
}

async fn read(subject: &Subject) -> Result<Exposition, Miss> {
    let scraped = scrape(subject, "text/plain").await;
    let text = scraped.came.as_ref().map(|answer| (answer.status, answer.text()));
    match text {
        Ok((200, text)) => {
            let read = Exposition::read(&text);
            read.map_err(|why| unreadable(&scraped, why))
        }
        Ok((status, _)) => Err(unreadable(&scraped, format!("status is {status}"))),
        Err(trouble) => {
            let why = trouble.to_string();
            Err(unreadable(&scraped, why))
        }
    }
}

fn unreadable(scraped: &Exchange, why: String) -> Miss {
    let evidence = Evidence::new(&scraped.sent, "metrics", scraped.shown());
    Miss::Failed { evidence, why }
}

/// Whether one more is counted than `before` in the histogram `name`, in series with these labels that also say what is
/// `required`; and whether it has the bounds.
async fn counted(
    subject: &Subject,
    sent: &str,
    before: &Exposition,
    name: &str,
    labels: &[(&str, &str)],
    required: &[&str],
) -> Finding {
    let own: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let is_own = |labels: &str| {
        own.iter().all(|label| labels.contains(label)) && required.iter().all(|name| says(labels, name))
    };
    let count = |text: &Exposition| text.sum(&format!("{name}_count"), is_own);
    let after = once(subject, |text| count(text) > count(before)).await?;
    let also = if required.is_empty() { String::new() } else { format!(" and {}", required.join(", ")) };
    let expected = format!("one more in {name}_count with {}{also}, and the bounds", own.join(", "));
    let came = format!("{} before, {} after", count(before), count(&after));
    let bounds: BTreeSet<String> = after.values_of(&format!("{name}_bucket"), "le");
    let lacks = |bound: &f64| !bounds.iter().any(|own| own.parse() == Ok(*bound));
    let missing: Vec<String> = BOUNDS.iter().filter(|bound| lacks(bound)).map(f64::to_string).collect();
    Evidence::new(sent, expected, came).judge(if !after.has(&format!("{name}_count")) {
        Err(format!("there is no {name}"))
    } else if count(&after) < count(before) + 1.0 {
        Err("it was not counted with these labels".to_owned())
    } else if !missing.is_empty() {
        Err(format!("there is no bucket for {}", missing.join(", ")))
    } else {
        Ok(())
    })
}

/// Whether there is a label of this name that is not empty.
fn says(labels: &str, name: &str) -> bool {
    let start = format!("{name}=\"");
    labels.match_indices(&start).any(|(at, _)| {
        let before = labels.get(..at).unwrap_or_default();
        let value = labels.get(at + start.len()..).unwrap_or_default();
        (before.is_empty() || before.ends_with(',')) && !value.starts_with('"')
    })
}

/// What is there once it is as it should be, or a moment has passed: the last byte of an answer may arrive before the
/// request is counted.
async fn once(subject: &Subject, is_there: impl Fn(&Exposition) -> bool) -> Result<Exposition, Miss> {
    let began = Instant::now();
    loop {
        let now = read(subject).await?;
        if is_there(&now) || began.elapsed() > SETTLED {
            return Ok(now);
        }
        sleep(Duration::from_millis(25)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn a_label_is_told_from_others_that_end_like_it_and_from_an_empty_one() {
        assert!(says("a=\"1\",error_type=\"timeout\"", "error_type") && says("a=\"1\"", "a"));
        for without in ["", "error_type=\"\"", "my_error_type=\"timeout\"", "a=\"1\""] {
            assert!(!says(without, "error_type"), "{without}");
        }
    }
}
