//! What was counted.

use serde::Serialize;

/// Datagrams and what became of them, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Datagrams that the system did not take: no route, no room.
    pub unsent: u64,
    /// Datagrams that were received, whatever they held.
    pub received: u64,
    /// Dropped: longer than any that is made here.
    pub oversized: u64,
    /// Dropped: no datagrams of this protocol, or no messages.
    pub malformed: u64,
    /// Dropped: made without one of the keys, for another cluster, changed on the way, or from where nobody should be.
    pub foreign: u64,
    /// Dropped: seen before, or overtaken.
    pub replayed: u64,
    /// Answered without believing them: from processes that don't know this one yet, or old ones sent again.
    pub strangers: u64,
    /// Not answered, because there were too many of those.
    pub unanswered: u64,
    /// Not taken: more processes or registrations than there is room for.
    pub refused: u64,
    /// How often others believed that this process is gone, so that it went on under a new name.
    pub renamed: u64,
}

impl Stats {
    /// By name, for those that show them.
    pub(super) fn to_map(self) -> std::collections::BTreeMap<&'static str, u64> {
        let Self {
            sent,
            unsent,
            received,
            oversized,
            malformed,
            foreign,
            replayed,
            strangers,
            unanswered,
            refused,
            renamed,
        } = self;
        [
            ("sent", sent),
            ("unsent", unsent),
            ("received", received),
            ("oversized", oversized),
            ("malformed", malformed),
            ("foreign", foreign),
            ("replayed", replayed),
            ("strangers", strangers),
            ("unanswered", unanswered),
            ("refused", refused),
            ("renamed", renamed),
        ]
        .into()
    }
}
