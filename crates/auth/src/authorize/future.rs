use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use mainstay_core::middleware::FromBody;
use pin_project_lite::pin_project;

pin_project! {
    /// Future of [`Authorize`](super::Authorize).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = Projected]
    enum State<F> {
        Called { #[pin] future: F },
        // Boxed: it is rare, and would make every future larger.
        Answered { answer: Option<Box<Response<Full<Bytes>>>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn called(future: F) -> Self {
        Self { state: State::Called { future } }
    }

    pub(crate) fn answered(answer: Response<Full<Bytes>>) -> Self {
        Self { state: State::Answered { answer: Some(Box::new(answer)) } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: FromBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Called { future } => future.poll(cx),
            Projected::Answered { answer } => {
                let answer = answer.take().expect("a future is not polled after its end");
                Poll::Ready(Ok(answer.map(R::from_body)))
            }
        }
    }
}
