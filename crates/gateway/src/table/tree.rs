//! The paths of one host, as a tree of segments.

use std::sync::Arc;

use http::Method;

use super::Route;
use crate::pattern::{Pattern, Segment, decode};

/// One position in a path. Each is visited at most once a lookup, so that the configuration and not the caller
/// decides what a lookup costs.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Sorted by their bytes.
    literals: Vec<(Box<[u8]>, Node)>,
    parameter: Option<Box<Node>>,
    /// Routes for the path that ends here, those with methods first.
    closed: Vec<Arc<Route>>,
    /// Routes for everything from here on, those with methods first.
    open: Vec<Arc<Route>>,
}

impl Node {
    pub(super) fn insert(&mut self, pattern: &Pattern, route: Arc<Route>) {
        let end = pattern.segments.iter().fold(self, Self::child);
        let routes = if pattern.open { &mut end.open } else { &mut end.closed };
        let position = if route.methods.is_empty() { routes.len() } else { 0 };
        routes.insert(position, route);
    }

    fn child<'a>(&'a mut self, segment: &Segment) -> &'a mut Self {
        match segment {
            Segment::Parameter(_) => self.parameter.get_or_insert_default(),
            Segment::Literal(bytes) => {
                let found = self.literals.binary_search_by(|(literal, _)| literal.cmp(bytes));
                let index = found.unwrap_or_else(|index| {
                    self.literals.insert(index, (bytes.clone(), Self::default()));
                    index
                });
                &mut self.literals[index].1
            }
        }
    }

    /// The most specific route for the path: at each segment from the left a literal goes before a parameter, and
    /// that before a prefix that ended earlier. Methods of routes that match but for the method go to `allowed`.
    ///
    /// `rest` is what follows the last slash, `None` where the path is at its end.
    pub(super) fn find<'a>(
        &'a self,
        rest: Option<&str>,
        method: &Method,
        allowed: &mut Vec<&'a Method>,
    ) -> Option<&'a Arc<Route>> {
        let below = match rest {
            None => choose(&self.closed, method, allowed),
            Some(rest) => {
                let (segment, rest) = match rest.split_once('/') {
                    Some((segment, rest)) => (segment, Some(rest)),
                    None => (rest, None),
                };
                let literal = self.literal(segment).and_then(|node| node.find(rest, method, allowed));
                literal.or_else(|| {
                    let node = self.parameter.as_deref().filter(|_| !segment.is_empty())?;
                    node.find(rest, method, allowed)
                })
            }
        };
        below.or_else(|| choose(&self.open, method, allowed))
    }

    fn literal(&self, segment: &str) -> Option<&Node> {
        if self.literals.is_empty() {
            return None;
        }
        let search = |bytes: &[u8]| {
            let index = self.literals.binary_search_by(|(literal, _)| (**literal).cmp(bytes)).ok()?;
            self.literals.get(index).map(|(_, node)| node)
        };
        // RFC 3986 section 6.2.2: `%6F` is `o`, whoever wrote it.
        if segment.contains('%') { search(&decode(segment.as_bytes())?) } else { search(segment.as_bytes()) }
    }
}

fn choose<'a>(
    routes: &'a [Arc<Route>],
    method: &Method,
    allowed: &mut Vec<&'a Method>,
) -> Option<&'a Arc<Route>> {
    // A route that lists HEAD goes before one that takes it because it lists GET.
    let listed = routes.iter().find(|route| route.methods.contains(method));
    let found = listed.or_else(|| routes.iter().find(|route| route.allows(method)));
    if found.is_none() {
        allowed.extend(routes.iter().flat_map(|route| &route.methods));
    }
    found
}
