//! The command line and the profile file: the same keys in both.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::{
    settings::{Assignment, Route},
    units::{Size, Span},
    wire::Endpoint,
};

/// What `mainstay conform` is told. A route is `METHOD=/path`, or `/path` for GET; a duration `250ms`, `5s` or
/// `2m`; a size `64KiB` or `2MiB`.
///
/// Every option can stand in the `--profile` file under its long name; the command line wins.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[command(after_help = "EXIT STATUS: 0 every clause that was checked holds; 1 at least one does not; \
                        2 wrong usage, or the service could not be reached.")]
pub(crate) struct Options {
    /// The main listener, `http://HOST:PORT`
    pub(crate) url: Option<Endpoint>,

    /// The admin listener, `http://HOST:PORT`
    #[arg(long, value_name = "URL", help_heading = "The service")]
    pub(crate) admin: Option<Endpoint>,

    /// How to start the service; the suite starts it, restarts it for the checks that end it, and ends it. No shell:
    /// words are split at spaces, quotes and backslashes work
    #[arg(long, value_name = "COMMAND", conflicts_with = "pid", help_heading = "The service")]
    pub(crate) command: Option<String>,

    /// The running process to signal; it is ended by the first check that needs that, others are skipped
    #[arg(long, value_name = "PID", help_heading = "The service")]
    pub(crate) pid: Option<i32>,

    /// How long the service takes to become ready [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = "The service")]
    pub(crate) start_timeout: Option<Span>,

    /// The `drain.timeout` it is configured with [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = "The service")]
    pub(crate) drain_timeout: Option<Span>,

    /// The `drain.delay` it is configured with [default: 0s]
    #[arg(long, value_name = "DURATION", help_heading = "The service")]
    pub(crate) drain_delay: Option<Span>,

    /// The longest it waits for a first byte, a header or the next piece of a body [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = "The service")]
    pub(crate) header_timeout: Option<Span>,

    /// The largest request body it takes [default: 2MiB]
    #[arg(long, value_name = "SIZE", help_heading = "The service")]
    pub(crate) max_body: Option<Size>,

    /// The deadline of a request that brings none
    #[arg(long, value_name = "DURATION", help_heading = "The service")]
    pub(crate) default_deadline: Option<Span>,

    /// A wrong setting as an environment variable, `NAME=VALUE`; may be given several times
    #[arg(long, value_name = "NAME=VALUE", help_heading = "The service")]
    #[serde(default)]
    pub(crate) bad_config: Vec<Assignment>,

    /// A route that answers 2xx at once
    #[arg(long, value_name = "ROUTE", help_heading = "Routes")]
    pub(crate) route: Option<Route>,

    /// A route that takes one to three seconds and then answers 2xx
    #[arg(long, value_name = "ROUTE", help_heading = "Routes")]
    pub(crate) slow_route: Option<Route>,

    /// A route that never answers
    #[arg(long, value_name = "ROUTE", help_heading = "Routes")]
    pub(crate) hang_route: Option<Route>,

    /// A route whose answer begins at once and never ends, like a stream of events
    #[arg(long, value_name = "ROUTE", help_heading = "Routes")]
    pub(crate) stream_route: Option<Route>,

    /// A route whose handler panics
    #[arg(long, value_name = "ROUTE", help_heading = "Routes")]
    pub(crate) panic_route: Option<Route>,

    /// A route that takes a JSON body, like `POST=/orders`
    #[arg(long, value_name = "ROUTE", help_heading = "Routes")]
    pub(crate) json_route: Option<Route>,

    /// A body, a JSON object, that the JSON route takes; sent only with one field made wrong
    #[arg(long, value_name = "JSON", help_heading = "Routes")]
    pub(crate) json_body: Option<String>,

    /// A GET route whose handler makes one GET call to the dependency, and answers 2xx when that does
    #[arg(long, value_name = "ROUTE", help_heading = "Calls")]
    pub(crate) call_route: Option<Route>,

    /// A route, like `POST=/orders`, that takes an empty body, and whose handler makes one POST call to the dependency
    #[arg(long, value_name = "ROUTE", help_heading = "Calls")]
    pub(crate) call_post: Option<Route>,

    /// Where the service is configured to find a service that it calls, `http://HOST:PORT`: the suite itself listens
    /// there, answers 200 `{}` and misbehaves; may be given several times for several endpoints of one service
    #[arg(long, value_name = "URL", help_heading = "Calls")]
    #[serde(default)]
    pub(crate) dependency: Vec<Endpoint>,

