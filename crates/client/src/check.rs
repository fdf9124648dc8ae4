//! Health checks: a round over the endpoints of a service.
//!
//! A round is begun by a call once the interval is over: nothing runs for services that nobody calls.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use mainstay_core::Body;
use mainstay_discovery::{Address, Protocol};
use tokio::sync::Semaphore;

use crate::{
    balance::check::Check,
    outgoing,
    pool::{Settings, Version},
    retry::answer::grpc_code,
    target::{Member, Target},
};

/// Checks that are under way at a time, over all endpoints of a service.
const AT_A_TIME: usize = 16;
/// A message of `grpc.health.v1` is two bytes, after the five of its frame.
const ANSWER: usize = 64;

/// Begins a round if one is due.
pub(crate) fn begin_if_due(target: &Target, check: &Check, settings: &Arc<Settings>) {
    let Some(members) = target.due_for_check(check) else { return };
    let permits = Arc::new(Semaphore::new(AT_A_TIME));
    for member in members {
        if *member.endpoint().address() == Address::InProcess {
            continue;
        }
        let (check, settings, permits) = (check.clone(), settings.clone(), permits.clone());
        let service = target.service.to_string();
        settings.tasks.clone().spawn_detached(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            let asked =
                tokio::time::timeout(check.timeout.get(), is_good(&member, &check, &settings, &service));
            member.checked(asked.await.unwrap_or(false), &check);
        });
    }
}

async fn is_good(member: &Member, check: &Check, settings: &Arc<Settings>, service: &str) -> bool {
    let (mut parts, body) = request(check).into_parts();
    let is_http1 = check.grpc.is_none() && member.endpoint().protocol() == Protocol::Http1;
    let version = if is_http1 { Version::Http1 } else { Version::Http2 };
    match version {
        Version::Http1 => outgoing::origin_form(&mut parts, service),
        Version::Http2 => outgoing::authority_form(&mut parts, service),
    }
    let request = Request::from_parts(parts, body);
    let Ok(answer) = member.place().pools.send(member.endpoint().place(), version, settings, request).await
    else {
        return false;
    };
    let (head, body) = answer.response.into_parts();
    if check.grpc.is_none() {
        return head.status.is_success();
    }
    match grpc_code(&head.headers) {
        // UNIMPLEMENTED: it has no health service, so nothing speaks against it (gRFC A17).
        Some(12) => true,
        Some(_) => false,
        None => head.status == StatusCode::OK && is_serving(body).await,
    }
}

fn request(check: &Check) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    let path = match (&check.grpc, &check.path) {
        (Some(service), _) => {
            *request.method_mut() = Method::POST;
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
            *request.body_mut() = Body::from(message(service));
            "/grpc.health.v1.Health/Check"
        }
        (None, Some(path)) => path,
        (None, None) => "/",
    };
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// A frame with a `HealthCheckRequest`: the name of the service is its field 1.
fn message(service: &str) -> Bytes {
    // The configuration allows 255 bytes, whose length is a varint of two bytes at most.
    let length = service.len().min(255);
    let mut message = Vec::with_capacity(length + 3);
    if length > 0 {
        message.push(0x0a);
        if length < 128 {
            message.push(length as u8);
        } else {
            message.extend([(length & 127) as u8 | 128, (length >> 7) as u8]);
        }
        message.extend(&service.as_bytes()[..length]);
    }
    let mut frame = vec![0, 0, 0, (message.len() >> 8) as u8, message.len() as u8];
    frame.extend(message);
    frame.into()
}

/// Whether the body is a frame with a `HealthCheckResponse` that says `SERVING`, which is 1 in field 1.
async fn is_serving<B>(body: B) -> bool
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { break };
        read.extend_from_slice(&data);
        if read.len() > ANSWER {
            return false;
        }
    }
    matches!(read.as_slice(), [0, 0, 0, 0, 2, 0x08, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_frame_of_grpc() {
        assert_eq!(message("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = "x".repeat(200);
        assert_eq!(message(&long)[..8], [0, 0, 0, 0, 203, 0x0a, 200, 1]);
    }

    #[tokio::test]
    async fn only_serving_is_good() {
        let of = |bytes: &'static [u8]| is_serving(http_body_util::Full::new(Bytes::from_static(bytes)));
        assert!(of(&[0, 0, 0, 0, 2, 8, 1]).await);
        for bad in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[], &[1, 0, 0, 0, 2, 8, 1], &[0; 100]] {
            assert!(!of(bad).await, "{bad:?}");
        }
    }
}
