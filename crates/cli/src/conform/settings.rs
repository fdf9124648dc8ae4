//! The options, checked and with their defaults filled in.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::{options::Options, units::Span, wire::Endpoint};

/// What the suite keeps of a body it sends over the bound.
const MAX_BODY: usize = 64 << 20;

/// `METHOD=/path`, or `/path` for GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) method: String,
    pub(crate) path: String,
}

/// `NAME=VALUE`, an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) main: Endpoint,
    pub(crate) admin: Option<Endpoint>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) pid: Option<i32>,
    pub(crate) start_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) drain_delay: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) max_body: usize,
    pub(crate) default_deadline: Option<Duration>,
    pub(crate) bad_config: Vec<Assignment>,
    pub(crate) route: Option<Route>,
    pub(crate) slow_route: Option<Route>,
    pub(crate) hang_route: Option<Route>,
    pub(crate) stream_route: Option<Route>,
    pub(crate) panic_route: Option<Route>,
    pub(crate) json_route: Option<Route>,
    pub(crate) json_body: Option<Map<String, Value>>,
    pub(crate) grpc: bool,
    pub(crate) grpc_service: Option<String>,
    pub(crate) slow_grpc: Option<String>,
    pub(crate) call_route: Option<Route>,
    pub(crate) call_post: Option<Route>,
    pub(crate) dependencies: Vec<Endpoint>,
    pub(crate) otlp: Option<Endpoint>,
    pub(crate) issuer: Option<Endpoint>,
    pub(crate) audience: String,
    pub(crate) scope: String,
    pub(crate) token: Option<String>,
    pub(crate) closed_route: Option<Route>,
    pub(crate) scoped_route: Option<Route>,
    pub(crate) public_route: Option<Route>,
    pub(crate) closed_grpc: Option<String>,
    pub(crate) scoped_grpc: Option<String>,
    pub(crate) overload: Option<usize>,
    pub(crate) timeout: Duration,
}

impl Settings {
    /// # Errors
    /// A sentence that names the option, its value and what was expected.
    pub(crate) fn resolve(options: &Options) -> Result<Self, String> {
        let or = |span: Option<Span>, default| span.map_or(Duration::from_secs(default), |span| span.0);
        let settings = Self {
            main: options.url.clone().ok_or("URL is missing: expected one like `http://127.0.0.1:8080`")?,
            admin: options.admin.clone(),
            command: options.command.as_deref().map(words).transpose()?,
            pid: options.pid,
            start_timeout: or(options.start_timeout, 30),
            drain_timeout: or(options.drain_timeout, 30),
            drain_delay: or(options.drain_delay, 0),
            header_timeout: or(options.header_timeout, 30),
            max_body: options.max_body.map_or(2 << 20, |size| size.0),
            default_deadline: options.default_deadline.map(|span| span.0),
            bad_config: options.bad_config.clone(),
            route: options.route.clone(),
            slow_route: options.slow_route.clone(),
            hang_route: options.hang_route.clone(),
            stream_route: options.stream_route.clone(),
            panic_route: options.panic_route.clone(),
            json_route: options.json_route.clone(),
            json_body: options.json_body.as_deref().map(object).transpose()?,
            grpc: options.grpc || options.grpc_service.is_some() || options.slow_grpc.is_some(),
            grpc_service: options.grpc_service.clone(),
            slow_grpc: options.slow_grpc.clone(),
            call_route: options.call_route.clone(),
            call_post: options.call_post.clone(),
            dependencies: options.dependency.clone(),
            otlp: options.otlp.clone(),
            issuer: options.issuer.clone(),
            audience: options.audience.clone().unwrap_or_else(|| "conform".to_owned()),
            scope: options.scope.clone().unwrap_or_default(),
            token: options.token.clone(),
            closed_route: options.closed_route.clone(),
            scoped_route: options.scoped_route.clone(),
            public_route: options.public_route.clone(),
            closed_grpc: options.closed_grpc.clone(),
            scoped_grpc: options.scoped_grpc.clone(),
            overload: options.overload,
            timeout: or(options.timeout, 60),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        if self.command.is_some() && self.pid.is_some() {
            return Err("--command and --pid exclude each other".to_owned());
        }
        if self.issuer.is_some() && self.token.is_some() {
            return Err("--issuer and --token exclude each other".to_owned());
        }
        // RFC 6750 section 2.1.
        let is_token =
            |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if self.token.as_ref().is_some_and(|token| !is_token(token)) {
            return Err("--token: expected a bearer token, without `Bearer` and without spaces".to_owned());
        }
        if (self.scoped_route.is_some() || self.scoped_grpc.is_some()) && self.scope.is_empty() {
            return Err("--scope: expected what --scoped-route and --scoped-grpc want".to_owned());
        }
        if self.pid.is_some_and(|pid| pid <= 1) {
            return Err("--pid: expected the number of a process, greater than 1".to_owned());
        }
        if self.max_body > MAX_BODY {
            return Err("--max-body: expected at most 64MiB, which the suite is willing to send".to_owned());
        }
        // A check must be able to see the slowest thing that is still right.
        let has_process = self.command.is_some() || self.pid.is_some();
        let drain = if has_process { self.drain_delay + self.drain_timeout } else { Duration::ZERO };
        for (name, longest) in [
            ("--drain-delay and --drain-timeout", drain),
            ("--header-timeout", self.header_timeout),
            ("--default-deadline", self.default_deadline.unwrap_or_default()),
        ] {
            if self.timeout < longest + Duration::from_secs(5) {
                return Err(format!(
                    "--timeout: {:?} is too short for {name} of {longest:?}: expected at least five seconds more",
                    self.timeout
                ));
            }
        }
        Ok(())
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (method, path) = text.split_once('=').filter(|_| !text.starts_with('/')).unwrap_or(("GET", text));
        let is_token = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token && is_path {
            Ok(Self { method: method.to_owned(), path: path.to_owned() })
        } else {
            Err(format!("`{text}` is not a route: expected `METHOD=/path`, or `/path` for GET"))
        }
    }
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("`{text}` sets nothing: expected `NAME=VALUE`")),
        }
    }
}

