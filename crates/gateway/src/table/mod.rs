//! The routes, checked and compiled once; a lookup allocates nothing.

mod compile;
mod host;
#[cfg(test)]
mod tests;
mod tree;

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderValue, Method, uri::Authority};

use crate::{access::Access, rewrite::Rewrite};
use tree::Node;

/// A route, ready to be used.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in the configuration.
    pub(crate) name: Box<str>,
    /// The methods that it takes; all, where there are none.
    pub(crate) methods: Vec<Method>,
    /// The logical name, as the authority of the outgoing request.
    pub(crate) authority: Authority,
    /// The same as the value of `Host`.
    pub(crate) host: HeaderValue,
    /// What happens to the path.
    pub(crate) rewrite: Option<Rewrite>,
    /// How long to wait for the head of an answer.
    pub(crate) timeout: Duration,
    /// Who may take it.
    #[cfg_attr(not(feature = "auth"), expect(dead_code, reason = "there is no guarded gateway"))]
    pub(crate) access: Access,
}

impl Route {
    fn allows(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            // RFC 9110 section 9.1: where GET is supported HEAD is.
            || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}

/// All routes. The precedence: the most specific host (exact, then the longest wildcard, then none), then the most
/// specific path, then a route with methods before one without.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<Box<str>, Node>,
    /// Wildcards by their suffix, the longest first.
    below: Vec<(Box<str>, Node)>,
    any: Node,
}

/// Why no route takes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// None has this path.
    Path,
    /// None that has this path takes this method; these are taken, sorted.
    Method(Vec<Method>),
}

impl Table {
    /// The route for a request. `authority` is that of the request, with or without a port.
    pub(crate) fn find<'a>(
        &'a self,
        authority: Option<&str>,
        path: &str,
        method: &Method,
    ) -> Result<&'a Arc<Route>, NoRoute> {
        let rest = path.strip_prefix('/').ok_or(NoRoute::Path)?;
        let mut allowed = Vec::new();
        let mut find = |node: &'a Node| node.find(Some(rest), method, &mut allowed);
        let found = match authority.map(host::host_of) {
            Some(host) if !(self.exact.is_empty() && self.below.is_empty()) => {
                let lower;
                let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    lower = host.to_ascii_lowercase();
                    &lower
                } else {
                    host
                };
                let exact = self.exact.get(host).and_then(&mut find);
                exact
                    .or_else(|| {
                        let mut below = self.below.iter().filter(|(suffix, _)| host.ends_with(&**suffix));
                        below.find_map(|(_, node)| find(node))
                    })
                    .or_else(|| find(&self.any))
            }
            _ => find(&self.any),
        };
        found.ok_or_else(|| {
            if allowed.is_empty() {
                return NoRoute::Path;
            }
            let mut methods: Vec<Method> = allowed.into_iter().cloned().collect();
            if methods.contains(&Method::GET) {
                methods.push(Method::HEAD);
            }
            methods.sort_by(|one, two| one.as_str().cmp(two.as_str()));
            methods.dedup();
            NoRoute::Method(methods)
        })
    }
}
