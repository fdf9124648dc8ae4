//! The choice of an endpoint as a `tower` service of its own.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use mainstay_core::{BoxError, error::Report};
use mainstay_discovery::{Endpoint, Place};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::{InFlight, Member, Picker};

/// So many endpoints are waited for at a time: one that takes long to connect to does not hold up the others, and ten
/// thousand that do are not connected to at once.
const AT_ONCE: usize = 3;
/// So many endpoints are looked at before other tasks have their turn.
const AT_A_TIME: usize = 32;
/// How long the service of an endpoint may take to become ready before that counts as a failure.
const PATIENCE: Duration = Duration::from_secs(2);
/// No request takes longer, for all that is known here.
const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);

/// A `tower` service that sends each request to one of the endpoints of a [`Picker`]: the choice of the client, without the
/// rest of it. `M` makes the service `S` of an endpoint; `J` says what an outcome means for it, such as [`by_result`].
///
/// It makes a service for each endpoint that it chooses, and sends requests through them: by load, past what fails, as the
/// client does, and with any protocol. It is ready only while the service of an endpoint is. One that can't be made, or
/// says that it is broken, is left alone for 50 ms, doubled with each failure in a row up to 5 s, then made anew; as
/// long as it is listed it is never given up. `poll_ready` never fails: while nothing is ready it waits for that, or for
/// another endpoint to be listed.
///
/// **When not to use it.** For HTTP and gRPC [`Client`](crate::Client) does this and more: retries at another endpoint,
/// keys, limits. Here the endpoint is chosen before the request is known, so that there is no choice by a
/// [`Key`](super::Key) ([`Policy::Hash`](super::Policy::Hash) chooses as `peak-ewma` does).
///
/// **Where it stands.** Inside of retries, hedges, and of a timeout that bounds the wait for an endpoint; outside of what is
/// one for each endpoint. Endpoints are registered and listed by [discovery](mainstay_discovery).
///
/// ```
/// use mainstay_client::balance::{self, Balance, Config, Origin, Picker, by_result};
/// use mainstay_discovery::{Endpoint, watch::Publisher};
/// use tower::{Service as _, ServiceExt as _, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let publisher = Publisher::new();
/// publisher.publish([Endpoint::tcp("10.0.0.7", 80), Endpoint::tcp("10.0.0.8", 80)]);
/// let picker =
///     Picker::new(publisher.watch(), Origin::default(), Config::default(), balance::ejection::Config::default());
///
/// // Connects, in earnest.
/// let connect = service_fn(async |endpoint: Endpoint| {
///     let name = endpoint.address().to_string();
///     Ok::<_, std::io::Error>(service_fn(move |question: &'static str| {
///         let answer = format!("{question} {name}");
///         async move { Ok::<_, std::io::Error>(answer) }
///     }))
/// });
/// let mut balance = Balance::new(picker, connect, by_result);
/// let answer = balance.ready().await?.call("hello from").await?;
/// assert!(answer.starts_with("hello from 10.0.0."));
/// # Ok(()) }
/// ```
///
/// A clone has services of its own, and shares what is known of the endpoints. To share the services too, put a
/// `tower::buffer` around it.
///
/// **On drop.** The services are dropped. An answer that is dropped counts as one that took at least so long.
pub struct Balance<M, S, J> {
    make: M,
    judge: J,
    patience: Duration,
    picker: Picker<()>,
    services: HashMap<Place, State<S>>,
    /// Chosen, and not ready when they were looked at last.
    waiting: Vec<Candidate>,
    /// Ready for the next call.
    ready: Option<Candidate>,
    /// When it was last asked whether it is ready.
    asked_at: Instant,
    changed: Pin<Box<dyn Future<Output = u64> + Send>>,
    timer: Pin<Box<Sleep>>,
}

/// What an outcome says of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It did its work.
    Good,
    /// It answered, and did not.
    Bad,
    /// It could not be reached, or broke off.
    Lost,
}

