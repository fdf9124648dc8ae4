//! The contract, checked from outside: a service built with Mainstay keeps every clause that was asked for. (That the
//! suite finds what a plain service lacks is tested where the suite lives.)

use std::{
    net::TcpListener,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::harness::{Process, binary};

/// The whole suite, process checks included, on a busy machine.
const BOUND: Duration = Duration::from_secs(600);

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

async fn conform(arguments: &[String]) -> Output {
    let mut command = Command::new(binary("mainstay"));
    command.env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
    command.arg("conform").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    timeout(BOUND, command.output()).await.expect("the suite ends").unwrap()
}

/// Runs the suite on `command`, which is started with free ports; all that was asked for must pass. Gives the report.
async fn conforms(command: &str, arguments: &[&str]) -> String {
    let [main, admin, collector] = free_ports();
    let settings = format!(
        "{command} --set server.address=127.0.0.1:{main} --set admin.address=127.0.0.1:{admin} \
         --set drain.delay=1s --set drain.timeout=5s --set server.bounds.header_read=2s \
         --set server.bounds.first_byte=2s --set server.bounds.detect=2s --set server.bounds.body_idle=2s"
    );
    let report = std::env::temp_dir().join(format!("mainstay-conform-{main}.xml"));
    let fixed = [
        format!("http://127.0.0.1:{main}"),
        format!("--admin=http://127.0.0.1:{admin}"),
        format!("--command={settings}"),
        format!("--otlp=http://127.0.0.1:{collector}"),
        "--drain-delay=1s".into(),
        "--drain-timeout=5s".into(),
        "--header-timeout=2s".into(),
        "--bad-config=MAINSTAY_SERVER__BACKLOG=nonsense".into(),
        "--bad-config=MAINSTAY_LIFECYCLE__STOP_TIMEOUT=soon".into(),
        format!("--junit={}", report.display()),
    ];
    let arguments: Vec<String> = fixed.into_iter().chain(arguments.iter().map(ToString::to_string)).collect();
    let output = conform(&arguments).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}\n{said}");
    let report_text = std::fs::read_to_string(&report).unwrap();
    assert!(report_text.contains("<testcase"), "{report_text}");
    std::fs::remove_file(report).unwrap();
    text
}

#[tokio::test]
async fn the_specimen_keeps_every_clause() {
    let specimen = Path::new(env!("CARGO_BIN_EXE_specimen")).display().to_string();
    let arguments = [
        "--route=/hello",
        "--slow-route=/slow?ms=1500",
        "--stream-route=/endless",
        "--slow-grpc=mainstay.specimen.v1.Echo/Rest",
        "--hang-route=/never",
        "--default-deadline=3s",
        "--panic-route=/panic",
        "--json-route=POST=/orders",
        "--json-body={\"item\": \"anvil\", \"quantity\": 1}",
        "--grpc",
        "--grpc-service=mainstay.specimen.v1.Echo",
        "--overload=2000",
        "--call-route=/call",
        "--call-post=POST=/call",
        "--scope=specimen:read specimen:write",
        "--closed-route=/hello",
        "--scoped-route=/scoped",
        "--public-route=/public",
        "--closed-grpc=mainstay.specimen.v1.Echo/Rest",
        "--scoped-grpc=mainstay.specimen.v1.Echo/Fail",
        "--require-all",
    ];
    let (dependencies, places) = stand_ins("dependency");
    let (issuer, tokens) = issuer();
    let arguments = arguments.into_iter().chain(dependencies.iter().map(String::as_str));
    let arguments: Vec<&str> = arguments.chain([issuer.as_str()]).collect();
    // It repeats what is refused, so that CALL 4 can see that it does so once.
    let repeats = "--set 'client.retry.statuses=[503]'";
    let tokens = format!("--set auth.audience=conform --set {tokens}");
    let command = format!("{specimen} {repeats} {tokens} --set request.default_timeout=3s --set '{places}'");
    conforms(&command, &arguments).await;
}

/// Two places where the suite stands in for `service`: the options, and the setting that has it found there.
fn stand_ins(service: &str) -> ([String; 2], String) {
    let urls = free_ports::<2>().map(|port| format!("http://127.0.0.1:{port}"));
    let places = format!("discovery.static.{service}=[\"{}\",\"{}\"]", urls[0], urls[1]);
    (urls.map(|url| format!("--dependency={url}")), places)
}

