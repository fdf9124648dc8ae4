//! What is wanted for each method of a gRPC service.

use super::Require;

/// What is wanted for each method of a gRPC service, one line each: a layer around the service.
///
/// A method that has no line is refused to everybody, so that one that is misspelt here, or added to the service later, is
/// noticed and not open. [`others`](Self::others) says otherwise for all that have none.
///
/// ```
/// use mainstay_auth::{Methods, Require};
///
/// let methods = Methods::new()
///     .method("Reserve", Require::client("orders"))
///     .method("Restock", Require::role("clerk"))
///     .public("Describe");
/// # let _ = methods;
/// ```
///
/// `methods.layer(InventoryServer::new(inventory))` is then the service; where some methods are public, it is declared public
/// to the host, and this layer closes the others.
#[derive(Debug, Clone, Default)]
pub struct Methods {
    /// `None`: nothing is wanted.
    methods: Vec<(String, Option<Require>)>,
    others: Option<Require>,
}

/// What is wanted for one of them.
#[derive(Debug)]
pub(super) enum Wanted<'a> {
    Nothing,
    Of(&'a Require),
    Undeclared,
}

impl Methods {
    /// Nobody may call any method yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who is what `require` wants may call `method`: its name in the service, such as `Reserve`.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>, require: Require) -> Self {
        self.methods.push((method.into(), Some(require)));
        self
    }

    /// Everybody may call `method`, also without a token.
    #[must_use]
    pub fn public(mut self, method: impl Into<String>) -> Self {
        self.methods.push((method.into(), None));
        self
    }

    /// Who is what `require` wants may call the methods that have no line of their own.
    #[must_use]
    pub fn others(mut self, require: Require) -> Self {
        self.others = Some(require);
        self
    }

    /// What is wanted for a request to `path`: `/package.Service/Method`. The last line for a method holds.
    pub(super) fn of(&self, path: &str) -> Wanted<'_> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let found = self.methods.iter().rev().find(|(method, _)| method == name);
        match (found, &self.others) {
            (Some((_, None)), _) => Wanted::Nothing,
            (Some((_, Some(require))), _) | (None, Some(require)) => Wanted::Of(require),
            (None, None) => Wanted::Undeclared,
        }
    }
}
