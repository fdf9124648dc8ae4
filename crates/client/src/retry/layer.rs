//! The layer for other stacks.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response};
use mainstay_core::{
    Body,
    context::{ATTEMPT, RequestContext},
};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Budget, Config, Repeat,
    answer::{self, Outcome, Pushback},
    backoff,
    payload::Payload,
    refusal::{discard, refusal},
};

/// Layer of [`Retry`]. What it makes, and its clones, share the budget.
#[derive(Debug, Clone)]
pub struct RetryLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    budget: Budget,
}

/// Middleware that sends requests of HTTP and gRPC again, as the client does: see the [module](super). An error of the inner
/// service says nothing about what was done, so after one only what is idempotent is sent again.
///
/// Ready when the inner service is; a repeat waits until it is so again. A wait that the peer asks for is kept if the
/// deadline of the current request leaves time for it, and without a deadline up to `max_backoff`; else the answer is
/// handed on.
#[derive(Debug, Clone)]
pub struct Retry<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Future of [`Retry`].
pub struct ResponseFuture<E>(Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>);

impl RetryLayer {
    /// As `config` says (its `attempt_timeout` is for the client), paid for by `budget`.
    #[must_use]
    pub fn new(config: Config, budget: Budget) -> Self {
        Self(Arc::new(Shared { config, budget }))
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { inner, shared: self.0.clone() }
    }
}

impl<S> Service<Request<Body>> for Retry<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Send,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let other = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, other);
        let shared = self.shared.clone();
        ResponseFuture(Box::pin(async move { shared.run(ready, request).await }))
    }
}

impl Shared {
    /// `service` is ready.
    async fn run<S>(&self, mut service: S, request: Request<Body>) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let Self { config, budget } = self;
        let context = RequestContext::current();
        let before = context.as_ref().map_or(0, RequestContext::attempt);
        let deadline = context.as_ref().and_then(RequestContext::deadline);
        let (mut parts, body) = request.into_parts();
        let is_idempotent = Repeat::of(&parts, config) == Some(Repeat::Idempotent);
        let most = if is_idempotent && config.budget > 0.0 { config.max_attempts } else { 1 };
        let mut payload = Payload::new(body, config.max_body.as_usize());
        let mut made = 0;
        loop {
            let body = payload.take().unwrap_or_default();
            let is_last = made + 1 >= most || !payload.is_left();
            parts.headers.insert(ATTEMPT, HeaderValue::from(before.saturating_add(made)));
            let head = if is_last {
                std::mem::replace(&mut parts, Request::new(()).into_parts().0)
            } else {
                parts.clone()
            };
            let mut outcome = service.call(Request::from_parts(head, body)).await;
            made += 1;
            let pushback = match &mut outcome {
                Ok(response) => {
                    if answer::outcome(response.status(), response.headers()) == Outcome::Success {
                        budget.deposit(config.budget);
                    }
                    // Of a chain of services only one repeats what another one answered.
                    if is_last || before > 0 {
                        return outcome;
                    }
                    match refusal(config, response).await {
                        None | Some(Pushback::Never) => return outcome,
                        Some(pushback) => pushback,
                    }
                }
                Err(_) => Pushback::Unsaid,
            };
            let pause = backoff::pause(made, config.backoff.get(), config.max_backoff.get());
            let pause = match pushback {
                Pushback::After(delay) => pause.max(delay),
                _ => pause,
            };
            let longest = deadline.map_or(config.max_backoff.get(), |deadline| deadline.remaining());
            if is_last || pause > longest || !budget.withdraw() {
                return outcome;
            }
            if let Ok(refused) = outcome {
                discard(refused).await;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            poll_fn(|cx| service.poll_ready(cx)).await?;
        }
    }
}

impl<E> Future for ResponseFuture<E> {
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for ResponseFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use http::{HeaderMap, Method, StatusCode};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::retry::Code;

    type Answer = fn() -> Result<Response<Body>, &'static str>;

    /// Answers each request with the next of `answers`, the last for ever; insists on being ready.
    #[derive(Debug)]
    struct Scripted {
        answers: Vec<Answer>,
        seen: Arc<Mutex<Vec<(String, String)>>>,
        is_ready: bool,
    }

