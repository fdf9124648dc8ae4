//! LIMIT: what a peer can cost, and what happens when there are too many of them.

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

use super::{
    check::{Check, Evidence, Finding, Miss, check},
    problem::{Trace, problem},
    settings::Route,
    subject::{Exchange, Subject, exchange, skipped},
    wire::{
        PATIENCE, Trouble,
        frame::{
            CONTINUATION, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PREFACE, RST_STREAM,
            encode, field_block, get_block,
        },
        http1::Connection,
    },
};

pub(crate) static CHECKS: &[Check] = &[
    check!("LIMIT.1.no-bytes", "a peer that sends nothing is not kept", [], no_bytes),
    check!("LIMIT.1.half-header", "a peer that sends half a header is not kept", [], half_header),
    check!("LIMIT.1.half-preface", "a peer that sends half an HTTP/2 preface is not kept", [], half_preface),
    check!(
        "LIMIT.1.slow-body",
        "a body that stops coming ends with an answer or the connection",
        [JsonRoute],
        slow_body
    ),
    check!("LIMIT.1.rapid-reset", "10,000 streams reset at once end the connection", [], rapid_reset),
    check!("LIMIT.1.continuation", "10 MB of CONTINUATION frames end the connection", [], continuation),
    check!("LIMIT.1.streams", "streams over the announced bound are refused", [JsonRoute], streams),
    check!(
        "LIMIT.2.shed",
        "overload is answered with 503 problems and Retry-After, and probes still answer",
        [SlowRoute],
        shed
    ),
];

/// What the suite grants on top of a bound, for timers and schedulers.
pub(crate) const SLACK: Duration = Duration::from_secs(2);

/// How many requests at once the suite tries when it is told no number.
const MANY: usize = 512;

/// A bound on streams beyond which it is none: each costs memory before the first byte of a body.
const MOST_STREAMS: u32 = 20_000;

/// `SETTINGS_MAX_CONCURRENT_STREAMS` (RFC 9113 section 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;

async fn no_bytes(subject: &Subject) -> Finding {
    is_not_kept(subject, "no bytes", b"").await
}

async fn half_header(subject: &Subject) -> Finding {
    let half = format!("GET / HTTP/1.1\r\nhost: {}\r\nx-half", subject.main().authority());
    is_not_kept(subject, "half a header", half.as_bytes()).await
}

async fn half_preface(subject: &Subject) -> Finding {
    is_not_kept(subject, "half an HTTP/2 preface", PREFACE.get(..12).unwrap_or(PREFACE)).await
}

async fn slow_body(subject: &Subject) -> Finding {
    let Route { method, path } = json_route(subject)?;
    let lines = subject.main().lines();
    let start = format!(
        "{method} {path} HTTP/1.1\r\n{lines}content-type: application/json\r\n\
         content-length: 100\r\n\r\n{{"
    );
    is_not_kept(subject, &format!("{method} {path} | content-length: 100 | 1 byte"), start.as_bytes()).await
}

/// Sends `start` and nothing more; others must be served meanwhile, and the connection must end.
async fn is_not_kept(subject: &Subject, sent: &str, start: &[u8]) -> Finding {
    let bound = subject.settings.header_timeout + SLACK;
    let stuck = async {
        let mut connection = Connection::open(subject.main()).await?;
        connection.write(start).await?;
        connection.answer(bound).await
    };
    let (came, others) = tokio::join!(stuck, subject.still_answers());
    let shown = came.as_ref().map_or_else(ToString::to_string, |answer| answer.summary());
    let expected =
        format!("an error status or the end of the connection within {bound:?}, others answered meanwhile");
    Evidence::new(format!("{sent}, and then nothing"), expected, shown).judge(match came {
        Ok(answer) if answer.status < 400 => Err(format!("answered with {}", answer.status)),
        Ok(_) => others,
        Err(trouble) if trouble.is_end() => others,
        Err(trouble) => Err(trouble.to_string()),
    })
}

