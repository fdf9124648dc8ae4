//! LIFE: starting, stopping, and outliving a panic.

mod drain;
mod panic;
mod start;

use super::check::{Check, check};

pub(crate) static CHECKS: &[Check] = &[
    check!(
        "LIFE.5.http1",
        "a panic costs its request a 500, the connection goes on",
        [PanicRoute],
        panic::http1
    ),
    check!("LIFE.5.http2", "a panic costs its stream a 500, the others go on", [PanicRoute], panic::http2),
    // The first of those that end the service is the one that a bare --pid gets.
    check!(ends "LIFE.3.stuck-peers", "SIGTERM ends it in time with status 0, stuck peers attached", [Process], drain::stuck_peers),
    check!(ends "LIFE.3.exit", "SIGTERM ends it in time with status 0", [Process], drain::exit),
    check!(ends "LIFE.3.readyz", "/readyz answers 503 from SIGTERM on", [Process, Admin], drain::readyz),
    check!(ends "LIFE.3.in-flight", "a request in flight is answered, with Connection: close", [Process, SlowRoute], drain::in_flight),
    check!(ends "LIFE.3.keep-alive", "an idle HTTP/1.1 connection is closed, or told so with its next answer", [Process], drain::keep_alive),
    check!(ends "LIFE.3.goaway", "an HTTP/2 connection gets GOAWAY", [Process], drain::goaway),
    check!(ends "LIFE.3.delay", "new connections are served for drain.delay", [Process, DrainDelay], drain::delay),
    check!(ends "LIFE.3.stops-accepting", "new connections are refused after drain.delay, while work goes on", [Process, SlowRoute], drain::stops_accepting),
    check!(ends "LIFE.3.stream", "an endless answer is cut: SIGTERM ends it in time with status 0", [Process, StreamRoute], drain::stream),
    check!(ends "LIFE.4.sigterm", "a second SIGTERM ends it at once with a non-zero status", [Command, SlowRoute], drain::second_sigterm),
    check!(ends "LIFE.4.sigint", "SIGINT after SIGTERM ends it at once with a non-zero status", [Command, SlowRoute], drain::second_sigint),
    check!(ends "LIFE.1.refuses", "a wrong setting ends it with status 78, named with its source, before a socket opens", [Command, BadConfig], start::refuses),
    check!(ends "LIFE.1.reports-all", "every wrong setting is named, not only the first", [Command, BadConfigs], start::reports_all),
    check!(ends "LIFE.2.ready", "once /readyz says 200, /startupz does and the main listener answers", [Command, Admin], start::ready),
];
