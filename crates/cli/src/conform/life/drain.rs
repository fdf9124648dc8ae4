//! LIFE 3 and 4: what happens between SIGTERM and the end.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::conform::{
    check::{Evidence, Finding, Miss},
    peers::{STUCK, StuckPeers},
    process::Exit,
    subject::{Exchange, Subject, skipped},
    wire::{
        PATIENCE, Trouble,
        frame::{Frames, GOAWAY},
        http1::Connection,
    },
};

/// How long a request is under way before the signal, so that it has been accepted.
const UNDER_WAY: Duration = Duration::from_millis(300);

/// What the suite takes for "at once".
const AT_ONCE: Duration = Duration::from_secs(1);

const POLL: Duration = Duration::from_millis(20);

pub(super) async fn stuck_peers(subject: &Subject) -> Finding {
    let peers = match StuckPeers::attach(subject).await {
        Ok(peers) => peers,
        Err(trouble) => {
            return Evidence::new(STUCK, "connections", trouble.to_string())
                .judge(Err("the peers could not be attached".to_owned()));
        }
    };
    let finding = in_time(subject, &format!("{STUCK}; SIGTERM")).await;
    drop(peers);
    finding
}

pub(super) async fn exit(subject: &Subject) -> Finding {
    in_time(subject, "SIGTERM").await
}

async fn in_time(subject: &Subject, sent: &str) -> Finding {
    let bound = bound(subject);
    terminate(subject).await?;
    let start = Instant::now();
    let exit = ends(subject, bound).await;
    let came = match exit {
        Some(exit) => format!("{exit} after {:.1?}", start.elapsed()),
        None => format!("still running after {bound:?}"),
    };
    Evidence::new(sent, format!("exit status 0 within {bound:?}"), came).judge(ended_well(exit))
}

pub(super) async fn readyz(subject: &Subject) -> Finding {
    // Something has to keep the drain under way long enough to ask.
    let slow = subject.settings.slow_route.is_some();
    if !slow && subject.settings.drain_delay.is_zero() {
        return Err(skipped("needs --slow-route or --drain-delay, else it is gone before it can be asked"));
    }
    let asking = async {
        sleep(UNDER_WAY).await;
        terminate(subject).await?;
        let deadline = Instant::now() + AT_ONCE;
        loop {
            let exchange = subject.probe("/readyz").await;
            let still_ready = matches!(&exchange.came, Ok(answer) if answer.status == 200);
            if !still_ready || Instant::now() > deadline {
                return Ok::<Exchange, Miss>(exchange);
            }
            sleep(POLL).await;
        }
    };
    let (exchange, _) = tokio::join!(asking, slow_request(subject));
    exchange?.expect(&format!("503 within {AT_ONCE:?} of SIGTERM, work still under way"), |answer| {
        match answer.status {
            503 => Ok(()),
            other => Err(format!("status is {other}")),
        }
    })
}

pub(super) async fn in_flight(subject: &Subject) -> Finding {
    let signalling = async {
        sleep(UNDER_WAY).await;
        terminate(subject).await
    };
    let (signalled, answered) = tokio::join!(signalling, slow_request(subject));
    signalled?;
    let exit = ends(subject, bound(subject)).await;
    answered.expect("2xx with Connection: close, then exit status 0", |answer| {
        if !answer.is_success() {
            return Err(format!("status is {}", answer.status));
        }
        if !answer.says_close() {
            return Err("Connection: close is missing".to_owned());
        }
        ended_well(exit)
    })
}

pub(super) async fn keep_alive(subject: &Subject) -> Finding {
    let opened = async {
        let mut connection = Connection::open(subject.main()).await?;
        let answer = connection.send(&subject.plain(), PATIENCE).await?;
        Ok::<_, Trouble>((connection, answer.says_close()))
    }
    .await;
    let (mut connection, closes) = opened.map_err(|trouble| skipped(format!("no connection: {trouble}")))?;
    if closes {
        return Err(skipped("the service keeps no connection alive"));
    }
    terminate(subject).await?;
    sleep(UNDER_WAY).await;
    let sent = format!("{}, SIGTERM, the same on the same connection", subject.plain().summary());
    let expected = "the end of the connection, or an answer with Connection: close and then the end";
    let came = connection.send(&subject.plain(), PATIENCE).await;
    let shown = came.as_ref().map_or_else(ToString::to_string, |answer| answer.summary());
    let ends = connection.ends(AT_ONCE).await;
    Evidence::new(sent, expected, shown).judge(match came {
        Ok(answer) if !answer.says_close() => Err("Connection: close is missing".to_owned()),
        Ok(_) if !ends => Err("the connection was not closed after it said so".to_owned()),
        Ok(_) => Ok(()),
        Err(trouble) if trouble.is_end() => Ok(()),
        Err(trouble) => Err(trouble.to_string()),
    })
}

pub(super) async fn goaway(subject: &Subject) -> Finding {
    let opened = async {
        let mut frames = Frames::open(subject.main()).await?;
        frames.settings().await?;
        Ok::<_, Trouble>(frames)
    }
    .await;
    let sent = "an idle HTTP/2 connection, SIGTERM";
    let within = subject.settings.drain_delay + AT_ONCE;
    let expected = format!("GOAWAY within {within:?}");
    let came = match opened {
        Ok(mut frames) => {
            terminate(subject).await?;
            frames.until(within, |frame| frame.kind == GOAWAY).await
        }
        Err(trouble) => Err(trouble),
    };
    let shown = came.as_ref().map_or_else(ToString::to_string, |_| "GOAWAY".to_owned());
    Evidence::new(sent, expected, shown).judge(came.map(drop).map_err(|trouble| trouble.to_string()))
}