async fn rapid_reset(subject: &Subject) -> Finding {
    const CANCEL: [u8; 4] = 8u32.to_be_bytes();
    let block = get_block(&subject.main().authority(), path(subject));
    let mut flood = Vec::new();
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        flood.extend(encode(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        flood.extend(encode(RST_STREAM, 0, stream, &CANCEL));
    }
    ends_connection(subject, "10,000 times HEADERS and RST_STREAM", &flood).await
}

async fn continuation(subject: &Subject) -> Finding {
    let mut flood = encode(HEADERS, END_STREAM, 1, &get_block(&subject.main().authority(), path(subject)));
    let piece = encode(CONTINUATION, 0, 1, &field_block(&[("x-flood", &"a".repeat(1_000))]));
    for _ in 0..10_000 {
        flood.extend_from_slice(&piece);
    }
    ends_connection(subject, "HEADERS and 10,000 CONTINUATION frames of 1 kB, never END_HEADERS", &flood)
        .await
}

async fn ends_connection(subject: &Subject, sent: &str, flood: &[u8]) -> Finding {
    let came = async {
        let mut frames = Frames::open(subject.main()).await?;
        frames.settings().await?;
        frames.write_until(flood, PATIENCE, |frame| frame.kind == GOAWAY).await
    }
    .await;
    let expected = "GOAWAY or the end of the connection; the service still answers others";
    Evidence::new(sent, expected, shown(&came)).judge(match came {
        Ok(_) => subject.still_answers().await,
        Err(trouble) if trouble.is_end() => subject.still_answers().await,
        Err(trouble) => Err(trouble.to_string()),
    })
}

async fn streams(subject: &Subject) -> Finding {
    let Route { method, path } = json_route(subject)?;
    let authority = subject.main().authority();
    let credentials = subject.main().credentials();
    let mut fields = vec![
        (":method", method.as_str()),
        (":scheme", "http"),
        (":path", path),
        (":authority", &authority),
        ("content-type", "application/json"),
    ];
    fields.extend(credentials.as_deref().map(|credentials| ("authorization", credentials)));
    let block = field_block(&fields);
    let expected = "SETTINGS_MAX_CONCURRENT_STREAMS, and RST_STREAM, GOAWAY or the end for streams beyond it";
    let mut bound = None;
    let came = async {
        let mut frames = Frames::open(subject.main()).await?;
        let settings = frames.settings().await?;
        bound = settings.iter().find(|(name, _)| *name == MAX_CONCURRENT_STREAMS).map(|(_, value)| *value);
        let Some(bound) = bound.filter(|bound| *bound <= MOST_STREAMS) else {
            return Err(Trouble::Unusable(format!("the server announces no bound up to {MOST_STREAMS}")));
        };
        // Bodies that never come keep the streams open.
        let flood: Vec<u8> =
            (0..bound + 10).flat_map(|number| encode(HEADERS, END_HEADERS, 2 * number + 1, &block)).collect();
        let is_refusal =
            |frame: &Frame| frame.kind == GOAWAY || (frame.kind == RST_STREAM && frame.stream > 2 * bound);
        frames.write_until(&flood, PATIENCE, is_refusal).await
    }
    .await;
    let sent = match bound {
        Some(bound) => format!("ten streams more than the {bound} announced, all left open"),
        None => "an HTTP/2 connection".to_owned(),
    };
    Evidence::new(sent, expected, shown(&came)).judge(match came {
        Ok(_) => subject.still_answers().await,
        Err(trouble) if trouble.is_end() && bound.is_some() => subject.still_answers().await,
        Err(trouble) => Err(trouble.to_string()),
    })
}

async fn shed(subject: &Subject) -> Finding {
    let settings = &subject.settings;
    let route = settings.slow_route.as_ref().ok_or_else(|| skipped("needs --slow-route"))?;
    let count = settings.overload.unwrap_or(MANY);
    let patience = settings.timeout / 2;
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let (main, request) = (settings.main.clone(), route.request().traced());
        requests.spawn(async move { exchange(&main, &request, patience).await });
    }
    let probed = async {
        sleep(Duration::from_millis(300)).await;
        match &settings.admin {
            Some(_) => Some(subject.probe("/livez").await),
            None => None,
        }
    };
    let (tally, probed) = tokio::join!(tally(requests), probed);
    let evidence = Evidence::new(
        format!("{} {}, {count} times at once", route.method, route.path),
        "2xx, or 503 application/problem+json with Retry-After; /livez 200 meanwhile",
        format!("{} answered 2xx, {} refused with 503", tally.served, tally.refused),
    );
    if let Some(wrong) = tally.wrong {
        return evidence.judge(Err(wrong));
    }
    if let Some(probe) = probed.filter(|probe| !matches!(&probe.came, Ok(answer) if answer.status == 200)) {
        return evidence.judge(Err(format!("meanwhile /livez: {}", probe.shown())));
    }
    match (tally.refused, settings.overload) {
        (0, Some(_)) => evidence.judge(Err("none was refused".to_owned())),
        (0, None) => Err(skipped(format!("{count} requests at once overloaded nothing: needs --overload"))),
        _ => evidence.judge(Ok(())),
    }
}

#[derive(Debug, Default)]
struct Tally {
    served: usize,
    refused: usize,
    /// The first answer that was neither, and why it is wrong.
    wrong: Option<String>,
}

async fn tally(mut requests: JoinSet<Exchange>) -> Tally {
    let mut tally = Tally::default();
    while let Some(joined) = requests.join_next().await {
        let Ok(exchange) = joined else { continue };
        let judged = match &exchange.came {
            Ok(answer) if answer.is_success() => {
                tally.served += 1;
                Ok(())
            }
            Ok(answer) => {
                tally.refused += 1;
                match answer.field("retry-after") {
                    Some(_) => problem(answer, &[503], Trace::Sent),
                    None => Err("Retry-After is missing".to_owned()),
                }
            }
            Err(trouble) => Err(trouble.to_string()),
        };
        if let (Err(wrong), None) = (judged, &tally.wrong) {
            tally.wrong = Some(format!("one of them: {wrong} ({})", exchange.shown()));
        }
    }
    tally
}

fn shown(came: &Result<Frame, Trouble>) -> String {
    match came {
        Ok(Frame { kind: GOAWAY, payload, .. }) => {
            let code = payload.get(4..8).and_then(|code| Some(u32::from_be_bytes(*code.first_chunk()?)));
            format!("GOAWAY with error code {}", code.map_or_else(|| "?".to_owned(), |code| code.to_string()))
        }
        Ok(Frame { kind: RST_STREAM, stream, .. }) => format!("RST_STREAM of stream {stream}"),
        Ok(frame) => format!("a frame of type {}", frame.kind),
        Err(trouble) => trouble.to_string(),
    }
}

fn path(subject: &Subject) -> &str {
    subject.settings.route.as_ref().filter(|route| route.method == "GET").map_or("/", |route| &route.path)
}

fn json_route(subject: &Subject) -> Result<&Route, Miss> {
    subject.settings.json_route.as_ref().ok_or_else(|| skipped("needs --json-route"))
}
