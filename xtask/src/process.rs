//! Starting programs, and saying how they ended.

use std::{
    env,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// What went wrong, ready to be printed.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of a chore or of a part of one.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that started this program, in the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    command
}

/// Runs `command` with its output on the terminal.
pub(crate) fn run(command: &mut Command) -> Result {
    eprintln!("$ {}", written(command));
    let status = command.stdin(Stdio::null()).status().map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` failed ({status})", written(command))))
}

/// Runs `command` and gives what it wrote to standard output; its errors go to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        return Err(Failure::new(format!("`{}` failed ({})", written(command), output.status)));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{}` wrote something that is not UTF-8", written(command))))
}

/// Whether `command` starts and ends well. Nothing of it is shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    quiet(command).is_ok_and(|output| output.status.success())
}

/// Runs `command` unseen.
pub(crate) fn quiet(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).output()
}

/// Whether this is root, as in containers.
pub(crate) fn is_root() -> bool {
    succeeds(Command::new("sh").args(["-c", r#"[ "$(id -u)" = 0 ]"#]))
}

/// Whether a program of this name is on `PATH`.
pub(crate) fn is_on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The command as a person would type it.
pub(crate) fn written(command: &Command) -> String {
    let program = Path::new(command.get_program());
    // The full path of the toolchain's cargo tells a reader nothing.
    let name = match program.file_name() {
        Some(name) if name == "cargo" => name,
        _ => program.as_os_str(),
    };
    let mut line = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(&argument.to_string_lossy()));
    }
    line
}

/// `word` as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn not_started(command: &Command, error: &io::Error) -> Failure {
    Failure::new(format!("`{}` did not start: {error}", written(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_can_be_copied_into_a_shell() {
        let mut command = Command::new("/some/where/cargo");
        command.args(["test", "it's", "a b", "--set=x.y=1", ""]);
        assert_eq!(written(&command), r"cargo test 'it'\''s' 'a b' --set=x.y=1 ''");
    }

    #[test]
    fn a_program_that_fails_is_named_with_its_status() {
        let failure = run(Command::new("sh").args(["-c", "exit 7"])).unwrap_err().to_string();
        assert_eq!(failure, "`sh -c 'exit 7'` failed (exit status: 7)");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = run(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(failure.starts_with("`no-such-program-here` did not start: "), "{failure}");
        assert!(!is_on_path("no-such-program-here"));
        assert!(is_on_path("sh"));
    }
}