impl<'de> Deserialize<'de> for Route {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Assignment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) if !map.is_empty() => Ok(map),
        Ok(_) => Err("--json-body: expected a JSON object with at least one field".to_owned()),
        Err(error) => Err(format!("--json-body: {error}: expected a JSON object")),
    }
}

/// Splits a command as a shell would, without being one: spaces, quotes and backslashes, nothing is expanded.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => {
                let escaped = characters.next().ok_or("--command: nothing follows the last backslash")?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, c @ ('\'' | '"')) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("--command: the quote {open} is not closed"));
    }
    words.extend(word);
    if words.is_empty() { Err("--command: expected a program".to_owned()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::{Options, Route, Settings, words};

    #[test]
    fn a_command_is_split_like_a_shell_does_and_nothing_is_expanded() {
        let split = words(r#"target/debug/shop --set 'a b'  --x="c \"d\"" e\ f '' $HOME"#).expect("is valid");
        assert_eq!(split, ["target/debug/shop", "--set", "a b", "--x=c \"d\"", "e f", "", "$HOME"]);
        for wrong in ["", "  ", "a 'b", "a \"b", "a \\"] {
            assert!(words(wrong).expect_err(wrong).contains("--command"));
        }
    }

    #[test]
    fn a_route_has_a_method_and_a_path() {
        let route = |method: &str, path: &str| Route { method: method.to_owned(), path: path.to_owned() };
        assert_eq!("/a?b=c".parse(), Ok(route("GET", "/a?b=c")));
        assert_eq!("POST=/orders".parse(), Ok(route("POST", "/orders")));
        for wrong in ["", "products", "post=/x", "=/x", "GET=x", "GET=/a b", "/a\r\nx: y"] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused_by_name() {
        for (wrong, name) in [
            ("", "URL"),
            ("url = 'http://a:1'\ntimeout = '10s'\nheader-timeout = '10s'", "--header-timeout"),
            ("url = 'http://a:1'\ncommand = 'x'\npid = 7", "--pid"),
            ("url = 'http://a:1'\npid = 1", "--pid"),
            ("url = 'http://a:1'\nmax-body = '65MiB'", "--max-body"),
            ("url = 'http://a:1'\njson-body = '[]'", "--json-body"),
        ] {
            let options: Options = toml::from_str(wrong).expect(wrong);
            let error = Settings::resolve(&options).expect_err(wrong);
            assert!(error.contains(name), "{error}");
        }
    }
}
