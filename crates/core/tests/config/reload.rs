//! Changes while the program runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::config::{ByteSize, Keys, Loaded, Loader, Reload, Section};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::settings::{Directory, Level, Settings};

fn load(directory: &Directory) -> Loaded {
    directory.loader().load().unwrap_or_else(|errors| panic!("{errors}"))
}

fn names(keys: &[mainstay_core::config::Key]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

#[test]
fn a_reloadable_key_changes_and_the_others_wait_for_the_restart() {
    let directory = Directory::with(&[("mainstay.toml", "[server]\nname = \"old\"\n")]);
    let loaded = load(&directory);
    let (watched, reloader) = (loaded.watch::<Settings>(""), loaded.reloader());
    assert_eq!(reloader.reload(), Reload::Unchanged);

    directory.write(
        "mainstay.toml",
        "[server]\nname = \"new\"\nbody_limit = \"1MiB\"\n[log]\nlevel = \"debug\"\n",
    );
    let Reload::Applied { changed, restart } = reloader.reload() else { panic!("not applied") };
    assert_eq!(names(&changed), ["log.level", "server.body_limit"]);
    assert_eq!(names(&restart), ["server.name"]);
    assert_eq!(watched.load().log.level, Level::Debug);
    assert_eq!(watched.load().server.body_limit, ByteSize::from_mib(1));
    assert_eq!(watched.load().server.name, "old");
    // What is shown is what is in use.
    let shown = loaded.view().to_toml();
    assert!(shown.contains("name = \"old\"") && shown.contains("level = \"debug\""), "{shown}");

    // A key taken out again falls back to its default.
    directory.write("mainstay.toml", "[server]\nname = \"old\"\nbody_limit = \"1MiB\"\n");
    let Reload::Applied { changed, restart } = reloader.reload() else { panic!("not applied") };
    assert_eq!((names(&changed), names(&restart)), (vec!["log.level".to_owned()], vec![]));
    assert_eq!(watched.load().log.level, Level::Info);
}

#[test]
fn a_wrong_change_is_refused_whole() {
    let directory = Directory::with(&[("mainstay.toml", "[log]\nlevel = \"warn\"\n")]);
    let loaded = load(&directory);
    let (watched, reloader) = (loaded.watch::<Settings>(""), loaded.reloader());
    for wrong in ["[log]\nlevel = \"debug\"\n[server]\nadress = 1\nconnections = -1\n", "[log\n"] {
        directory.write("mainstay.toml", wrong);
        let Reload::Refused(errors) = reloader.reload() else { panic!("not refused") };
        assert!(!errors.findings().is_empty());
        assert_eq!(watched.load().log.level, Level::Warn);
    }
    directory.write("mainstay.toml", "[log]\nlevel = \"error\"\n");
    assert!(matches!(reloader.reload(), Reload::Applied { .. }));
    assert_eq!(watched.load().log.level, Level::Error);
}

/// Writes down the warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        struct Fields(String);

        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }

        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_refused_change_is_one_warning_of_one_line_with_every_error() {
    let directory = Directory::with(&[]);
    let loaded = load(&directory);
    directory
        .write("mainstay.toml", "[server]\nadress = 1\nconnections = -1\n[tokens]\nci = [\"hunter2\"]\n");
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || loaded.reloader().reload());
    let warnings = warnings.0.lock().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for told in ["server.adress: unknown key", "mainstay.toml:2", "server.connections", "tokens.ci"] {
        assert!(warnings[0].contains(told), "{warnings:?}");
    }
    assert!(!warnings[0].contains("hunter2") && !warnings[0].contains('\n'), "{warnings:?}");
}

#[test]
fn a_changed_secret_is_a_change_although_it_looks_the_same() {
    let directory = Directory::with(&[("mainstay.toml", "[tokens]\nci = \"first\"\n")]);
    let loaded = load(&directory);
    let reloader = loaded.reloader();
    directory.write("mainstay.toml", "[tokens]\nci = \"second\"\n");
    let Reload::Applied { changed, .. } = reloader.reload() else { panic!("not applied") };
    assert_eq!(names(&changed), ["tokens.ci"]);
    assert_eq!(loaded.get::<Settings>("").tokens["ci"].expose(), "second");
}

#[test]
fn values_that_do_not_go_with_those_that_stay_are_refused() {
    let directory = Directory::with(&[("mainstay.toml", "[drain]\ndelay = \"1s\"\n")]);
    let loaded = load(&directory);
    directory.write("mainstay.toml", "[drain]\ndelay = \"1h\"\ntimeout = \"1m\"\n");
    assert!(matches!(loaded.reloader().reload(), Reload::Refused(_)));
    // Right by themselves, but not reloadable: they stay.
    directory.write("mainstay.toml", "[drain]\ndelay = \"1h\"\ntimeout = \"2h\"\n");
    let Reload::Applied { changed, restart } = loaded.reloader().reload() else { panic!("not applied") };
    assert_eq!(
        (names(&changed), names(&restart)),
        (vec![], vec!["drain.delay".into(), "drain.timeout".into()])
    );
}

