//! A stand-in for an agent of Consul, since no real one can be had by a test: a server and agent in one, written from
//! the documentation of its HTTP API.
//!
//! Services with TTL checks, blocking queries with an index for each service, tokens, an agent that keeps its services
//! and the state of their checks over a restart and has no leader for a moment after it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// After a start, until there is a leader.
const LEADERLESS: Duration = Duration::from_millis(200);

/// Ends on drop.
pub(crate) struct Agent {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    running: Mutex<Option<JoinSet<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    is_paused: watch::Sender<bool>,
}

#[derive(Default)]
pub(crate) struct State {
    index: u64,
    services: BTreeMap<String, Service>,
    /// When each name was last changed, those without instances included.
    indexes: BTreeMap<String, u64>,
    started: Option<Instant>,
    /// What stands in each list of a service beside its instances.
    pub(crate) garbage: Vec<Value>,
    /// The tokens and what they may; without any, ACLs are off.
    pub(crate) tokens: BTreeMap<String, Rights>,
    /// Every request is answered with this status and this text.
    pub(crate) refuses: Option<(u16, &'static str)>,
    /// A fault of older versions: the index of a query is zero.
    pub(crate) says_zero: bool,
    /// The requests, as they came.
    pub(crate) asked: Vec<String>,
}

#[derive(Default, Clone, Copy)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

struct Service {
    registered: Value,
    check: Option<Check>,
}

struct Check {
    id: String,
    ttl: Duration,
    reaped_after: Duration,
    /// `Err`: since when it is critical.
    passing_until: Result<Instant, Instant>,
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Agent {
    pub(crate) async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State { index: 1000, ..State::default() });
        let shared = Shared { state, changed: watch::Sender::new(()), is_paused: watch::Sender::new(false) };
        let agent = Self { address, tls, shared: Arc::new(shared), running: Mutex::default() };
        agent.serve(listener);
        agent
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    pub(crate) fn stop(&self) {
        *self.running.lock().unwrap() = None;
    }

