//! From the configuration to the table; every fault is found, not only the first.

use std::sync::Arc;

use http::{HeaderValue, Method, uri::Authority};

use super::{Route, Table, host::Host, tree::Node};
use crate::{
    access::{self, Access},
    config::{self, Config, Fault, Invalid},
    pattern::Pattern,
    rewrite::Rewrite,
};

/// A route whose own values are right.
struct Checked<'a> {
    name: &'a str,
    hosts: Vec<Host>,
    pattern: Pattern,
    route: Arc<Route>,
}

impl Table {
    /// Checks and compiles the routes.
    pub(crate) fn compile(config: &Config) -> Result<Self, Invalid> {
        let mut faults = Faults(Vec::new());
        let checked: Vec<_> = config
            .routes
            .iter()
            .filter_map(|(name, route)| check(name, route, config, &mut faults))
            .collect();
        for (index, two) in checked.iter().enumerate() {
            for one in &checked[..index] {
                if let Some(what) = overlap(one, two) {
                    faults.add(
                        &format!("routes.{}", two.name),
                        two.pattern.to_string(),
                        format!("one route for each request, and the route `{}` takes {what} too", one.name),
                    );
                }
            }
        }
        if !faults.0.is_empty() {
            return Err(Invalid { faults: faults.0 });
        }
        let mut table = Self::default();
        for Checked { hosts, pattern, route, .. } in checked {
            if hosts.is_empty() {
                table.any.insert(&pattern, Arc::clone(&route));
            }
            for host in hosts {
                table.host(host).insert(&pattern, Arc::clone(&route));
            }
        }
        table.below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Ok(table)
    }

    fn host(&mut self, host: Host) -> &mut Node {
        match host {
            Host::Exact(host) => self.exact.entry(host).or_default(),
            Host::Below(suffix) => {
                let index = self.below.iter().position(|(known, _)| *known == suffix);
                let index = index.unwrap_or_else(|| {
                    self.below.push((suffix, Node::default()));
                    self.below.len() - 1
                });
                &mut self.below[index].1
            }
        }
    }
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: &str, value: impl Into<String>, expected: impl Into<String>) {
        self.0.push(Fault { key: key.to_owned(), value: value.into(), expected: expected.into() });
    }

    /// Keeps what is right and notes what isn't.
    fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.0.push(fault)).ok()
    }
}

fn check<'a>(
    name: &'a str,
    route: &config::Route,
    config: &Config,
    faults: &mut Faults,
) -> Option<Checked<'a>> {
    let key = |field: &str| format!("routes.{name}.{field}");
    let fault = |field: &str, value: &dyn std::fmt::Display, expected: String| Fault {
        key: key(field),
        value: format!("{:?}", value.to_string()),
        expected,
    };
    let pattern = match (&route.path, &route.prefix) {
        (Some(path), None) => Pattern::closed(path).map_err(|error| fault("path", path, error.to_string())),
        (None, Some(prefix)) => {
            Pattern::open(prefix).map_err(|error| fault("prefix", prefix, error.to_string()))
        }
        (one, _) => Err(Fault {
            key: format!("routes.{name}"),
            value: if one.is_some() { "both `path` and `prefix`" } else { "neither `path` nor `prefix`" }
                .to_owned(),
            expected: "one of `path` (one path) and `prefix` (a path and all below it)".to_owned(),
        }),
    };
    let pattern = faults.take(pattern);

    let hosts: Vec<_> = route
        .hosts
        .iter()
        .filter_map(|host| {
            let expected =
                || "a host such as `api.example.com` or `*.example.com`, without a port".to_owned();
            faults.take(Host::parse(host).ok_or_else(|| fault("hosts", host, expected())))
        })
        .collect();
    let methods: Vec<_> = route
        .methods
        .iter()
        .filter_map(|text| {
            let upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
            let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| upper);
            let expected = || "a method in upper case, such as `GET`".to_owned();
            faults.take(method.ok_or_else(|| fault("methods", text, expected())))
        })
        .collect();
    for method in [Method::TRACE, Method::CONNECT] {
        if methods.contains(&method) {
            let expected = "methods that are forwarded, and this one never is".to_owned();
            faults.take::<()>(Err(fault("methods", &method, expected)));
        }
    }
    let authority = faults.take(service(&route.service).ok_or_else(|| {
        let expected = "the logical name of a service, such as `orders`: lower-case letters, digits and `-`";
        fault("service", &route.service, expected.to_owned())
    }));
    if route.timeout.is_some_and(|timeout| timeout.is_zero()) {
        faults.add(&key("timeout"), "0s", "more than zero");
    }
    let rewrite = match (&pattern, &route.rewrite, route.strip_prefix) {
        (Some(pattern), Some(template), false) => faults.take(
            Rewrite::parse(template, pattern)
                .map(Some)
                .map_err(|error| fault("rewrite", template, error.to_string())),
        ),
        (_, Some(template), true) => {
            let expected = "either `rewrite` or `strip_prefix`".to_owned();
            faults.take(Err(fault("rewrite", template, expected)))
        }
        (Some(pattern), None, true) if pattern.open => Some(Some(Rewrite::strip(pattern))),
        (Some(_), None, true) => {
            let expected = "`prefix`, or no `strip_prefix`: a `path` has no prefix to strip".to_owned();
            faults.take(Err(fault("strip_prefix", &true, expected)))
        }
        _ => Some(None),
    };
    if let Some((field, value, expected)) = access::wrong(route) {
        faults.add(&key(field), format!("{value:?}"), expected);
    }
    let access = Access::of(route);
    let (authority, host) = authority?;
    let timeout = route.timeout.unwrap_or(config.timeout).get();
    let route = Route { name: name.into(), methods, authority, host, rewrite: rewrite?, timeout, access };
    Some(Checked { name, hosts, pattern: pattern?, route: Arc::new(route) })
}

/// A logical name is one label of a host name, or several.
fn service(name: &str) -> Option<(Authority, HeaderValue)> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && label.bytes().all(letters);
    if !name.split('.').all(label) {
        return None;
    }
    Some((name.parse().ok()?, HeaderValue::from_str(name).ok()?))
}

/// What both routes would take with the same right, if anything.
fn overlap(one: &Checked<'_>, two: &Checked<'_>) -> Option<String> {
    if !one.pattern.is_same(&two.pattern) {
        return None;
    }
    let same_host = (one.hosts.is_empty() && two.hosts.is_empty())
        || one.hosts.iter().any(|host| two.hosts.contains(host));
    if !same_host {
        return None;
    }
    match (one.route.methods.is_empty(), two.route.methods.is_empty()) {
        (true, true) => Some("the same path".to_owned()),
        (false, false) => {
            let both = two.route.methods.iter().find(|method| one.route.methods.contains(method))?;
            Some(format!("{both} on the same path"))
        }
        // The one with methods is the more specific one.
        _ => None,
    }
}
