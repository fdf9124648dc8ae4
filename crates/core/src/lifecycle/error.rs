//! What can go wrong from start to stop.

use std::time::Duration;

use super::Signal;
use crate::BoxError;

/// Why a run ended other than cleanly. Its exit status is in [`super::Exit`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The components don't fit together; nothing was started.
    #[error("the components can't be ordered")]
    Order(#[source] InvalidOrder),
    /// The configuration contradicts itself; nothing was started.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The operating system refused to hand over the signals; nothing was started.
    #[error("can't listen for signals")]
    Signals(#[source] std::io::Error),
    /// A component did not start; those that had were stopped.
    #[error("component `{component}` did not start")]
    Start {
        /// Its name.
        component: String,
        /// Why.
        #[source]
        cause: Failure,
    },
    /// A part that has to run as long as the process ended; the process drained and stopped.
    #[error("component `{component}` stopped working")]
    Component {
        /// Its name.
        component: String,
        /// Why.
        #[source]
        cause: Failure,
    },
    /// The drain went through, these did not stop as they should; the log says why.
    #[error("did not stop cleanly: {}", .0.join(", "))]
    Unclean(Vec<String>),
    /// A second signal came.
    #[error("ended at once by a second signal, {0}")]
    Forced(Signal),
}

/// Components that can't be put in an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOrder {
    /// Two have one name.
    #[error("two components are named `{0}`")]
    DuplicateName(String),
    /// A dependency that is no component.
    #[error(
        "component `{component}` depends on `{dependency}`, which is not a component; there are: {}",
        known.join(", ")
    )]
    UnknownDependency {
        /// Who depends.
        component: String,
        /// On what.
        dependency: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Components that wait for each other; the first is named again at the end.
    #[error("components depend on each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

/// `drain.delay` is not below `drain.timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("drain.delay is {delay:?}, expected less than drain.timeout ({timeout:?}), which includes it")]
#[non_exhaustive]
pub struct InvalidConfig {
    /// `drain.delay`.
    pub delay: Duration,
    /// `drain.timeout`.
    pub timeout: Duration,
}

/// How a hook or a task of a component failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It gave an error.
    #[error("it failed")]
    Failed(#[source] BoxError),
    /// It panicked; the panic's message.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// It was not done in time, and was dropped.
    #[error("it was not done after {0:?}")]
    Elapsed(Duration),
    /// It returned, although it has to run as long as the process.
    #[error("its task ended without being told to")]
    Ended,
}

impl Failure {
    /// What became of a task.
    pub(super) fn of(ended: Result<crate::Result<()>, tokio::task::JoinError>) -> Result<(), Self> {
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Self::Failed(error.into_cause())),
            Err(gone) => Err(Self::Panicked(panic_message(gone))),
        }
    }
}

/// The message of the panic that ended a task.
pub(crate) fn panic_message(gone: tokio::task::JoinError) -> String {
    match gone.try_into_panic() {
        Ok(payload) => match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("no message").to_owned(),
        },
        Err(_) => "the task was aborted".to_owned(),
    }
}
