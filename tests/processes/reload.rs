//! Settings that take effect while the process runs.

use std::path::{Path, PathBuf};

use crate::harness::{Process, get};

/// A configuration file that is gone when the test is over.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let file =
            Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn the_filter_of_the_log_follows_the_file_and_a_wrong_one_is_refused() {
    let file = File::new("filter", "[log]\nfilter = \"info\"\n");
    let process = Process::specimen(&["--config", file.0.to_str().unwrap()]).await;
    // Refused at debug level: not in the log yet.
    assert_eq!(get(process.main, "/nowhere-1").await.status, 404);

    file.write("[log]\nfilter = \"info,mainstay_core=debug\"\n");
    process
        .log()
        .wait_for("the new filter", |line| line.contains("logs are filtered anew").then_some(()))
        .await;
    assert!(!process.log().text().contains("request refused"), "{}", process.log().text());
    assert_eq!(get(process.main, "/nowhere-2").await.status, 404);
    let refused = |line: &str| line.contains("request refused").then_some(());
    process.log().wait_for("a line at debug level", refused).await;

    file.write("[log]\nfilter = \"inof\"\n");
    let told =
        |line: &str| (line.contains("refused") && line.contains("log.filter")).then(|| line.to_owned());
    let line = process.log().wait_for("the refusal", told).await;
    for part in ["inof", "no level", "filter-"] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert_eq!(get(process.admin, "/readyz").await.status, 200);
}
