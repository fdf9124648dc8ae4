//! METRIC, and what of TRACE can be seen without a dependency: what the service tells of its requests.

use std::{collections::BTreeSet, time::Duration};

use super::{
    check::{Check, Evidence, Finding, check},
    settings::Route,
    subject::{Exchange, Subject, exchange, skipped},
    text::{SHOWN, printable},
    wire::{PATIENCE, exposition::Exposition, http1::Request},
};

pub(crate) static CHECKS: &[Check] = &[
    check!("TRACE.4.echo", "the answer carries the request id that came in", [Route], echoed),
    check!("TRACE.4.malformed", "a malformed request id is replaced", [Route], malformed_id),
    check!("METRIC.1.prometheus", "/metrics is Prometheus' text, and can be read", [Admin], prometheus),
    check!(
        "METRIC.1.openmetrics",
        "/metrics is OpenMetrics where that is asked for, and ends as it must",
        [Admin],
        openmetrics
    ),
    check!(
        "METRIC.2.server",
        "a request is counted in http.server.request.duration, with the agreed labels and bounds",
        [Admin, Route],
        server
    ),
    check!(
        "METRIC.2.active",
        "http.server.active_requests is back where it was after a request",
        [Admin, Route],
        active
    ),
    check!("METRIC.3.bounded", "300 paths and 30 methods that nobody knows add no series", [Admin], bounded),
];

const ID: &str = "conform-5f1c2e";
const DURATION: &str = "http_server_request_duration_seconds";
const ACTIVE: &str = "http_server_active_requests";

/// The bounds that the semantic conventions advise, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

async fn echoed(subject: &Subject) -> Finding {
    let request = route(subject)?.request().with("x-request-id", ID);
    subject.send(&request).await.expect(&format!("x-request-id: {ID}"), |answer| {
        match answer.field("x-request-id") {
            Some(id) if id == ID => Ok(()),
            Some(id) => Err(format!("x-request-id is `{}`", printable(&id, SHOWN))),
            None => Err("no x-request-id".to_owned()),
        }
    })
}

async fn malformed_id(subject: &Subject) -> Finding {
    let long = "a".repeat(300);
    for bad in ["no spaces, please", "<script>", &long] {
        let request = route(subject)?.request().with("x-request-id", bad);
        let found = subject.send(&request).await.expect("an x-request-id of its own", |answer| match answer
            .field("x-request-id")
        {
            Some(id) if id == bad => Err("the malformed id came back".to_owned()),
            Some(id) if id.is_empty() => Err("x-request-id is empty".to_owned()),
            Some(_) => Ok(()),
            None => Err("no x-request-id".to_owned()),
        });
        found?;
    }
    Ok(Evidence::new("three malformed ids", "an id of its own each time", "so it was"))
}

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

async fn server(subject: &Subject) -> Finding {
    let route = route(subject)?;
    let before = read(subject).await?;
    let answer = subject.send(&route.request()).await;
    let status = match &answer.came {
        Ok(answer) => answer.status.to_string(),
        Err(trouble) => return Err(skipped(format!("--route was not answered: {trouble}"))),
    };
    let after = settled(subject, &before).await?;
    let is_own = |labels: &str| {
        [("http_request_method", &*route.method), ("http_response_status_code", &status)]
            .iter()
            .all(|(name, value)| labels.contains(&format!("{name}=\"{value}\"")))
    };
    let count = |text: &Exposition| text.sum(&format!("{DURATION}_count"), is_own);
    let expected = format!("one more in {DURATION}_count with method and status, url_scheme, and the bounds");
    let came = format!("{} before, {} after", count(&before), count(&after));
    Evidence::new(&answer.sent, expected, came).judge({
        let bounds: BTreeSet<String> = after.values_of(&format!("{DURATION}_bucket"), "le");
        let lacks = |bound: &f64| !bounds.iter().any(|own| own.parse() == Ok(*bound));
        let missing: Vec<String> = BOUNDS.iter().filter(|bound| lacks(bound)).map(f64::to_string).collect();
        let schemes = after.values_of(&format!("{DURATION}_count"), "url_scheme");
        if count(&after) < count(&before) + 1.0 {
            Err("the request was not counted".to_owned())
        } else if !missing.is_empty() {
            Err(format!("there is no bucket for {}", missing.join(", ")))
        } else if schemes.is_empty() {
            Err("url_scheme is not among the labels".to_owned())
        } else {
            Ok(())
        }
    })
}

async fn active(subject: &Subject) -> Finding {
    let route = route(subject)?;
    let sent = subject.send(&route.request()).await;
    let method = format!("http_request_method=\"{}\"", route.method);
    // The listener may still be writing the answer's last byte.
    let mut now = f64::NAN;
    for _ in 0..20 {
        let text = read(subject).await?;
        if text.has(ACTIVE) {
            now = text.sum(ACTIVE, |labels| labels.contains(&method));
        }
        if now == 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Evidence::new(&sent.sent, format!("{ACTIVE} of 0"), now.to_string()).judge(if now == 0.0 {
        Ok(())
    } else {
        Err(format!("{ACTIVE} is {now}; NaN: there is none"))
    })
}

async fn bounded(subject: &Subject) -> Finding {
    // One of each kind, whose series may well be new.
    let warm = [Request::get("/conform/nowhere"), Request::new("CONFORM", "/conform/nowhere")];
    for request in &warm {
        subject.send(request).await;
    }
    let before = settled(subject, &Exposition::default()).await?;
    for index in 0..300 {
        let request = Request::get(&format!("/conform/{index}?q={index}")).with("host", &format!("h{index}"));
        let _ = exchange(subject.main(), &request, PATIENCE).await;
    }
    for index in 0..30 {
        let _ = exchange(subject.main(), &Request::new(&format!("CONFORM{index}"), "/"), PATIENCE).await;
    }
    let after = settled(subject, &before).await?;
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

fn route(subject: &Subject) -> Result<&Route, super::check::Miss> {
    subject.settings.route.as_ref().ok_or_else(|| skipped("needs --route"))
}

async fn scrape(subject: &Subject, accept: &str) -> Exchange {
    subject.ask_admin(&Request::get("/metrics").with("accept", accept)).await
}

async fn read(subject: &Subject) -> Result<Exposition, super::check::Miss> {
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

fn unreadable(scraped: &Exchange, why: String) -> super::check::Miss {
    let evidence = Evidence::new(&scraped.sent, "metrics", scraped.shown());
    super::check::Miss::Failed { evidence, why }
}

/// What is there once it is not as `before` any more, or a moment has passed: the last byte of an answer may arrive
/// before the request is counted.
async fn settled(subject: &Subject, before: &Exposition) -> Result<Exposition, super::check::Miss> {
    let all = |text: &Exposition| text.sum(&format!("{DURATION}_count"), |_| true);
    for _ in 0..20 {
        let now = read(subject).await?;
        if all(&now) > all(before) {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    read(subject).await
}