/// An error is the fault of the endpoint, and anything else good.
pub fn by_result<T, E>(outcome: &Result<T, E>) -> Verdict {
    if outcome.is_ok() { Verdict::Good } else { Verdict::Lost }
}

struct Candidate {
    member: Member<()>,
    since: Instant,
}

enum State<S> {
    /// The maker has yet to be ready.
    Wanted,
    Making(Pin<Box<dyn Future<Output = Result<S, BoxError>> + Send>>),
    Made(S),
}

pin_project! {
    /// Future of [`Balance`].
    pub struct ResponseFuture<F, J> {
        #[pin]
        inner: F,
        in_flight: Option<InFlight<()>>,
        judge: J,
    }
}

impl<M, S, J> Balance<M, S, J> {
    /// Chooses with `picker`, which may be shared; `make` makes the service of an endpoint.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or where that has no timer.
    pub fn new(picker: Picker<()>, make: M, judge: J) -> Self {
        let changed = change(&picker, picker.watch().version());
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let (services, waiting, asked_at) = (HashMap::new(), Vec::new(), Instant::now());
        let patience = PATIENCE;
        Self { make, judge, patience, picker, services, waiting, ready: None, asked_at, changed, timer }
    }

    /// With another bound on how long a service may take to be made and become ready. Default 2 s.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What chooses; tells what is known of the endpoints.
    #[must_use]
    pub fn picker(&self) -> &Picker<()> {
        &self.picker
    }

    /// Lets go of what is no longer listed.
    fn poll_changes(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(seen) = self.changed.as_mut().poll(cx) {
            let listed = self.picker.watch().snapshot();
            self.changed = change(&self.picker, seen);
            let listed: HashSet<&Place> = listed.iter().map(Endpoint::place).collect();
            self.services.retain(|place, _| listed.contains(place));
            self.waiting.retain(|candidate| listed.contains(candidate.member.endpoint().place()));
        }
    }

    /// The service of an endpoint is ready, has failed, or is waited for.
    fn poll_service<R>(&mut self, cx: &mut Context<'_>, endpoint: &Endpoint) -> Poll<Result<(), BoxError>>
    where
        M: Service<Endpoint, Response = S, Error: Into<BoxError>, Future: Send + 'static>,
        S: Service<R, Error: Into<BoxError>>,
    {
        if !self.services.contains_key(endpoint.place()) {
            self.services.insert(endpoint.place().clone(), State::Wanted);
        }
        let Some(state) = self.services.get_mut(endpoint.place()) else { return Poll::Pending };
        loop {
            *state = match state {
                State::Wanted => {
                    ready!(self.make.poll_ready(cx)).map_err(Into::into)?;
                    let making = self.make.call(endpoint.clone());
                    State::Making(Box::pin(async move { making.await.map_err(Into::into) }))
                }
                State::Making(making) => State::Made(ready!(making.as_mut().poll(cx))?),
                State::Made(service) => return service.poll_ready(cx).map_err(Into::into),
            };
        }
    }

    /// Looks at those that are waited for; one that is ready, if there is.
    fn poll_waiting<R>(&mut self, cx: &mut Context<'_>) -> Option<Candidate>
    where
        M: Service<Endpoint, Response = S, Error: Into<BoxError>, Future: Send + 'static>,
        S: Service<R, Error: Into<BoxError>>,
    {
        let mut index = 0;
        while let Some(candidate) = self.waiting.get(index) {
            let (endpoint, since) = (candidate.member.endpoint.clone(), candidate.since);
            let failed: BoxError = match self.poll_service(cx, &endpoint) {
                Poll::Ready(Ok(())) => return Some(self.waiting.remove(index)),
                Poll::Ready(Err(error)) => error,
                Poll::Pending if since.elapsed() < self.patience => {
                    index += 1;
                    continue;
                }
                Poll::Pending => format!("not ready after {:?}", self.patience).into(),
            };
            tracing::debug!(endpoint = %endpoint.address(), error = %Report::new(failed.as_ref()), "endpoint is not ready");
            self.services.remove(endpoint.place());
            self.waiting.remove(index).member.start(Instant::now()).failed();
        }
        None
    }

    /// One more to wait for, if there is another that should get requests.
    fn choose(&mut self) -> bool {
        if self.waiting.len() >= AT_ONCE {
            return false;
        }
        let waiting: Vec<_> = self.waiting.iter().map(|candidate| candidate.member.place().clone()).collect();
        let Some(member) = self.picker.choose_available(&waiting, None) else { return false };
        self.waiting.push(Candidate { member, since: Instant::now() });
        true
    }

    /// When to look again, if nothing else happens.
    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let given_up = self.waiting.iter().map(|candidate| candidate.since + self.patience);
        let back = (self.waiting.len() < AT_ONCE).then(|| now + self.picker.available_in());
        given_up.chain(back).min().unwrap_or(now + PATIENCE)
    }
}

impl<M, S, J, R> Service<R> for Balance<M, S, J>
where
    M: Service<Endpoint, Response = S, Error: Into<BoxError>, Future: Send + 'static>,
    S: Service<R, Error: Into<BoxError>>,
    J: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, J>;

