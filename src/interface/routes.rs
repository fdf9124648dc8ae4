//! The routes of an axum router. It has no method that tells them, and shows them for debugging only; a version that
//! shows them in another way is noticed (`of` gives `None`, and a test fails).

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use mainstay_interface::template;

use super::Differences;

/// The routes, by what their paths look like when the names of parameters don't count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Routes(BTreeMap<String, Route>);

#[derive(Debug, PartialEq, Eq)]
struct Route {
    /// As it was written.
    path: String,
    /// `None`: a service that is given every method.
    methods: Option<BTreeSet<&'static str>>,
}

/// Methods as axum shows them, and as they are written. CONNECT has no place in a description.
const METHODS: [(&str, &str); 8] = [
    ("get", "GET"),
    ("head", "HEAD"),
    ("delete", "DELETE"),
    ("options", "OPTIONS"),
    ("patch", "PATCH"),
    ("post", "POST"),
    ("put", "PUT"),
    ("trace", "TRACE"),
];

/// The routes of `router`; `None` where it does not show them as is known here.
pub(super) fn of(router: &Router) -> Option<Routes> {
    let shown = format!("{router:?}");
    // What stands before the paths is made of axum's own words; paths could say anything.
    let (endpoints, rest) = shown
        .strip_prefix("Router { path_router: PathRouter { routes: {")?
        .split_once("}, node: Node { paths: {")?;
    let mut methods = BTreeMap::new();
    for endpoint in endpoints.split("RouteId(").skip(1) {
        let (id, endpoint) = endpoint.split_once("): ")?;
        methods.insert(id, if endpoint.starts_with("Route(") { None } else { Some(methods_of(endpoint)?) });
    }
    let mut routes = BTreeMap::new();
    let mut rest = rest;
    while let Some(entry) = rest.trim_start_matches(", ").strip_prefix("RouteId(") {
        let (id, after) = entry.split_once("): ")?;
        let (path, after) = quoted(after)?;
        rest = after;
        let methods = methods.get(id)?.as_ref().and_then(Clone::clone);
        routes.insert(template(&path), Route { path, methods });
    }
    let is_whole = rest.starts_with("} } }, fallback_router: ") && routes.len() == methods.len();
    is_whole.then_some(Routes(routes))
}

/// The methods of one method router; `None` inside for one that is given all of them (`any`).
fn methods_of(endpoint: &str) -> Option<Option<BTreeSet<&'static str>>> {
    let shown = endpoint.strip_prefix("MethodRouter(MethodRouter { ")?;
    if shown.contains("allow_header: Skip") {
        return Some(None);
    }
    let mut methods = BTreeSet::new();
    for (key, name) in METHODS {
        let (_, value) = shown.split_once(&format!("{key}: "))?;
        if !value.starts_with("None") {
            methods.insert(name);
        }
    }
    Some(Some(methods))
}

/// The string literal that `text` begins with, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut characters) = (String::new(), text.strip_prefix('"')?.char_indices());
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(index + 2..)?)),
            '\\' => match characters.next()? {
                (_, escaped @ ('"' | '\\' | '\'')) => value.push(escaped),
                _ => return None,
            },
            character => value.push(character),
        }
    }
    None
}

impl Routes {
    /// What is in one of these and the described operations only.
    pub(super) fn differences(&self, described: &[(String, String)]) -> Differences {
        let mut differences = Differences::default();
        let mut methods: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (path, method) in described {
            methods.entry(template(path)).or_default().insert(method);
            if !self.has(path, method) {
                differences.not_routed.push(format!("{method} {path}"));
            }
        }
        for (template, route) in &self.0 {
            let described = methods.get(template);
            let is_described = |method: &str| described.is_some_and(|described| described.contains(method));
            match &route.methods {
                // No path of a description has a parameter that takes several segments.
                _ if route.path.contains("{*") => {}
                None if described.is_none() => differences.not_described.push(route.path.clone()),
                None => {}
                Some(routed) => {
                    // axum answers HEAD where there is GET.
                    let wanted = routed.iter().filter(|method| **method != "HEAD" || !routed.contains("GET"));
                    let missing = wanted.filter(|method| !is_described(method));
                    differences
                        .not_described
                        .extend(missing.map(|method| format!("{method} {}", route.path)));
                }
            }
        }
        differences
    }

    /// Whether a route leads from there.
    pub(super) fn has(&self, path: &str, method: &str) -> bool {
        if let Some(route) = self.0.get(&template(path)) {
            let head = |methods: &BTreeSet<&str>| method == "HEAD" && methods.contains("GET");
            return route.methods.as_ref().is_none_or(|methods| methods.contains(method) || head(methods));
        }
        // A nested service, or one for all below: what it has can't be seen.
        self.0
            .values()
            .any(|route| route.path.split_once("{*").is_some_and(|(prefix, _)| path.starts_with(prefix)))
    }
}
