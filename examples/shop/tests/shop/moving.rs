//! The shop as many processes that find each other by gossip alone: no addresses written down, no server. Processes are
//! killed, added and moved while customers come through the door; then the services' own books are compared.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    process::{Process, set},
    shop::token,
};

/// Two copies of each; and one door.
const SERVICES: [&str; 4] = ["catalog", "orders", "inventory", "payments"];
const READERS: usize = 3;
const BUYERS: usize = 2;
/// Longer than any request may take here.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fleet {
    directory: TempDir,
    /// Where the first process receives gossip; the others take any port, and begin there.
    meeting_point: SocketAddr,
}

impl Fleet {
    fn new() -> Self {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { directory: tempfile::tempdir().unwrap(), meeting_point: free }
    }

    /// A process with this service on a port that the system chooses, ready.
    fn start(&self, service: &str) -> Process {
        let meeting_point = self.meeting_point.to_string();
        let mut arguments = vec!["--services".to_owned(), service.to_owned()];
        arguments.extend(set(&[
            ("discovery.registry", "gossip"),
            ("discovery.gossip.address", &meeting_point),
            ("discovery.gossip.seeds", &meeting_point),
            ("drain.delay", "500ms"),
        ]));
        let database = self.database(service);
        match service {
            "orders" => arguments.extend(set(&[("app.orders.recover_after", "10s")])),
            "inventory" => arguments.extend(set(&[("app.inventory.stock.mug", "1000000")])),
            "payments" => {
                arguments.extend(set(&[("app.payments.failure_rate", "0.0"), ("app.payments.delay", "10ms")]))
            }
            _ => {}
        }
        if ["orders", "inventory", "payments"].contains(&service) {
            arguments.extend(set(&[(&format!("app.{service}.database"), &database)]));
        }
        let mut process = Process::shop(&arguments);
        process.find("readiness", |line| line.contains(r#""body":"ready""#).then_some(()));
        process
    }

    fn database(&self, service: &str) -> String {
        self.directory.path().join(format!("{service}.db")).display().to_string()
    }

    async fn books(&self, service: &str) -> SqlitePool {
        SqlitePool::connect_with(SqliteConnectOptions::new().filename(self.database(service))).await.unwrap()
    }
}

/// Where the shop is open, and what opens it.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    token: String,
}

/// One request on a connection of its own: nothing on this side of the door sends anything twice.
async fn ask(door: &Door, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
    let lines = format!("authorization: Bearer {}\r\n", door.token);
    ask_with(door.address, method, path, "application/json", &lines, body).await
}

/// With more header lines, each with its end.
pub(crate) async fn ask_with(
    door: SocketAddr,
    method: &str,
    path: &str,
    content_type: &str,
    lines: &str,
    body: &str,
) -> Result<(u16, String), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(door).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n{lines}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(PATIENCE, exchange).await.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("not an answer: {answer}"))?, answer))
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    read: AtomicU64,
    refused: AtomicU64,
}

/// Looks at things, again and again; what went wrong.
async fn read(door: Door, counts: Arc<Counts>) -> Vec<String> {
    let mut failures = Vec::new();
    for path in ["/products", "/orders?limit=1", "/products/mug"].into_iter().cycle() {
        if counts.stop.load(Ordering::Relaxed) {
            break;
        }
        match ask(&door, "GET", path, "").await {
            Ok((200, _)) => {
                counts.read.fetch_add(1, Ordering::Relaxed);
            }
            other => failures.push(format!("GET {path}: {other:?}")),
        }
        sleep(Duration::from_millis(10)).await;
    }
    failures
}

