//! OpenID clients that others wrote, in other languages and in Rust, use the provider as it is: discovery, a login through its page, refresh,
//! client credentials, introspection, revocation.

mod openidconnect;

use std::{
    env,
    future::IntoFuture as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mainstay_auth::issuer::{Algorithm, Client, Config, Grant, Provider, User};
use mainstay_core::task::Tasks;
use tokio::{net::TcpListener, process::Command, time::timeout};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `program` with a script of ours, the URL of a provider that ends with it, and further arguments.
async fn run(
    program: &str,
    script: &str,
    arguments: &[&Path],
    algorithm: Algorithm,
    variables: &[(&str, &Path)],
) {
    let tasks = Tasks::new();
    let issuer = serve(algorithm, &tasks).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign_clients").join(script);
    let mut command = Command::new(program);
    command.arg(&script).arg(&issuer).args(arguments).envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{} does not end", script.display()));
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{}: {}\n{text}", script.display(), output.status);
    assert!(text.ends_with("done\n"), "{text}");
}

/// A provider, until the runtime of the test ends; its URL.
async fn serve(algorithm: Algorithm, tasks: &Tasks) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    let issuer = format!("http://{}", listener.local_addr().expect("it is bound"));
    let config = config(&issuer, algorithm);
    let provider = Provider::open(&config, tasks).await.expect("the configuration is right");
    let app = provider.router().into_make_service_with_connect_info::<SocketAddr>();
    tasks.spawn_detached(axum::serve(listener, app).into_future());
    issuer
}

/// What the scripts know too.
fn config(issuer: &str, algorithm: Algorithm) -> Config {
    let people = [Grant::AuthorizationCode, Grant::RefreshToken];
    let web = Client::with_secret("the secret of web: 100%")
        .with_grants(people)
        .with_grants([Grant::ClientCredentials])
        .with_redirect_uri("https://app.example/back")
        .with_scopes(["openid", "profile", "email", "offline_access", "orders:read"])
        .with_audiences(["orders"]);
    let app = Client::public()
        .with_grants(people)
        .with_redirect_uri("http://127.0.0.1/back")
        .with_scopes(["openid", "offline_access"])
        .without_consent();
    let mut shop = Client::public()
        .with_grants([Grant::AuthorizationCode])
        .with_redirect_uri("http://127.0.0.1/back")
        .with_scopes(["openid", "profile", "email", "orders:read", "orders:write"])
        .with_audiences(["https://orders.of.the.shop.with.a.long.name.example/v1"]);
    shop.name = Some("The shop".to_owned());
    let grace = User::with_password("battery staple");
    let mut ada = User::with_password("correct horse").with_roles(["clerk"]);
    ada.name = Some("Ada Lovelace".to_owned());
    ada.email = Some("ada@example.org".to_owned());
    let mut config = Config::new(issuer)
        .with_client("web", web)
        .with_client("app", app)
        .with_client("shop", shop)
        .with_scope("orders:write", "place and cancel orders")
        .with_user("ada", ada)
        .with_user("grace.hopper.of.the.united.states.navy@a-rather-long-name.example", grace);
    config.keys.algorithm = algorithm;
    config
}

/// The npm packages that the scripts import.
fn modules() -> PathBuf {
    let modules = env::var_os("TEST_NODE_MODULES").map(PathBuf::from);
    modules.expect("TEST_NODE_MODULES is set, as `cargo xtask test` does")
}

#[tokio::test]
async fn authlib_of_python_logs_somebody_in() {
    let python = env::var("TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    // What it allows over `http` has to be said.
    let variables = [("AUTHLIB_INSECURE_TRANSPORT", Path::new("1"))];
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        run(&python, "authlib_client.py", &[], algorithm, &variables).await;
    }
}

#[tokio::test]
async fn openid_client_of_npm_logs_somebody_in() {
    let modules = modules();
    for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
        run("node", "openid_client.mjs", &[], algorithm, &[("TEST_NODE_MODULES", &modules)]).await;
    }
}

#[tokio::test]
async fn people_log_in_with_chromium_at_pages_that_suit_everybody() {
    let profile = tempfile::tempdir().expect("there is room");
    // What the pages looked like stays, for whoever changes them.
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("login");
    std::fs::create_dir_all(&pictures).expect("there is room");
    let arguments = [profile.path(), &pictures];
    let variables: [(&str, &Path); 1] = [("TEST_NODE_MODULES", &modules())];
    run("node", "browser/main.mjs", &arguments, Algorithm::ES256, &variables).await;
}