pub(super) async fn delay(subject: &Subject) -> Finding {
    let delay = subject.settings.drain_delay;
    terminate(subject).await?;
    sleep(delay / 2).await;
    subject.send(&subject.plain()).await.expect(
        &format!("half way through drain.delay ({delay:?}) an ordinary answer with Connection: close"),
        |answer| match answer.status {
            500.. => Err(format!("status is {}", answer.status)),
            _ if !answer.says_close() => Err("Connection: close is missing".to_owned()),
            _ => Ok(()),
        },
    )
}

pub(super) async fn stops_accepting(subject: &Subject) -> Finding {
    // The work that shows that the service is still there; it has to outlive drain.delay.
    let until_refused = async {
        sleep(UNDER_WAY).await;
        terminate(subject).await?;
        let signalled = Instant::now();
        loop {
            match subject.main().connect().await {
                Err(_) => return Ok::<_, Miss>(signalled.elapsed()),
                Ok(_) if signalled.elapsed() > bound(subject) => return Ok(signalled.elapsed()),
                Ok(_) => sleep(POLL).await,
            }
        }
    };
    let request = async {
        sleep(subject.settings.drain_delay.saturating_sub(UNDER_WAY)).await;
        let answered = slow_request(subject).await;
        (answered, Instant::now())
    };
    let started = Instant::now();
    let refusing = async {
        let finding = until_refused.await;
        (finding, Instant::now())
    };
    let ((refused, refused_at), (answered, answered_at)) = tokio::join!(refusing, request);
    let refused = refused?;
    let limit = subject.settings.drain_delay + AT_ONCE;
    let came = format!(
        "refused {refused:.1?} after SIGTERM; the slow request: {} after {:.1?}",
        answered.shown(),
        answered_at - started
    );
    Evidence::new(
        "a slow request, SIGTERM, new connections",
        format!("refused within {limit:?}, work going on"),
        came,
    )
    .judge(if refused > limit {
        Err("new connections were accepted for too long".to_owned())
    } else if refused_at > answered_at {
        Err("new connections were accepted until the work was done".to_owned())
    } else {
        Ok(())
    })
}

pub(super) async fn second_sigterm(subject: &Subject) -> Finding {
    second(subject, Signal::TERM, "SIGTERM").await
}

pub(super) async fn second_sigint(subject: &Subject) -> Finding {
    second(subject, Signal::INT, "SIGINT").await
}

async fn second(subject: &Subject, signal: Signal, name: &str) -> Finding {
    let signalling = async {
        sleep(UNDER_WAY).await;
        terminate(subject).await?;
        sleep(UNDER_WAY).await;
        send(subject, signal).await?;
        Ok::<_, Miss>(ends(subject, AT_ONCE).await)
    };
    let (exit, _) = tokio::join!(signalling, slow_request(subject));
    let exit = exit?;
    let came = exit.map_or_else(|| "still running".to_owned(), |exit| exit.to_string());
    let sent = format!("a slow request, SIGTERM, and {name} while it drains");
    Evidence::new(sent, format!("a non-zero exit status within {AT_ONCE:?}"), came).judge(match exit {
        None => Err(format!("it did not end within {AT_ONCE:?}")),
        Some(exit) if exit.is_success() => Err("it ended with status 0".to_owned()),
        Some(_) => Ok(()),
    })
}

pub(super) async fn stream(subject: &Subject) -> Finding {
    let route = subject.settings.stream_route.as_ref().ok_or_else(|| skipped("needs --stream-route"))?;
    let sent = format!("{} {}, read as it comes; SIGTERM", route.method, route.path);
    let opened = async {
        let mut connection = Connection::open(subject.main()).await?;
        connection.write(&route.request().bytes(subject.main())).await?;
        connection.begins(PATIENCE).await?;
        Ok::<_, Trouble>(connection)
    }
    .await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(trouble) => {
            return Evidence::new(sent, "the beginning of an answer", trouble.to_string())
                .judge(Err("the stream did not begin".to_owned()));
        }
    };
    let (finding, _) = tokio::join!(in_time(subject, &sent), connection.ends(bound(subject)));
    finding
}

/// From SIGTERM to the end at the latest.
fn bound(subject: &Subject) -> Duration {
    subject.settings.drain_delay + subject.settings.drain_timeout + AT_ONCE
}

async fn slow_request(subject: &Subject) -> Exchange {
    let request = subject.settings.slow_route.as_ref().map_or_else(|| subject.plain(), |slow| slow.request());
    subject.send_within(&request, bound(subject)).await
}

async fn terminate(subject: &Subject) -> Result<(), Miss> {
    send(subject, Signal::TERM).await
}

async fn send(subject: &Subject, signal: Signal) -> Result<(), Miss> {
    let failed = |why: String| Miss::Failed {
        evidence: Evidence::new("a signal", "a process that takes it", &why),
        why: "the process could not be signalled".to_owned(),
    };
    match subject.process().await.as_mut() {
        Some(process) => process.signal(signal).map_err(failed),
        None => Err(skipped("needs --command or --pid")),
    }
}

async fn ends(subject: &Subject, within: Duration) -> Option<Exit> {
    subject.process().await.as_mut()?.ends(within).await
}

fn ended_well(exit: Option<Exit>) -> Result<(), String> {
    match exit {
        None => Err("it did not end in time".to_owned()),
        Some(exit) if exit.is_success() => Ok(()),
        Some(exit) => Err(format!("it ended with {exit}")),
    }
}
