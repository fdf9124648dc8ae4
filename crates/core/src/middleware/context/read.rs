//! What the header fields of a request say about it.
//!
//! One pass over the fields: cheaper than a look-up for each name, and it sees what is there twice.

use std::{borrow::Cow, str::FromStr as _, time::Duration};

use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;

use super::Shared;
use crate::{
    context::{
        Criticality, Deadline, InvalidTimeout, Parts, RequestId, TraceContext, baggage, parse_timeout,
        tracestate,
    },
    error::{Error, Kind, Protocol, Violation},
    trace::Span,
};

/// A field that may be there once.
#[derive(Clone, Copy, Default)]
enum Once<'a> {
    #[default]
    Absent,
    One(&'a HeaderValue),
    Several,
}

impl<'a> Once<'a> {
    fn add(&mut self, value: &'a HeaderValue) {
        *self = if matches!(self, Self::Absent) { Self::One(value) } else { Self::Several };
    }

    fn one(&self) -> Option<&'a HeaderValue> {
        if let Self::One(value) = self { Some(value) } else { None }
    }
}

/// A field whose lines are one list.
#[derive(Default)]
enum List<'a> {
    #[default]
    Absent,
    One(&'a HeaderValue),
    Joined(Vec<u8>),
}

impl<'a> List<'a> {
    fn add(&mut self, value: &'a HeaderValue) {
        match self {
            Self::Absent => *self = Self::One(value),
            Self::One(first) => *self = Self::Joined([first.as_bytes(), b",", value.as_bytes()].concat()),
            // Its length is bounded by the header bytes that the server takes.
            Self::Joined(all) => {
                all.push(b',');
                all.extend_from_slice(value.as_bytes());
            }
        }
    }

    /// What `passed_on` leaves of the whole list.
    fn checked(self, passed_on: impl FnOnce(&[u8]) -> Option<Cow<'_, [u8]>>) -> Option<HeaderValue> {
        match self {
            Self::Absent => None,
            Self::One(value) => match passed_on(value.as_bytes())? {
                Cow::Borrowed(_) => Some(value.clone()),
                Cow::Owned(left) => HeaderValue::from_bytes(&left).ok(),
            },
            Self::Joined(all) => HeaderValue::from_bytes(&passed_on(&all)?).ok(),
        }
    }
}

/// Makes a context of what the fields say; the error is for the caller whose timeout is malformed.
pub(super) fn read(
    method: &Method,
    headers: &HeaderMap,
    shared: &Shared,
    now: Instant,
) -> (Parts, Option<Error>) {
    let Shared { config, ambient } = shared;
    let mut content_type = None;
    let mut request_id = Once::default();
    let mut traceparent = Once::default();
    let mut tracestate = List::default();
    let mut baggage = List::default();
    let mut grpc_timeout = Once::default();
    let mut request_timeout = Once::default();
    let mut criticality = Once::default();
    let mut attempt = Once::default();

    for (name, value) in headers {
        match name.as_str() {
            "content-type" => content_type = content_type.or(Some(value)),
            "x-request-id" => request_id.add(value),
            "traceparent" => traceparent.add(value),
            "tracestate" => tracestate.add(value),
            "baggage" => baggage.add(value),
            "grpc-timeout" => grpc_timeout.add(value),
            "x-request-timeout" => request_timeout.add(value),
            "x-request-criticality" => criticality.add(value),
            "x-request-attempt" => attempt.add(value),
            _ => {}
        }
    }

    // As `Protocol::of_request`.
    let content_type = content_type.filter(|_| *method == Method::POST);
    let protocol = content_type.map_or(Protocol::Http, |value| Protocol::of_content_type(value.as_bytes()));
    let (deadline, refused) = match deadline(grpc_timeout, request_timeout, shared, now) {
        Ok(deadline) => (deadline, None),
        // Answered and logged with the ids.
        Err(error) => (None, Some(error)),
    };
    // W3C Trace Context section 3.2: several are as good as none. Without a valid one tracestate means nothing.
    let trace = traceparent
        .one()
        .filter(|_| config.trust_ids)
        .and_then(|value| TraceContext::parse(value.as_bytes()).ok());
    let (trace, is_w3c) = if config.propagation.is_w3c_alone() || !config.trust_ids {
        (trace, true)
    } else {
        config.propagation.read(headers, trace).map_or((None, false), |(trace, is_w3c)| (Some(trace), is_w3c))
    };
    let given = |id: &&HeaderValue| config.trust_ids && RequestId::is_well_formed(id.as_bytes());
    // Both only advise: what can't be read is as if it were not there.
    let class = criticality.one().filter(|_| config.trust_priority).and_then(|value| value.to_str().ok());
    let attempt = attempt.one().filter(|_| config.trust_priority).and_then(|value| value.to_str().ok());
    let parts = Parts {
        request_id: request_id.one().filter(given).cloned(),
        trace: trace.unwrap_or_else(TraceContext::root),
        tracestate: if trace.is_some() && is_w3c { tracestate.checked(tracestate::passed_on) } else { None },
        baggage: if config.trust_ids { baggage.checked(baggage::passed_on) } else { None },
        deadline,
        criticality: class.and_then(|text| Criticality::from_str(text).ok()).unwrap_or_default(),
        attempt: attempt.and_then(|text| text.parse().ok()).unwrap_or_default(),
        ambient: ambient.clone(),
        propagation: config.propagation,
        protocol: Some(protocol),
        span: Span::none(),
        observation: None,
        authorization: std::sync::OnceLock::new(),
    };
    (parts, refused)
}

/// The earlier one of those that arrived, else the default.
fn deadline(
    grpc_timeout: Once<'_>,
    request_timeout: Once<'_>,
    Shared { config, .. }: &Shared,
    now: Instant,
) -> Result<Option<Deadline>, Error> {
    let grpc = timeout("grpc-timeout", grpc_timeout)?;
    let http = timeout("x-request-timeout", request_timeout)?;
    let arrived = match (grpc, http) {
        (Some(grpc), Some(http)) => Some(grpc.min(http)),
        (one, other) => one.or(other),
    };
    Ok(match arrived {
        Some(timeout) => Some(Deadline::after_from(now, timeout.min(config.max_timeout.get()))),
        None if config.default_timeout.is_zero() => None,
        None => Some(Deadline::by_default_from(now, config.default_timeout.get())),
    })
}

fn timeout(name: &'static str, field: Once<'_>) -> Result<Option<Duration>, Error> {
    let read = match field {
        Once::Absent => return Ok(None),
        Once::One(value) => parse_timeout(value.as_bytes()),
        Once::Several => Err(InvalidTimeout),
    };
    read.map(Some).map_err(|error| malformed(name, error))
}

#[cold]
fn malformed(name: &'static str, error: InvalidTimeout) -> Error {
    Error::new(Kind::InvalidArgument)
        .with_detail(format!("malformed {name}"))
        .with_violation(Violation::new(name, format!("{error}, once")))
}
