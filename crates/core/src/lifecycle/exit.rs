//! The exit statuses, all in one place.

use std::process::{ExitCode, Termination};

use super::{Error, Signal};
use crate::config::EXIT_CONFIG;

/// How the process ends. As the return type of `main` it sets the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// 0: started, drained, stopped.
    Clean,
    /// 1: a start that failed, a component that stopped working, or one that did not stop cleanly.
    Failure,
    /// 78 (`EX_CONFIG` of `sysexits.h`): the configuration is wrong (contract LIFE 1).
    Configuration,
    /// 128 and the number of the signal (SIGINT 130, SIGTERM 143), as a shell reports it: a second signal ended the
    /// process at once (contract LIFE 4).
    Signal(Signal),
}

impl Exit {
    /// How a run ended.
    #[must_use]
    pub fn of(result: &Result<(), Error>) -> Self {
        result.as_ref().map_or_else(Self::from, |()| Self::Clean)
    }

    /// The exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failure => 1,
            Self::Configuration => EXIT_CONFIG,
            Self::Signal(signal) => 128 + signal.number(),
        }
    }

    /// Ends the process here and now; no destructor runs. Where `main` can return, return `self` instead: but mind
    /// that tokio's runtime then waits for blocking work that is still under way.
    pub fn now(self) -> ! {
        std::process::exit(i32::from(self.code()))
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error {
            Error::Config(_) => Self::Configuration,
            Error::Forced(signal) => Self::Signal(*signal),
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