    /// Again; services and checks are as they were on the disk.
    pub(crate) async fn restart(&self) {
        {
            let (mut state, now) = (self.state(), Instant::now());
            for check in state.services.values_mut().filter_map(|service| service.check.as_mut()) {
                if let Ok(until) = check.passing_until {
                    // The state of a check is restored if it has not run out meanwhile.
                    check.passing_until = if until > now { Ok(now + check.ttl) } else { Err(now) };
                }
            }
            state.started = Some(now);
        }
        loop {
            if let Ok(listener) = TcpListener::bind(self.address).await {
                return self.serve(listener);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// All data of the server are gone, with the counting of its changes.
    pub(crate) fn wipe(&self) {
        let mut state = self.state();
        *state = State { index: 10, ..State::default() };
    }

    pub(crate) fn pause(&self, is_paused: bool) {
        self.shared.is_paused.send_replace(is_paused);
    }

    /// An agent that comes back without what was registered with it, while the servers go on.
    pub(crate) fn lose_registrations(&self) {
        let ids: Vec<_> = self.state().services.keys().cloned().collect();
        for id in ids {
            self.state().remove(&id);
        }
        self.shared.changed.send_replace(());
    }

    /// The servers restore an older snapshot: counting goes on from there.
    pub(crate) fn rewind(&self) {
        let mut state = self.state();
        state.index -= 500;
        let at = state.index;
        state.indexes.values_mut().for_each(|index| *index = at);
        drop(state);
        self.shared.changed.send_replace(());
    }

    /// Registers a service without a check, as other programs do.
    pub(crate) fn register(&self, registration: Value) {
        let answer = self.state().register(&registration);
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.shared.changed.send_replace(());
    }

    /// Something is wrong in every list from now on.
    pub(crate) fn spoil(&self, garbage: Vec<Value>) {
        let mut state = self.state();
        state.garbage = garbage;
        state.index += 1;
        let at = state.index;
        state.indexes.values_mut().for_each(|index| *index = at);
        drop(state);
        self.shared.changed.send_replace(());
    }

    fn serve(&self, listener: TcpListener) {
        let mut running = JoinSet::new();
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (shared, tls) = (shared.clone(), tls.clone());
                // What a client does not wait for is its own affair.
                connections.spawn(async move {
                    match tls {
                        None => drop(exchange(stream, &shared).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(exchange(stream, &shared).await);
                            }
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        let shared = self.shared.clone();
        running.spawn(async move {
            loop {
                sleep(Duration::from_millis(20)).await;
                if shared.state.lock().unwrap().look_at_checks() {
                    shared.changed.send_replace(());
                }
            }
        });
        *self.running.lock().unwrap() = Some(running);
    }
}

impl State {
    fn touch(&mut self, name: &str) {
        self.index += 1;
        self.indexes.insert(name.to_owned(), self.index);
    }

    fn name_of(&self, id: &str) -> String {
        self.services[id].registered["Name"].as_str().unwrap().to_owned()
    }

    fn remove(&mut self, id: &str) {
        let name = self.name_of(id);
        self.services.remove(id);
        self.touch(&name);
    }

    /// Whether a check has become critical, or a service was forgotten for that.
    fn look_at_checks(&mut self) -> bool {
        let now = Instant::now();
        let (mut changed, mut reaped) = (Vec::new(), Vec::new());
        for (id, service) in &mut self.services {
            let Some(check) = &mut service.check else { continue };
            match check.passing_until {
                Ok(until) if until <= now => {
                    check.passing_until = Err(now);
                    changed.push(service.registered["Name"].as_str().unwrap().to_owned());
                }
                Err(since) if since + check.reaped_after <= now => reaped.push(id.clone()),
                _ => {}
            }
        }
        let is_news = !changed.is_empty() || !reaped.is_empty();
        changed.iter().for_each(|name| self.touch(name));
        reaped.iter().for_each(|id| self.remove(id));
        is_news
    }

    fn register(&mut self, registration: &Value) -> Answer {
        let text = |key: &str| registration[key].as_str().unwrap_or_default().to_owned();
        let (name, id) = (text("Name"), text("ID"));
        if name.is_empty() {
            return Answer::text(400, "Missing service name");
        }
        let in_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let meta = registration["Meta"].as_object().cloned().unwrap_or_default();
        let is_meta = |(key, value): (&String, &Value)| {
            let value = value.as_str().unwrap();
            let is_key = !key.is_empty() && key.len() <= 128 && key.bytes().all(in_key);
            is_key && !key.starts_with("consul-") && value.len() <= 512
        };
        if meta.len() > 64 || !meta.iter().all(is_meta) {
            return Answer::text(400, "Invalid Service Meta: Node metadata is malformed");
        }
        let passing = registration["Weights"]["Passing"].as_u64().unwrap_or(1);
        if !(1..=65535).contains(&passing) {
            return Answer::text(400, "Invalid Weights: Passing must be greater than 0 and less than 65536");
        }
        let check = registration.get("Check").map(|check| Check {
            id: check["CheckID"].as_str().unwrap().to_owned(),
            ttl: duration(&check["TTL"]),
            // Raised to what it is at least.
            reaped_after: duration(&check["DeregisterCriticalServiceAfter"]).max(Duration::from_secs(60)),
            passing_until: match check["Status"].as_str() {
                Some("passing") => Ok(Instant::now() + duration(&check["TTL"])),
                _ => Err(Instant::now()),
            },
        });
        let id = if id.is_empty() { name.clone() } else { id };
        self.services.insert(id, Service { registered: registration.clone(), check });
        self.touch(&name);
        Answer::text(200, "")
    }

    fn pass(&mut self, id: &str) -> Answer {
        let mut services = self.services.values_mut();
        let found = services.find(|service| service.check.as_ref().is_some_and(|check| check.id == id));
        let Some(service) = found else {
            let said =
                format!("Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name.");
            return Answer::text(404, &said);
        };
        let name = service.registered["Name"].as_str().unwrap().to_owned();
        let check = service.check.as_mut().unwrap();
        let was = std::mem::replace(&mut check.passing_until, Ok(Instant::now() + check.ttl));
        if was.is_err() {
            self.touch(&name);
        }
        Answer::text(200, "")
    }

    fn instances(&self, name: &str) -> Value {
        let of_name = |(_, service): &(&String, &Service)| service.registered["Name"] == name;
        let instance = |(id, service): (&String, &Service)| {
            let mut told = service.registered.clone();
            let object = told.as_object_mut().unwrap();
            object.remove("Check");
            object.remove("Name");
            object.insert("ID".into(), json!(id));
            object.insert("Service".into(), json!(name));
            object.insert("Tags".into(), json!([]));
            object.insert("EnableTagOverride".into(), json!(false));
            object.entry("Weights").or_insert_with(|| json!({"Passing": 1, "Warning": 1}));
            object.entry("Meta").or_insert(Value::Null);
            let mut checks = vec![json!({
                "Node": "agent-one", "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing",
                "Notes": "", "Output": "Agent alive and reachable", "ServiceID": "", "ServiceName": "",
            })];
            if let Some(check) = &service.check {
                checks.push(json!({
                    "Node": "agent-one", "CheckID": check.id, "Name": "renewed by the process", "Notes": "",
                    "Status": if check.passing_until.is_ok() { "passing" } else { "critical" },
                    "Output": "TTL expired (last output before timeout follows): ", "ServiceID": id,
                    "ServiceName": name,
                }));
            }
            json!({
                "Node": {
                    "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "agent-one", "Address": "10.9.9.9",
                    "Datacenter": "dc1", "TaggedAddresses": {"lan": "10.9.9.9"}, "Meta": {"consul-network-segment": ""},
                },
                "Service": told,
                "Checks": checks,
            })
        };
        let instances = self.services.iter().filter(of_name).map(instance);
        instances.chain(self.garbage.iter().cloned()).collect()
    }
}

impl Answer {
    fn text(status: u16, body: &str) -> Self {
        Self { status, headers: String::new(), body: body.to_owned() }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    let _ = shared.is_paused.subscribe().wait_for(|is_paused| !is_paused).await;
    let request = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    shared.state.lock().unwrap().asked.push(request.clone());
    let answer = answer(shared, &request, header("x-consul-token").unwrap_or_default(), &body).await;
    let _ = shared.is_paused.subscribe().wait_for(|is_paused| !is_paused).await;
    let head = format!(
        "HTTP/1.1 {} X\r\n{}content-length: {}\r\n\r\n",
        answer.status,
        answer.headers,
        answer.body.len()
    );
    stream.write_all((head + &answer.body).as_bytes()).await?;
    stream.shutdown().await
}

async fn answer(shared: &Shared, request: &str, token: String, body: &[u8]) -> Answer {
    let (path, query) = request.split_once('?').unwrap_or((request, ""));
    let parameter = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let all = Rights { read: true, write: true };
    let rights = {
        let state = shared.state.lock().unwrap();
        if let Some((status, said)) = state.refuses {
            return Answer::text(status, said);
        }
        match state.tokens.get(&token).copied() {
            _ if state.tokens.is_empty() => all,
            Some(rights) => rights,
            None if token.is_empty() => Rights::default(),
            None => return Answer::text(403, "ACL not found"),
        }
    };
    if path.starts_with("PUT /v1/agent/") {
        if !rights.write {
            return Answer::text(
                403,
                "Permission denied: token with AccessorID '1c2a' lacks permission 'service:write' on \"orders\"",
            );
        }
        let decoded = path.replace("%3A", ":");
        let mut state = shared.state.lock().unwrap();
        let answer = if path == "PUT /v1/agent/service/register" {
            state.register(&serde_json::from_slice(body).unwrap())
        } else if let Some(id) = decoded.strip_prefix("PUT /v1/agent/check/pass/") {
            state.pass(id)
        } else if let Some(id) = decoded.strip_prefix("PUT /v1/agent/service/deregister/") {
            if state.services.contains_key(id) {
                state.remove(id);
                Answer::text(200, "")
            } else {
                let said = format!(
                    "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
                );
                Answer::text(404, &said)
            }
        } else {
            Answer::text(404, "")
        };
        drop(state);
        shared.changed.send_replace(());
        return answer;
    }
    if shared.state.lock().unwrap().started.is_some_and(|started| started.elapsed() < LEADERLESS) {
        return Answer::text(500, "No cluster leader");
    }
    if path == "GET /v1/catalog/services" {
        let state = shared.state.lock().unwrap();
        let names = state.services.values().map(|service| service.registered["Name"].as_str().unwrap());
        let names: BTreeMap<_, _> =
            names.map(|name| (name, json!([]))).chain([("consul", json!([]))]).collect();
        return Answer::text(200, &json!(names).to_string());
    }
    let Some(name) = path.strip_prefix("GET /v1/health/service/") else { return Answer::text(404, "") };
    let after: u64 = parameter("index").map_or(0, |index| index.parse().unwrap());
    let wait = parameter("wait").map_or(Duration::from_secs(300), |wait| duration(&json!(wait)));
    let until = Instant::now() + wait + wait.mul_f64(1.0 / 32.0);
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        {
            let state = shared.state.lock().unwrap();
            // A name that was never there has the index of all services.
            let at = state.indexes.get(name).copied().unwrap_or(state.index);
            // An index from before the counting began anew is waited for in vain.
            if after == 0 || at > after || Instant::now() >= until {
                let instances = state.instances(name);
                let hides = !rights.read && instances != json!([]);
                let at = if state.says_zero { 0 } else { at };
                let mut headers = format!(
                    "content-type: application/json\r\nX-Consul-Index: {at}\r\nX-Consul-KnownLeader: true\r\n\
                     X-Consul-LastContact: 0\r\n"
                );
                // Nothing is told to those who show no token.
                if hides && !token.is_empty() {
                    headers += "X-Consul-Results-Filtered-By-ACLs: true\r\n";
                }
                let body = if rights.read { instances.to_string() } else { "[]".to_owned() };
                return Answer { status: 200, headers, body };
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        let _ = timeout(left, changed.changed()).await;
    }
}

/// Of those that Go writes, the ones in milliseconds.
fn duration(text: &Value) -> Duration {
    let text = text.as_str().unwrap();
    Duration::from_millis(text.strip_suffix("ms").expect(text).parse().unwrap())
}
