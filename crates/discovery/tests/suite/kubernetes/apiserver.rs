//! A stand-in for the API server of Kubernetes, since no real one can be run by a test: EndpointSlices of the namespace
//! `shop`, listed in pages and watched, with a history that can be compacted, as the documentation of the API tells.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

const PATH: &str =
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D";

/// Ends on drop.
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    acceptor: Option<TlsAcceptor>,
    running: Mutex<Option<JoinSet<()>>>,
}

#[derive(Default)]
pub(crate) struct State {
    version: u64,
    slices: BTreeMap<String, Value>,
    history: Vec<(u64, Value)>,
    compacted: u64,
    cuts: u64,
    /// The last version that a watch was told.
    told: u64,
    /// Whether a watch from before the compaction is refused by its status, or by an event.
    pub(crate) refuses_by_event: bool,
    /// Slices in one page.
    pub(crate) page: usize,
    /// Every request is answered with this status, and these headers.
    pub(crate) refuses: Option<(u16, &'static str)>,
    pub(crate) token: String,
    pub(crate) lists: usize,
    pub(crate) watches: usize,
    pub(crate) authorizations: Vec<Option<String>>,
    /// Nothing is answered.
    pub(crate) is_silent: bool,
    /// Sent to each new watch as it is, once.
    pub(crate) garbage: Option<Vec<u8>>,
}

impl ApiServer {
    pub(crate) async fn start(tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.crt"), certified.cert.pem()).unwrap();
        std::fs::write(folder.path().join("token"), "first\n").unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let state = State { version: 1000, page: 500, token: "first".into(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let changed = watch::Sender::new(());
        let acceptor = tls.then_some(acceptor);
        let server = Self { address, folder, state, changed, acceptor, running: Mutex::default() };
        server.run(listener);
        server
    }

    pub(crate) fn stop(&self) {
        *self.running.lock().unwrap() = None;
    }

    /// With what it had.
    pub(crate) async fn restart(&self) {
        loop {
            if let Ok(listener) = TcpListener::bind(self.address).await {
                return self.run(listener);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    fn run(&self, listener: TcpListener) {
        let mut running = JoinSet::new();
        let (shared, sender, acceptor) = (self.state.clone(), self.changed.clone(), self.acceptor.clone());
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, changed, acceptor) = (shared.clone(), sender.subscribe(), acceptor.clone());
                connections.spawn(async move {
                    // What a client does not wait for is its own affair.
                    if let Some(acceptor) = acceptor {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            let _ = serve(stream, &state, changed).await;
                        }
                    } else {
                        let _ = serve(stream, &state, changed).await;
                    }
                });
            }
        });
        *self.running.lock().unwrap() = Some(running);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.state().is_silent = is_silent;
        self.changed.send_replace(());
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds or changes a slice of `orders`.
    pub(crate) fn apply(&self, name: &str, kind: &str, endpoints: Value) {
        self.apply_to("orders", name, kind, endpoints, 8080);
    }

    /// Adds or changes a slice of `service`.
    pub(crate) fn apply_to(&self, service: &str, name: &str, kind: &str, endpoints: Value, port: u16) {
        let mut state = self.state();
        state.version += 7;
        let slice = slice(service, name, state.version, kind, endpoints, port);
        let known = state.slices.insert(name.to_owned(), slice.clone());
        let event = json!({"type": if known.is_some() { "MODIFIED" } else { "ADDED" }, "object": slice});
        let version = state.version;
        state.history.push((version, event));
        drop(state);
        self.changed.send_replace(());
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state().slices.keys().cloned().collect()
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state();
        state.version += 7;
        let mut slice = state.slices.remove(name).unwrap();
        slice["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let version = state.version;
        state.history.push((version, json!({"type": "DELETED", "object": slice})));
        drop(state);
        self.changed.send_replace(());
    }

    /// What changes elsewhere in the cluster: all that watches see of it is a bookmark.
    pub(crate) fn bookmark(&self) {
        let mut state = self.state();
        state.version += 100;
        let version = state.version;
        let object = json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "endpoints": null, "ports": null, "addressType": "",
            "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null},
        });
        state.history.push((version, json!({"type": "BOOKMARK", "object": object})));
        drop(state);
        self.changed.send_replace(());
    }

    /// Forgets the history before the present.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
        state.history.clear();
    }

    /// Whether a watch was told the present.
    pub(crate) fn is_told(&self) -> bool {
        let state = self.state();
        state.told == state.version
    }

    /// Closes every watch in the middle of a chunk.
    pub(crate) fn cut(&self) {
        self.state().cuts += 1;
        self.changed.send_replace(());
    }
}

