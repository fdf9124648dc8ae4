//! The way of one forwarded request.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use mainstay_core::{
    Body, BoxError, Error,
    context::{RequestContext, Scoped},
    error::{Protocol, mapping::Elapsed},
};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use crate::{gateway::Shared, table::Route};

pin_project! {
    /// Future of [`Gateway`](crate::Gateway).
    pub struct ResponseFuture<C>
    where
        C: Service<Request<Body>>,
    {
        #[pin]
        state: State<C, C::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<C, F> {
        Answer { response: Option<Response<Body>> },
        Forward { #[pin] call: Call<C, F>, #[pin] timer: Sleep, journey: Journey },
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<C, F> {
        /// The client is not ready yet.
        Waiting { client: C, request: Option<Request<Body>>, context: RequestContext },
        /// In the context of the request, so that the client sends it on.
        Running { #[pin] answer: Scoped<F> },
    }
}

/// What is needed once the answer is there.
struct Journey {
    shared: Arc<Shared>,
    route: Arc<Route>,
    context: RequestContext,
    protocol: Protocol,
}

impl<C: Service<Request<Body>>> ResponseFuture<C> {
    pub(crate) fn answer(response: Response<Body>) -> Self {
        Self { state: State::Answer { response: Some(response) } }
    }

    pub(crate) fn forward(
        shared: Arc<Shared>,
        route: Arc<Route>,
        client: C,
        request: Request<Body>,
        protocol: Protocol,
    ) -> Self {
        let context = request.extensions().get::<RequestContext>().cloned().unwrap_or_default();
        let timer = tokio::time::sleep(route.timeout);
        let call = Call::Waiting { client, request: Some(request), context: context.clone() };
        let journey = Journey { shared, route, context, protocol };
        Self { state: State::Forward { call, timer, journey } }
    }
}

impl<C> Future for ResponseFuture<C>
where
    C: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Answer { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after it is ready")))
            }
            StateProjection::Forward { call, timer, journey } => {
                // The answer first: one that is there when the time is up is still an answer.
                let result = match call.poll(cx) {
                    Poll::Ready(result) => result,
                    Poll::Pending => {
                        ready!(timer.poll(cx));
                        Err(Elapsed::new().into())
                    }
                };
                Poll::Ready(Ok(match result {
                    Ok(mut response) => {
                        journey.shared.undress(&mut response);
                        response
                    }
                    Err(error) => {
                        let Journey { shared, route, context, protocol } = journey;
                        shared.failed(Error::from_boxed(error), route, *protocol, context)
                    }
                }))
            }
        }
    }
}

impl<C, F, E> Call<C, F>
where
    C: Service<Request<Body>, Response = Response<Body>, Error = E, Future = F>,
    F: Future<Output = Result<Response<Body>, E>>,
    E: Into<BoxError>,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, BoxError>> {
        loop {
            let answer = match self.as_mut().project() {
                CallProjection::Running { answer } => return answer.poll(cx).map_err(Into::into),
                CallProjection::Waiting { client, request, context } => {
                    ready!(context.clone().sync_scope(|| client.poll_ready(cx))).map_err(Into::into)?;
                    let request = request.take().expect("the state changes once the request is taken");
                    let call = context.clone().sync_scope(|| client.call(request));
                    context.clone().scope(call)
                }
            };
            self.set(Call::Running { answer });
        }
    }
}

impl<C: Service<Request<Body>>> fmt::Debug for ResponseFuture<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