    /// Where the service sends its spans by OTLP over HTTP, `http://HOST:PORT`: the suite itself listens there. What
    /// --command starts is told so by the variables that SDKs of OpenTelemetry read
    #[arg(long, value_name = "URL", help_heading = "Calls")]
    pub(crate) otlp: Option<Endpoint>,

    /// Where the service is configured to find its issuer, `http://HOST:PORT`, which is also what it calls it: the suite
    /// itself listens there, and its requests carry a token of that issuer
    #[arg(long, value_name = "URL", conflicts_with = "token", help_heading = "Tokens")]
    pub(crate) issuer: Option<Endpoint>,

    /// What the service is called in tokens, `aud` [default: conform]
    #[arg(long, value_name = "NAME", help_heading = "Tokens")]
    pub(crate) audience: Option<String>,

    /// What the suite's own requests may do, `scope` of their token: words, separated by spaces
    #[arg(long, value_name = "SCOPES", help_heading = "Tokens")]
    pub(crate) scope: Option<String>,

    /// A token that all requests carry, where the issuer is another one
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CONFORM_TOKEN",
        hide_env_values = true,
        help_heading = "Tokens"
    )]
    pub(crate) token: Option<String>,

    /// A route that wants a token, and answers 2xx to who has one
    #[arg(long, value_name = "ROUTE", help_heading = "Tokens")]
    pub(crate) closed_route: Option<Route>,

    /// A route that wants one of --scope, and answers 2xx to who has it
    #[arg(long, value_name = "ROUTE", help_heading = "Tokens")]
    pub(crate) scoped_route: Option<Route>,

    /// A route that answers 2xx without a token
    #[arg(long, value_name = "ROUTE", help_heading = "Tokens")]
    pub(crate) public_route: Option<Route>,

    /// A unary method that wants a token, like `shop.Inventory/Reserve`
    #[arg(long, value_name = "SERVICE/METHOD", help_heading = "Tokens")]
    pub(crate) closed_grpc: Option<String>,

    /// A unary method that wants one of --scope
    #[arg(long, value_name = "SERVICE/METHOD", help_heading = "Tokens")]
    pub(crate) scoped_grpc: Option<String>,

    /// The service speaks gRPC on its main listener
    #[arg(long, help_heading = "gRPC")]
    #[serde(default)]
    pub(crate) grpc: bool,

    /// A service that `grpc.health.v1` knows, like `shop.Inventory` (implies --grpc)
    #[arg(long, value_name = "NAME", help_heading = "gRPC")]
    pub(crate) grpc_service: Option<String>,

    /// A unary method that takes at least a second for an empty message, like `shop.Inventory/Slow` (implies --grpc)
    #[arg(long, value_name = "SERVICE/METHOD", help_heading = "gRPC")]
    pub(crate) slow_grpc: Option<String>,

    /// How many requests at once are several times its capacity; when given, a service that refuses none fails
    #[arg(long, value_name = "COUNT", help_heading = "Run")]
    pub(crate) overload: Option<usize>,

    /// Only these, separated by commas: families, clauses or checks (`LIFE.3,ERR`)
    #[arg(long, value_name = "CLAUSES", value_delimiter = ',', help_heading = "Run")]
    #[serde(default)]
    pub(crate) only: Vec<String>,

    /// The longest a single check may take [default: 60s]
    #[arg(long, value_name = "DURATION", help_heading = "Run")]
    pub(crate) timeout: Option<Span>,

    /// Fail when a check is skipped
    #[arg(long, help_heading = "Run")]
    #[serde(default)]
    pub(crate) require_all: bool,

    /// A TOML file with these options
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    #[serde(skip)]
    pub(crate) profile: Option<PathBuf>,

    /// List the checks and what each needs, and run none
    #[arg(long, help_heading = "Run")]
    #[serde(skip)]
    pub(crate) list: bool,

    /// Write a JUnit XML file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) junit: Option<PathBuf>,

    /// Write a JSON file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    /// Show what was sent, expected and received for checks that passed too
    #[arg(long, short, help_heading = "Output")]
    #[serde(default)]
    pub(crate) verbose: bool,
}

impl Options {
    /// These options, completed by those of the profile file when one is named.
    ///
    /// # Errors
    /// A sentence that names the file, the key and what was expected.
    pub(crate) fn with_profile(self) -> Result<Self, String> {
        let Some(path) = &self.profile else { return Ok(self) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("--profile {}: {error}", path.display()))?;
        let profile: Self =
            toml::from_str(&text).map_err(|error| format!("--profile {}: {error}", path.display()))?;
        Ok(self.over(profile))
    }