/// A place where the suite stands in for an issuer: the option, and the setting that has its tokens taken.
fn issuer() -> (String, String) {
    let [url] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    (format!("--issuer={url}"), format!("auth.issuers.conform.issuer={url}"))
}

#[tokio::test]
async fn a_gateway_calls_as_promised() {
    let (dependencies, places) = stand_ins("catalog");
    let arguments =
        ["--call-route=/products", "--call-post=POST=/products", "--only=CALL,DEADLINE.1,TRACE,METRIC"];
    let arguments: Vec<&str> = arguments.into_iter().chain(dependencies.iter().map(String::as_str)).collect();
    conforms(
        &format!("{} --services gateway,identity --set '{places}'", binary("shop").display()),
        &arguments,
    )
    .await;
}

/// The shop, with the routes that misbehave on purpose.
fn shop() -> String {
    format!(
        "{} --set app.gateway.debug=true --set app.payments.failure_rate=0.0 --set request.default_timeout=3s",
        binary("shop").display()
    )
}

/// What the shop answers at its door, in either shape.
const DOOR: [&str; 16] = [
    "--route=/products",
    "--slow-route=/debug/slow?ms=1500",
    "--stream-route=/orders/events",
    "--hang-route=/debug/hang",
    "--default-deadline=3s",
    "--panic-route=/debug/panic",
    "--json-route=POST=/orders",
    "--json-body={\"items\": [{\"sku\": \"mug\", \"quantity\": 1}]}",
    "--grpc",
    "--overload=2000",
    "--audience=shop",
    "--scope=orders:read orders:write",
    "--closed-route=/orders",
    "--scoped-route=/orders",
    "--public-route=/products",
    "--timeout=90s",
];

/// The checks that need a slow or closed gRPC method, which the shop has not at its door, a gRPC service, which neither, or a place
/// beside the whole shop, which another test has.
fn all_but_what_the_door_lacks(report: &str) {
    let skipped: Vec<&str> =
        report.lines().map(str::trim).filter(|line| line.starts_with("skipped ")).collect();
    let lacking = ["AUTH.2.grpc", "DEADLINE.1.grpc", "METRIC.2.grpc", "HEALTH.3.service", "--dependency"];
    let expected = |line: &&str| lacking.iter().any(|lacking| line.contains(lacking));
    assert!(skipped.iter().all(expected), "{skipped:#?}");
}

#[tokio::test]
async fn the_shop_keeps_every_clause_as_one_process() {
    let (issuer, tokens) = issuer();
    let arguments = [&DOOR[..], &[&issuer]].concat();
    all_but_what_the_door_lacks(&conforms(&format!("{} --set {tokens}", shop()), &arguments).await);
}

#[tokio::test]
async fn the_shop_keeps_every_clause_as_five_processes() {
    let program = binary("shop");
    let [catalog] = free_ports();
    let at = |service: &str, process: &Process| {
        format!("discovery.static.{service}=[\"http://{}\"]", process.main)
    };
    let (issuer, tokens) = issuer();
    let identity = Process::start(&program, &["--services", "identity"]).await;
    let to_identity = at("identity", &identity);
    let told = ["--set", &tokens, "--set", &to_identity, "--set", "app.payments.failure_rate=0.0"];
    let only = |service: &'static str| [&["--services", service], &told[..]].concat();
    let payments = Process::start(&program, &only("payments")).await;
    let inventory = Process::start(&program, &only("inventory")).await;
    let (to_payments, to_inventory) = (at("payments", &payments), at("inventory", &inventory));
    let to_catalog = format!("discovery.static.catalog=[\"http://127.0.0.1:{catalog}\"]");
    let found = ["--set", &to_payments, "--set", &to_inventory, "--set", &to_catalog];
    let orders = Process::start(&program, &[&only("orders")[..], &found].concat()).await;

    let door = format!(
        "{} --services gateway,catalog --set services.catalog.address=127.0.0.1:{catalog} --set {tokens} \
         --set '{to_identity}' --set '{}' --set '{}'",
        shop(),
        at("orders", &orders),
        to_inventory,
    );
    let arguments = [&DOOR[..], &[&issuer]].concat();
    all_but_what_the_door_lacks(&conforms(&door, &arguments).await);
}
