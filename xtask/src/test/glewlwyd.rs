//! Debian's OpenID provider `glewlwyd`: unpacked into the target folder, not installed. Its package would ask for a database, and start a
//! server with a password that everybody knows.

use std::{fs, path::PathBuf, process::Command};

use super::tools::Sudo;
use crate::{
    process::{Failure, Result, is_root, output, quoted, run, succeeds},
    workspace::Metadata,
};

#[derive(Debug)]
pub(super) struct Glewlwyd {
    /// Where the root of its package is.
    pub(super) folder: PathBuf,
}

impl Glewlwyd {
    pub(super) fn of_the_workspace() -> Result<Self> {
        Ok(Self { folder: Metadata::read_members()?.target_directory.join("glewlwyd") })
    }

    /// Whether it starts: the libraries of the system may have changed since.
    pub(super) fn is_ready(&self) -> bool {
        succeeds(Command::new(self.folder.join("usr/bin/glewlwyd")).arg("--version"))
    }

    /// Unpacks it, after what it is linked with was installed.
    ///
    /// # Errors
    /// Names the command that does so where it can't be run from here.
    pub(super) fn make(&self) -> Result {
        let sudo = Sudo::here()
            .ok_or_else(|| self.missing("it wants apt-get, and root or sudo without a password"))?;
        sudo.update()?;
        let depends = output(Command::new("apt-cache").args(["depends", "--important", "glewlwyd"]))?;
        sudo.install(&libraries(&depends))?;
        let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", self.folder.display()));
        // Not among the files of another version.
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(failed)?;
        }
        fs::create_dir_all(&self.folder).map_err(failed)?;
        run(Command::new("apt-get").args(["-q", "download", "glewlwyd"]).current_dir(&self.folder))?;
        run(Command::new("sh").args(["-c", "dpkg-deb -x glewlwyd_*.deb ."]).current_dir(&self.folder))?;
        if self.is_ready() { Ok(()) } else { Err(self.missing("it was unpacked, and still does not start")) }
    }

    pub(super) fn missing(&self, why: &str) -> Failure {
        let sudo = if is_root() { "" } else { "sudo " };
        let folder = quoted(&self.folder.to_string_lossy());
        Failure::new(format!(
            "the tests need what is not here: the OpenID provider glewlwyd ({why}).\nOn Debian and its kin this unpacks it:\n\n  \
             {sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends $(apt-cache depends --important glewlwyd | \
             sed -n 's/^  Depends: \\(lib.*\\|zlib.*\\)$/\\1/p') && mkdir -p {folder} && cd {folder} && \
             apt-get download glewlwyd && dpkg-deb -x glewlwyd_*.deb .\n"
        ))
    }
}

/// The libraries among the dependencies of a package, as apt-cache lists them: the rest is for a server of the system.
fn libraries(depends: &str) -> Vec<&str> {
    let names = depends.lines().filter_map(|line| line.strip_prefix("  Depends: "));
    names.filter(|name| name.starts_with("lib") || name.starts_with("zlib")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_are_installed_for_it() {
        let depends = "glewlwyd\n  PreDepends: init-system-helpers\n  Depends: libc6\n  Depends: libulfius2.7\n  Depends: zlib1g\n \
                       |Depends: debconf\n  Depends: <debconf-2.0>\n    cdebconf\n  Depends: sqlite3\n |Depends: dbconfig-mysql\n  \
                       Depends: dbconfig-no-thanks\n";
        assert_eq!(libraries(depends), ["libc6", "libulfius2.7", "zlib1g"]);
    }

    #[test]
    fn where_nothing_was_unpacked_the_command_is_told() {
        let glewlwyd = Glewlwyd { folder: "/t/glew lwyd".into() };
        assert!(!glewlwyd.is_ready());
        let told = glewlwyd.missing("because").to_string();
        assert!(
            told.contains("glewlwyd (because)")
                && told.contains("cd '/t/glew lwyd' && apt-get download glewlwyd"),
            "{told}"
        );
    }
}