    fn over(self, weaker: Self) -> Self {
        // A process named on the command line replaces the profile's way to one.
        let process_is_given = self.command.is_some() || self.pid.is_some();
        let (command, pid) = match process_is_given {
            true => (self.command, self.pid),
            false => (weaker.command, weaker.pid),
        };
        // So does a way to tokens.
        let token_is_given = self.issuer.is_some() || self.token.is_some();
        let (issuer, token) = match token_is_given {
            true => (self.issuer, self.token),
            false => (weaker.issuer, weaker.token),
        };
        Self {
            url: self.url.or(weaker.url),
            admin: self.admin.or(weaker.admin),
            command,
            pid,
            start_timeout: self.start_timeout.or(weaker.start_timeout),
            drain_timeout: self.drain_timeout.or(weaker.drain_timeout),
            drain_delay: self.drain_delay.or(weaker.drain_delay),
            header_timeout: self.header_timeout.or(weaker.header_timeout),
            max_body: self.max_body.or(weaker.max_body),
            default_deadline: self.default_deadline.or(weaker.default_deadline),
            bad_config: either(self.bad_config, weaker.bad_config),
            route: self.route.or(weaker.route),
            slow_route: self.slow_route.or(weaker.slow_route),
            hang_route: self.hang_route.or(weaker.hang_route),
            stream_route: self.stream_route.or(weaker.stream_route),
            panic_route: self.panic_route.or(weaker.panic_route),
            json_route: self.json_route.or(weaker.json_route),
            json_body: self.json_body.or(weaker.json_body),
            otlp: self.otlp.or(weaker.otlp),
            grpc: self.grpc || weaker.grpc,
            grpc_service: self.grpc_service.or(weaker.grpc_service),
            slow_grpc: self.slow_grpc.or(weaker.slow_grpc),
            call_route: self.call_route.or(weaker.call_route),
            call_post: self.call_post.or(weaker.call_post),
            dependency: either(self.dependency, weaker.dependency),
            issuer,
            token,
            audience: self.audience.or(weaker.audience),
            scope: self.scope.or(weaker.scope),
            closed_route: self.closed_route.or(weaker.closed_route),
            scoped_route: self.scoped_route.or(weaker.scoped_route),
            public_route: self.public_route.or(weaker.public_route),
            closed_grpc: self.closed_grpc.or(weaker.closed_grpc),
            scoped_grpc: self.scoped_grpc.or(weaker.scoped_grpc),
            overload: self.overload.or(weaker.overload),
            only: either(self.only, weaker.only),
            timeout: self.timeout.or(weaker.timeout),
            require_all: self.require_all || weaker.require_all,
            profile: self.profile,
            list: self.list,
            junit: self.junit.or(weaker.junit),
            json: self.json.or(weaker.json),
            verbose: self.verbose || weaker.verbose,
        }
    }
}

fn either<T>(stronger: Vec<T>, weaker: Vec<T>) -> Vec<T> {
    if stronger.is_empty() { weaker } else { stronger }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn the_command_line_wins_over_the_profile() {
        let given: Options = toml::from_str("url = 'http://a:1'\nonly = ['ERR']\npid = 7").expect("is valid");
        let profile: Options =
            toml::from_str("url = 'http://b:2'\nroute = '/x'\nonly = ['LIFE']\ncommand = 'shop'")
                .expect("is valid");
        let merged = given.over(profile);
        assert_eq!(merged.url.map(|url| url.authority()).as_deref(), Some("a:1"));
        assert_eq!(merged.only, ["ERR"]);
        assert!(merged.route.is_some());
        assert_eq!((merged.pid, merged.command), (Some(7), None), "one way to a process");
    }

    #[test]
    fn a_wrong_profile_names_the_key_and_what_was_expected() {
        for (wrong, parts) in [
            ("drain-timeout = '5 parsecs'", ["drain-timeout", "`5s`"]),
            ("drain-timout = '5s'", ["drain-timout", "drain-timeout"]),
            ("route = 'products'", ["route", "`METHOD=/path`"]),
            ("bad-config = ['X']", ["bad-config", "`NAME=VALUE`"]),
            ("url = 'ftp://x'", ["url", "http://127.0.0.1:8080"]),
        ] {
            let error = toml::from_str::<Options>(wrong).expect_err(wrong).to_string();
            for part in parts {
                assert!(error.contains(part), "{error}\n should contain {part}");
            }
        }
    }
}
