//! Who may take a route.

use crate::config::{Config, Fault, Route};

/// Who may take a route of a guarded gateway.
#[derive(Debug)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Who has a token like this.
    #[cfg(feature = "auth")]
    Known(mainstay_auth::Require),
    /// Nobody: there is nothing that knows who calls.
    #[cfg(not(feature = "auth"))]
    Known,
}

impl Access {
    /// As `route` wants it.
    pub(crate) fn of(route: &Route) -> Self {
        if route.public { Self::Public } else { Self::known(&route.scopes) }
    }

    #[cfg(feature = "auth")]
    fn known(scopes: &[String]) -> Self {
        use mainstay_auth::Require;
        let scopes = scopes.iter().map(Require::scope).reduce(Require::and);
        Self::Known(scopes.unwrap_or_else(Require::authenticated))
    }

    #[cfg(not(feature = "auth"))]
    fn known(_: &[String]) -> Self {
        Self::Known
    }
}

/// What is wrong with who may take `route`: key and value, and what was expected.
pub(crate) fn wrong(route: &Route) -> Option<(&'static str, &str, &'static str)> {
    // RFC 6749 section 3.3.
    let is_scope = |scope: &str| {
        !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    };
    if let Some(scope) = route.scopes.iter().find(|scope| !is_scope(scope)) {
        return Some(("scopes", scope, "a scope such as `orders:write`: no spaces, quotes and backslashes"));
    }
    let is_both = route.public && !route.scopes.is_empty();
    is_both.then_some(("public", "true", "either `public` or `scopes`"))
}

/// What only a guarded gateway heeds.
pub(crate) fn unheeded(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, route) in &config.routes {
        let mut add = |key: &str, value: String| {
            let expected = "a gateway that is guarded (`Gateway::guarded`): this one heeds neither `public` nor `scopes`";
            faults.push(Fault { key: format!("routes.{name}.{key}"), value, expected: expected.to_owned() });
        };
        if route.public {
            add("public", "true".to_owned());
        }
        if !route.scopes.is_empty() {
            add("scopes", format!("{:?}", route.scopes));
        }
    }
    faults
}
