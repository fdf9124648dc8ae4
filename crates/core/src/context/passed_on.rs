/// Among the extensions of an outgoing request: somebody else's, which is passed on as it came. The client shows for it what it
/// shows itself, and nothing of its own: who has no token would otherwise be taken for the service that passes it on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOn;

impl PassedOn {
    /// The mark.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}