    /// A clone was not asked.
    impl Clone for Scripted {
        fn clone(&self) -> Self {
            Self { answers: self.answers.clone(), seen: self.seen.clone(), is_ready: false }
        }
    }

    impl Service<Request<Body>> for Scripted {
        type Response = Response<Body>;
        type Error = &'static str;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, &'static str>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            self.is_ready = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            assert!(std::mem::take(&mut self.is_ready), "called without having been ready");
            let (answers, seen) = (self.answers.clone(), self.seen.clone());
            Box::pin(async move {
                let attempt = request.headers()[ATTEMPT].to_str().unwrap().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut seen = seen.lock().unwrap();
                let answer = answers[seen.len().min(answers.len() - 1)];
                seen.push((attempt, String::from_utf8(body.to_vec()).unwrap()));
                answer()
            })
        }
    }

    fn status(status: u16) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }

    fn grpc(code: &'static str) -> Response<Body> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        let frames =
            futures_util::stream::iter([Ok::<_, std::io::Error>(http_body::Frame::trailers(trailers))]);
        let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    }

    /// The outcome, and what came: attempts and bodies.
    async fn called(
        answers: Vec<Answer>,
        budget: &Budget,
        request: Request<Body>,
    ) -> (Result<Response<Body>, &'static str>, Vec<(String, String)>) {
        let config = Config { statuses: vec![429, 503], codes: vec![Code::Unavailable], ..Config::default() };
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let inner = Scripted { answers, seen: seen.clone(), is_ready: false };
        let outcome = RetryLayer::new(config, budget.clone()).layer(inner).oneshot(request).await;
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        (outcome, seen)
    }

    fn request(method: Method) -> Request<Body> {
        Request::builder().method(method).uri("/").body(Body::from("body")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idempotent_is_sent_again_whole() {
        let budget = Budget::new();
        let broken: Answer = || Err("broken");
        let (outcome, seen) =
            called(vec![broken, || Ok(status(503)), || Ok(status(200))], &budget, request(Method::PUT)).await;
        assert_eq!(outcome.unwrap().status(), 200);
        let expected = ["0", "1", "2"].map(|attempt| (attempt.to_owned(), "body".to_owned()));
        assert_eq!(seen, expected);
        assert_eq!(budget.left(), 8);

        for answer in [broken, || Ok(status(503))] {
            let (_, seen) = called(vec![answer], &budget, request(Method::POST)).await;
            assert_eq!(seen.len(), 1, "a POST was sent again");
        }
        let (outcome, seen) = called(vec![broken], &budget, request(Method::GET)).await;
        assert_eq!((outcome.unwrap_err(), seen.len()), ("broken", 3));
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_are_looked_at() {
        let mut call = request(Method::POST);
        call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        call.extensions_mut().insert(Repeat::Idempotent);
        let (outcome, seen) = called(vec![|| Ok(grpc("14")), || Ok(grpc("0"))], &Budget::new(), call).await;
        let trailers = outcome.unwrap().into_body().collect().await.unwrap().trailers().cloned();
        assert_eq!((trailers.unwrap()["grpc-status"].to_str().unwrap(), seen.len()), ("0", 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_the_peer_and_who_repeats_already_have_their_say() {
        let busy: Answer = || Ok(status(503));
        let budget = Budget::new();
        while budget.withdraw() {}
        assert_eq!(called(vec![busy], &budget, request(Method::GET)).await.1.len(), 1);

        let repeat = RequestContext::new().with_attempt(1);
        let (_, seen) = repeat.scope(called(vec![busy], &Budget::new(), request(Method::GET))).await;
        assert_eq!(seen, [("1".to_owned(), "body".to_owned())]);

        let later: Answer = || {
            let mut response = status(429);
            response.headers_mut().insert("retry-after", HeaderValue::from_static("20"));
            Ok(response)
        };
        assert_eq!(called(vec![later], &Budget::new(), request(Method::GET)).await.1.len(), 1, "too long");
        let deadline = mainstay_core::context::Deadline::after(Duration::from_secs(30));
        let bounded = RequestContext::new().with_deadline(deadline);
        let (_, seen) = bounded.scope(called(vec![later], &Budget::new(), request(Method::GET))).await;
        assert_eq!(seen.len(), 2, "there was time for one");
    }
}
