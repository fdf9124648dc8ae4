//! What a call shows for itself: the credentials of this service, or of whoever it works for, for one other service.
//!
//! A client asks a source of them; `mainstay-auth` has those that speak OAuth.

use std::{fmt, future::Future, pin::Pin};

use http::HeaderValue;

use crate::{BoxError, context::Deadline};

/// A source of credentials.
pub trait Credentials: Send + Sync + 'static {
    /// What a call to the service that is called `service` shows. The call waits for it until `deadline` at most; what is never
    /// there in time is better refused at once.
    fn credential(&self, service: &str, deadline: Deadline) -> Credential;

    /// `service` said that `credential`, which was for it, is not valid (RFC 6750 section 3.1, `invalid_token`). Whether another
    /// one may be had, for which the call is then made once more if it may be repeated.
    fn refused(&self, service: &str, credential: &HeaderValue) -> bool;
}

/// What a call shows.
pub enum Credential {
    /// Nothing.
    None,
    /// This, in `Authorization`. It should be [marked as sensitive](HeaderValue::set_sensitive).
    Ready(HeaderValue),
    /// What this brings.
    Awaited(Awaited),
}

/// A credential to come, or none; where it fails so does the call, and as what its cause says it is
/// ([`Classified`](crate::error::mapping::Classified)).
pub type Awaited = Pin<Box<dyn Future<Output = Result<Option<HeaderValue>, BoxError>> + Send>>;

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Ready(_) => "Ready",
            Self::Awaited(_) => "Awaited",
        })
    }
}