/// Buys a mug, again and again, each paid for by another token; the ids of the orders that were said to be paid.
async fn buy(door: Door, buyer: usize, counts: Arc<Counts>) -> Vec<String> {
    let mut placed = Vec::new();
    for number in 0.. {
        if counts.stop.load(Ordering::Relaxed) {
            break;
        }
        let body =
            format!(r#"{{"items":[{{"sku":"mug","quantity":1}}],"payment_token":"tok_{buyer}_{number}"}}"#);
        match ask(&door, "POST", "/orders", &body).await {
            Ok((201, answer)) => {
                let id = answer.lines().find_map(|line| line.strip_prefix("location: /orders/"));
                placed.push(id.unwrap_or_else(|| panic!("no location: {answer}")).trim().to_owned());
            }
            // It may have been placed or not: nobody may send it again to find out.
            _ => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    placed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_killed_added_and_moved_and_nothing_is_lost_or_doubled() {
    let fleet = Fleet::new();
    // Alone, since it keeps what it knows in memory; whoever takes its tokens is ready once it has its keys.
    let _identity = fleet.start("identity");
    let mut copies: Vec<_> =
        SERVICES.iter().map(|service| [fleet.start(service), fleet.start(service)]).collect();
    let mut gateway = fleet.start("gateway");
    let address: SocketAddr = gateway
        .find("address", |line| line.strip_prefix("The shop is open at ").map(str::to_owned))
        .trim_start_matches("http://")
        .parse()
        .unwrap();

    let door = Door { address, token: token(address).await };

    let counts = Arc::new(Counts::default());
    let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(read(door.clone(), counts.clone()))).collect();
    let buyers: Vec<_> =
        (0..BUYERS).map(|buyer| tokio::spawn(buy(door.clone(), buyer, counts.clone()))).collect();
    sleep(Duration::from_secs(1)).await;

    // The first process of all is the one that the others were told to begin with: it goes first.
    for (service, copies) in SERVICES.iter().zip(&mut copies) {
        let added = fleet.start(service);
        let [killed, moved] = std::mem::replace(copies, [added, fleet.start(service)]);
        killed.kill();
        // Still listed, for a while, by those that have not noticed.
        sleep(Duration::from_secs(4)).await;
        moved.terminate();
        moved.ends_well();
    }
    sleep(Duration::from_secs(1)).await;
    counts.stop.store(true, Ordering::Relaxed);

    let mut failures = Vec::new();
    for reader in readers {
        failures.extend(reader.await.unwrap());
    }
    let mut placed = Vec::new();
    for buyer in buyers {
        placed.extend(buyer.await.unwrap());
    }
    let (read, refused) = (counts.read.load(Ordering::Relaxed), counts.refused.load(Ordering::Relaxed));
    println!("{read} read, {} bought, {refused} refused or in doubt", placed.len());
    assert!(failures.is_empty(), "{} of {read}: {:#?}", failures.len(), &failures[..failures.len().min(5)]);
    assert!(read > 100 && placed.len() > 10, "{read} read, {} bought", placed.len());

    let (orders, payments) = (fleet.books("orders").await, fleet.books("payments").await);
    let settled = async {
        // An order whose process was killed is undone later.
        while sqlx::query_scalar::<_, i64>("SELECT count(*) FROM orders WHERE status = 'pending'")
            .fetch_one(&orders)
            .await
            .unwrap()
            > 0
        {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("no order stays pending");
    let ids = async |books: &SqlitePool, table: &str| -> BTreeSet<String> {
        let paid = format!("SELECT id FROM {table} WHERE status = 'paid'");
        sqlx::query_scalar(sqlx::AssertSqlSafe(paid)).fetch_all(books).await.unwrap().into_iter().collect()
    };
    let (ordered, paid) = (ids(&orders, "orders").await, ids(&payments, "payments").await);
    assert_eq!(ordered, paid, "what is ordered is paid, and the other way round");
    let lost: Vec<_> = placed.iter().filter(|id| !ordered.contains(*id)).collect();
    assert!(lost.is_empty(), "the customer was told that they are placed: {lost:?}");
    let doubled: Vec<String> = sqlx::query_scalar(
        "SELECT token FROM payments WHERE status = 'paid' GROUP BY token HAVING count(*) > 1",
    )
    .fetch_all(&payments)
    .await
    .unwrap();
    assert!(doubled.is_empty(), "paid twice: {doubled:?}");

    for process in copies.into_iter().flatten().chain([gateway]) {
        process.terminate();
        process.ends_well();
    }
}
