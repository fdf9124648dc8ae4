//! How much a request matters when there is not room for all.

use std::str::FromStr;

use http::HeaderName;

/// The header that carries the criticality from service to service.
pub const CRITICALITY: HeaderName = HeaderName::from_static("x-request-criticality");

/// The four classes of Google's "Site Reliability Engineering", chapter 21 ("Handling Overload"): what is shed first
/// is what matters least. Ordered from the least to the most important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Criticality {
    /// Frequent partial and occasional full unavailability is expected: batch work.
    Sheddable,
    /// Partial unavailability is expected: batch work that is retried later.
    SheddablePlus,
    /// What production traffic is, unless it says otherwise.
    #[default]
    Critical,
    /// Its loss is seen by users at once; probes and checks too.
    CriticalPlus,
}

impl Criticality {
    /// All classes, the least important first.
    pub const ALL: [Self; 4] = [Self::Sheddable, Self::SheddablePlus, Self::Critical, Self::CriticalPlus];

    /// As it stands in the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::SheddablePlus => "sheddable-plus",
            Self::Critical => "critical",
            Self::CriticalPlus => "critical-plus",
        }
    }
}

/// Not one of the four classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of sheddable, sheddable-plus, critical, critical-plus")]
#[non_exhaustive]
pub struct UnknownCriticality;

impl FromStr for Criticality {
    type Err = UnknownCriticality;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(UnknownCriticality)
    }
}
