//! LIFE 5: a panic costs one request.

use http::Request;

use crate::conform::{
    check::{Evidence, Finding},
    subject::{Subject, skipped},
    wire::{PATIENCE, Trouble, http1::Connection, http2::Http2},
};

pub(super) async fn http1(subject: &Subject) -> Finding {
    let route = subject.settings.panic_route.as_ref().ok_or_else(|| skipped("needs --panic-route"))?;
    let came = async {
        let mut connection = Connection::open(subject.main()).await?;
        let panicked = connection.send(&route.request(), PATIENCE).await?;
        let next = connection.send(&subject.plain(), PATIENCE).await;
        Ok::<_, Trouble>((panicked.status, next))
    }
    .await;
    let sent =
        format!("{}, then {} on the same connection", route.request().summary(), subject.plain().summary());
    let (shown, judged) = match came {
        Err(trouble) => (trouble.to_string(), Err(format!("the panic had no answer: {trouble}"))),
        Ok((500, Ok(next))) if next.status < 500 => (format!("500, then {}", next.status), Ok(())),
        Ok((500, Ok(next))) => {
            (format!("500, then {}", next.status), Err("the next request failed".to_owned()))
        }
        Ok((500, Err(trouble))) => {
            (format!("500, then: {trouble}"), Err("the connection did not go on".to_owned()))
        }
        Ok((status, _)) => (status.to_string(), Err(format!("status is {status}, not 500"))),
    };
    Evidence::new(sent, "500, then the ordinary answer", shown).judge(judged)
}

pub(super) async fn http2(subject: &Subject) -> Finding {
    let route = subject.settings.panic_route.as_ref().ok_or_else(|| skipped("needs --panic-route"))?;
    // Best seen on a stream that is open while the panic happens; without a slow route the next one has to do.
    let other = subject.settings.slow_route.as_ref().or(subject.settings.route.as_ref());
    let (other_method, other_path) =
        other.map_or(("GET", "/"), |route| (route.method.as_str(), route.path.as_str()));
    let came = async {
        let mut connection = Http2::open(subject.main()).await?;
        let mut beside = connection.clone();
        let (panicked, other) = tokio::join!(
            connection.send(Request::builder().method(route.method.as_str()), &route.path, None, PATIENCE),
            beside.send(Request::builder().method(other_method), other_path, None, PATIENCE),
        );
        let next = connection.get(other_path, PATIENCE).await;
        Ok::<_, Trouble>([panicked, other, next])
    }
    .await;
    let sent = format!(
        "on one HTTP/2 connection: {} {}, beside and after it {other_method} {other_path}",
        route.method, route.path
    );
    let expected = "500 for the panic, ordinary answers for the others";
    match came {
        Err(trouble) => {
            Evidence::new(sent, expected, trouble.to_string()).judge(Err("no HTTP/2 connection".to_owned()))
        }
        Ok(answers) => {
            let statuses = answers.each_ref().map(|answer| {
                answer.as_ref().map(|whole| whole.head.status.as_u16()).map_err(ToString::to_string)
            });
            let shown = statuses
                .iter()
                .map(|status| status.as_ref().map_or_else(Clone::clone, ToString::to_string))
                .collect::<Vec<_>>()
                .join(", ");
            Evidence::new(sent, expected, shown).judge(match statuses {
                [Ok(500), Ok(..500), Ok(..500)] => Ok(()),
                [Ok(500), ..] => Err("another stream was harmed".to_owned()),
                _ => Err("the panic was not answered with 500".to_owned()),
            })
        }
    }
}
