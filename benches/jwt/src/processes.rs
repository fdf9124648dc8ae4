//! Servers as processes of their own, Envoy's `jwt_authn` among them.

use std::{
    error::Error,
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use mainstay_auth::{AuthenticateLayer, Config, Issuer, Require, Verifier};
use mainstay_core::task::Tasks;
use serde_json::{Value, json};

use crate::tokens;

const ROUNDS: usize = 5;
const SECONDS: u64 = 3;

/// Answers to who has a token of `keys`, or to everybody where that is empty; on one thread.
pub(crate) fn serve(keys: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut router = Router::new().route("/", get(|| async { "ok" }));
        let tasks = Tasks::new();
        if !keys.is_empty() {
            let config = Config::new(["orders"])
                .with_issuer("main", Issuer::new("https://id.example").with_jwks(keys));
            router = router
                .layer(Require::scope("orders:write"))
                .layer(AuthenticateLayer::new(Verifier::open(&config, &tasks).await?));
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        Ok(axum::serve(listener, router).await?)
    })
}

/// Prints what a request costs each.
pub(crate) fn compare(envoy: &str) -> Result<(), Box<dyn Error>> {
    println!("| algorithm | server | CPU µs | of them for the token |\n|---|---|---:|---:|");
    let [rs256, es256, _] = tokens::all()?;
    for signed in [rs256, es256] {
        let keys = json!({ "keys": [&signed.jwk] }).to_string();
        let mut servers = [
            ("axum", Server::ours("")?, Vec::new()),
            ("axum, `AuthenticateLayer`, `Require`", Server::ours(&keys)?, Vec::new()),
            ("Envoy", Server::envoy(envoy, "", 0)?, Vec::new()),
            ("Envoy, `jwt_authn`", Server::envoy(envoy, &keys, 0)?, Vec::new()),
            ("Envoy, `jwt_authn` with `jwt_cache_config`", Server::envoy(envoy, &keys, 1000)?, Vec::new()),
        ];
        for _ in 0..ROUNDS {
            for (_, server, costs) in &mut servers {
                costs.push(server.cost(&signed.token)?);
            }
        }
        let mut bare = 0.0;
        for (name, _, costs) in &mut servers {
            costs.sort_by(f64::total_cmp);
            let median = costs[ROUNDS / 2];
            let algorithm = signed.algorithm;
            if name.contains(',') {
                println!("| {algorithm:?} | {name} | {median:.1} | {:.1} |", median - bare);
            } else {
                bare = median;
                println!("| {algorithm:?} | {name} | {median:.1} | |");
            }
        }
    }
    Ok(())
}

/// A process on processor 0; ended when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn ours(keys: &str) -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?;
        let mut child = pinned(0).arg(program).args(["serve", keys]).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no standard output")?).read_line(&mut line)?;
        Ok(Self { port: line.trim().parse()?, child })
    }

    fn envoy(program: &str, keys: &str, remembered: u32) -> Result<Self, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = configuration(port, keys, remembered).to_string();
        let arguments = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"];
        let child = pinned(0).arg(program).args(arguments).args(["--config-yaml", &config]).spawn()?;
        let server = Self { child, port };
        let until = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err("Envoy does not listen".into());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Processor time of one request with `token`, in microseconds.
    fn cost(&self, token: &str) -> Result<f64, Box<dyn Error>> {
        let before = self.used()?;
        let output = pinned(1)
            .args(["h2load", "--h1", "-c", "8", "-D", &SECONDS.to_string()])
            .args(["-H", &format!("authorization: Bearer {token}")])
            .arg(format!("http://127.0.0.1:{}/", self.port))
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let counts =
            text.lines().find(|line| line.starts_with("status codes:")).ok_or("no counts of h2load")?;
        let counts: Vec<u64> = counts.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        let [good, 0, 0, 0] = counts[..] else { return Err(format!("not all were answered: {text}").into()) };
        Ok((self.used()? - before).as_secs_f64() * 1e6 / good as f64)
    }

    fn used(&self) -> Result<Duration, Box<dyn Error>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may have anything in it: user and system time are the 12th and 13th field, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(10 * ticks))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pinned(processor: u8) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &processor.to_string()]).stdin(Stdio::null());
    command
}

/// One listener that answers by itself, with `jwt_authn` before that where there are keys.
fn configuration(port: u16, keys: &str, remembered: u32) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let mut filters = vec![json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": kind("http.router.v3.Router") },
    })];
    if !keys.is_empty() {
        let mut provider = json!({
            "issuer": "https://id.example", "audiences": ["orders"], "local_jwks": { "inline_string": keys },
        });
        if remembered > 0 {
            provider["jwt_cache_config"] = json!({ "jwt_cache_size": remembered });
        }
        filters.insert(
            0,
            json!({
                "name": "envoy.filters.http.jwt_authn",
                "typed_config": {
                    "@type": kind("http.jwt_authn.v3.JwtAuthentication"),
                    "providers": { "main": provider },
                    "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "main" } }],
                },
            }),
        );
    }
    let answer = json!({ "status": 200, "body": { "inline_string": "ok" } });
    json!({ "static_resources": { "listeners": [{
        "name": "main",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "main",
                "http_filters": filters,
                "route_config": { "virtual_hosts": [{
                    "name": "main", "domains": ["*"],
                    "routes": [{ "match": { "prefix": "/" }, "direct_response": answer }],
                }] },
            },
        }] }],
    }] } })
}