    /// Ready while the service of an endpoint is; never fails.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let now = Instant::now();
        let unasked = now - std::mem::replace(&mut self.asked_at, now);
        if unasked > self.patience / 2 {
            // Nobody has asked: what is being made could not go on, and is not to blame for that time.
            self.waiting.iter_mut().for_each(|candidate| candidate.since += unasked);
        }
        // What was ready may be so no longer.
        if let Some(candidate) = self.ready.take() {
            self.waiting.insert(0, Candidate { since: now, ..candidate });
        }
        for _ in 0..AT_A_TIME {
            self.poll_changes(cx);
            self.ready = self.poll_waiting(cx);
            if self.ready.is_some() {
                return Poll::Ready(Ok(()));
            }
            if self.choose() {
                continue;
            }
            let next = self.next_look();
            self.timer.as_mut().reset(next);
            ready!(self.timer.as_mut().poll(cx));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// # Panics
    /// If it was not ready.
    fn call(&mut self, request: R) -> Self::Future {
        let Some(Candidate { member, .. }) = self.ready.take() else {
            panic!("called before `poll_ready` said that it is ready");
        };
        let Some(State::Made(service)) = self.services.get_mut(member.endpoint().place()) else {
            panic!("what is ready was made, and is kept until `poll_ready` is called again");
        };
        let in_flight = Some(member.start(Instant::now() + NEVER));
        ResponseFuture { inner: service.call(request), in_flight, judge: self.judge.clone() }
    }
}

impl<F, J, T, E> Future for ResponseFuture<F, J>
where
    F: Future<Output = Result<T, E>>,
    J: Fn(&Result<T, E>) -> Verdict,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx));
        if let Some(mut in_flight) = this.in_flight.take() {
            match (this.judge)(&outcome) {
                Verdict::Good => in_flight.ended(Some(true), false),
                Verdict::Bad => in_flight.ended(Some(false), false),
                Verdict::Lost => in_flight.failed(),
            }
        }
        Poll::Ready(outcome)
    }
}

/// Waits for the next change of what is listed.
fn change(picker: &Picker<()>, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    let watch = picker.watch().clone();
    Box::pin(async move { watch.changed_since(seen).await })
}

/// Has no services yet, and is not ready.
impl<M: Clone, S, J: Clone> Clone for Balance<M, S, J> {
    fn clone(&self) -> Self {
        Self::new(self.picker.clone(), self.make.clone(), self.judge.clone()).with_patience(self.patience)
    }
}

impl<M, S, J> fmt::Debug for Balance<M, S, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("services", &self.services.len())
            .field("waiting", &self.waiting.len())
            .field("is_ready", &self.ready.is_some())
            .finish_non_exhaustive()
    }
}

impl<F, J> fmt::Debug for ResponseFuture<F, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