/// As the controller of a cluster writes them.
fn slice(service: &str, name: &str, version: u64, kind: &str, endpoints: Value, port: u16) -> Value {
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name, "generateName": "orders-", "namespace": "shop", "uid": "8a1c7a4e-9d0b-4b5e-a2f1-5c1f6f3f0d11",
            "resourceVersion": version.to_string(), "generation": 12, "creationTimestamp": "2026-11-20T08:12:45Z",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": service,
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-20T08:13:02Z"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service, "uid": "41c7", "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": [{
                "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "discovery.k8s.io/v1",
                "time": "2026-11-20T08:13:02Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:addressType": {}, "f:endpoints": {}},
            }],
        },
        "addressType": kind,
        "endpoints": endpoints,
        "ports": [{"name": "http", "protocol": "TCP", "port": port}, {"name": "metrics", "protocol": "TCP", "port": 9090}],
    })
}

/// One of a slice's endpoints.
pub(crate) fn endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> Value {
    json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": format!("orders-{address}"), "uid": format!("uid-{address}")},
        "nodeName": "node-3", "zone": "north",
    })
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code,
    })
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    state: &Mutex<State>,
    mut changed: watch::Receiver<()>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ").map(str::to_owned));
    let gone = status(410, "Expired", "too old resource version: 1 (1000)");
    let silence = async |mut changed: watch::Receiver<()>| {
        while state.lock().unwrap().is_silent && changed.changed().await.is_ok() {}
    };
    silence(changed.clone()).await;
    let rest = target.strip_prefix(PATH).unwrap_or_default();
    let (service, _) = rest.split_once('&').unwrap_or_default();
    let service = service.to_owned();
    let is_of_service = |object: &Value| {
        let labels = &object["metadata"]["labels"];
        labels.is_null() || labels["kubernetes.io/service-name"] == *service
    };
    let (refusal, at, garbage, mut cuts) = {
        let mut state = state.lock().unwrap();
        state.authorizations.push(token.clone());
        let query = target
            .strip_prefix(PATH)
            .and_then(|rest| rest.split_once('&'))
            .map(|(_, query)| query.to_owned());
        let parameter = |name: &str| {
            let query = query.as_deref().unwrap_or_default();
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        let refusal = match (state.refuses, &query) {
            (Some((code, headers)), _) => Some((code, headers, status(code, "", "not now"))),
            (None, None) => {
                Some((404, "", status(404, "NotFound", "the server could not find the requested resource")))
            }
            _ if token.as_ref().is_some_and(|token| *token != state.token) => {
                Some((401, "", status(401, "Unauthorized", "Unauthorized")))
            }
            _ if parameter("watch").is_none() => {
                state.lists += 1;
                let begin: usize = parameter("continue")
                    .map_or(0, |token| token.strip_prefix("page%2F").unwrap().parse().unwrap());
                let slices: Vec<_> =
                    state.slices.values().filter(|slice| is_of_service(slice)).cloned().collect();
                let items: Vec<_> = slices.iter().skip(begin).take(state.page).collect();
                let end = begin + items.len();
                let next = if end < slices.len() { format!("page/{end}") } else { String::new() };
                let list = json!({
                    "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
                    "metadata": {"resourceVersion": state.version.to_string(), "continue": next}, "items": items,
                });
                Some((200, "", list))
            }
            _ => {
                assert_eq!(parameter("allowWatchBookmarks").as_deref(), Some("true"), "{target}");
                assert!(parameter("timeoutSeconds").is_some(), "{target}");
                state.watches += 1;
                None
            }
        };
        let at: u64 = parameter("resourceVersion").map_or(0, |version| version.parse().unwrap());
        let refusal = match refusal {
            None if at < state.compacted && !state.refuses_by_event => Some((410, "", gone.clone())),
            refusal => refusal,
        };
        let garbage = if refusal.is_none() { state.garbage.take() } else { None };
        (refusal, at, garbage, state.cuts)
    };
    if let Some((code, headers, body)) = refusal {
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        return stream.shutdown().await;
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    if let Some(garbage) = garbage {
        chunk(&mut stream, &garbage).await?;
        stream.write_all(b"0\r\n\r\n").await?;
        return stream.shutdown().await;
    }
    let mut at = at;
    loop {
        silence(changed.clone()).await;
        let (events, is_cut) = {
            let state = state.lock().unwrap();
            let events: Vec<_> = if at < state.compacted {
                vec![(at, json!({"type": "ERROR", "object": gone}))]
            } else {
                state
                    .history
                    .iter()
                    .filter(|(version, event)| *version > at && is_of_service(&event["object"]))
                    .cloned()
                    .collect()
            };
            (events, std::mem::replace(&mut cuts, state.cuts) != state.cuts)
        };
        if is_cut {
            return stream.write_all(b"ff\r\n{\"type\":\"MOD").await;
        }
        for (version, event) in events {
            chunk(&mut stream, format!("{event}\n").as_bytes()).await?;
            at = version;
            state.lock().unwrap().told = version;
            if event["type"] == "ERROR" {
                stream.write_all(b"0\r\n\r\n").await?;
                return stream.shutdown().await;
            }
        }
        if changed.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// In two pieces, so that events are split anywhere.
async fn chunk<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> std::io::Result<()> {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    for piece in [one, other] {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(piece).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await?;
    }
    Ok(())
}