#[derive(serde::Deserialize, serde::Serialize)]
#[serde(default)]
struct Aliased {
    #[serde(alias = "listen")]
    address: String,
    level: String,
}

impl Default for Aliased {
    fn default() -> Self {
        Self { address: "a".to_owned(), level: "info".to_owned() }
    }
}

impl Section for Aliased {
    fn reloadable(keys: &mut Keys) {
        keys.add("level");
    }
}

#[test]
fn a_key_set_by_its_other_name_does_not_slip_through() {
    let directory = Directory::with(&[("mainstay.toml", "listen = \"old\"\n")]);
    let loaded = Loader::new().directory(directory.path()).tree::<Aliased>("").load().unwrap();
    directory.write("mainstay.toml", "listen = \"new\"\nlevel = \"debug\"\n");
    let Reload::Applied { changed, restart } = loaded.reloader().reload() else { panic!("not applied") };
    assert_eq!((names(&changed), names(&restart)), (vec![], vec!["address".into(), "level".into()]));
    let aliased = loaded.get::<Aliased>("");
    assert_eq!((aliased.address.as_str(), aliased.level.as_str()), ("old", "info"));
    assert!(loaded.view().to_toml().contains("address = \"old\""));
}

#[test]
fn a_section_that_comes_or_goes_waits_for_the_restart_too() {
    let tls =
        "[tls]\ncertificate_file = \"a\"\nkey = \"k\"\nclients = { required = { authority = \"b\" } }\n";
    let plain = "[tls]\ncertificate_file = \"a\"\nkey = \"k\"\n";
    for (before, after) in [(tls, ""), ("", tls), (tls, plain), (plain, tls)] {
        let directory = Directory::with(&[("mainstay.toml", before)]);
        let loaded = load(&directory);
        let kept = loaded.get::<Settings>("");
        directory.write("mainstay.toml", &format!("{after}[log]\nlevel = \"debug\"\n"));
        let Reload::Applied { changed, restart } = loaded.reloader().reload() else { panic!("not applied") };
        assert_eq!(names(&changed), ["log.level"]);
        assert!(
            !restart.is_empty() && restart.iter().all(|key| key.to_string().starts_with("tls")),
            "{restart:?}"
        );
        let now = loaded.get::<Settings>("");
        assert_eq!(now.tls, kept.tls);
        assert_eq!(now.log.level, Level::Debug);
    }
}

/// Long, since the machine may be busy; a change is seen in milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_running_reloader_sees_files_change_appear_and_swap_their_links() {
    let directory = Directory::with(&[("first.toml", "[log]\nlevel = \"warn\"\n"), ("secret", "s1")]);
    let link = directory.path().join("mainstay.toml");
    std::os::unix::fs::symlink("first.toml", &link).unwrap();
    let loaded = directory.loader().environment([("MAINSTAY_TOKENS__CI_FILE", "secret")]).load().unwrap();
    let mut watched = loaded.watch::<Settings>("");
    let shutdown = CancellationToken::new();
    let running = loaded.reloader().with_interval(Duration::from_millis(10)).run(shutdown.clone());
    let scenario = async {
        // As Kubernetes swaps a ConfigMap: a new link renamed over the old one.
        directory.write("second.toml", "[log]\nlevel = \"debug\"\n");
        std::os::unix::fs::symlink("second.toml", directory.path().join("next")).unwrap();
        std::fs::rename(directory.path().join("next"), &link).unwrap();
        watched.changed().await;
        assert_eq!(watched.load().log.level, Level::Debug);

        directory.write("mainstay.production.toml", "[log]\nlevel = \"error\"\n");
        watched.changed().await;
        assert_eq!(watched.load().log.level, Level::Error);

        directory.write("secret", "s2");
        watched.changed().await;
        assert_eq!(watched.load().tokens["ci"].expose(), "s2");
        shutdown.cancel();
    };
    let both = async { tokio::join!(running, scenario) };
    tokio::time::timeout(PATIENCE, both).await.expect("the changes are seen and the reloader ends");
}

#[tokio::test]
async fn a_reloader_that_is_asked_does_not_wait_for_its_interval() {
    let directory = Directory::new();
    let loaded = load(&directory);
    let mut watched = loaded.watch::<Settings>("");
    let reloader = loaded.reloader().with_interval(Duration::from_secs(86_400));
    let trigger = reloader.trigger();
    let shutdown = CancellationToken::new();
    let running = reloader.run(shutdown.clone());
    let scenario = async {
        directory.write("mainstay.toml", "[log]\nlevel = \"error\"\n");
        trigger.reload();
        watched.changed().await;
        shutdown.cancel();
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(running, scenario) })
        .await
        .expect("it is seen at once");
}
