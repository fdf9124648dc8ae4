//! Passwords that somebody types, or that stand in a file.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use mainstay_core::config::Secret;

use super::{Failure, unusable};

/// Nobody types as much, and no provider takes it.
const LONGEST: u64 = 4096;

/// From a terminal twice, and without echo; from elsewhere the first line.
pub(super) async fn asked() -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return line().map(Secret::new).map_err(unusable);
    }
    let first = typed("Password: ").await?;
    let again = typed("Again: ").await?;
    if first == again { Ok(first) } else { Err(unusable("these were two different passwords")) }
}

/// The first line of standard input.
pub(super) fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(LONGEST).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

async fn typed(prompt: &str) -> Result<Secret, Failure> {
    let silence = silence::Silence::begin().map_err(unusable)?;
    eprint!("{prompt}");
    let typed = tokio::select! {
        typed = tokio::task::spawn_blocking(line) => typed,
        // Otherwise the terminal would stay silent.
        _ = tokio::signal::ctrl_c() => {
            drop(silence);
            eprintln!();
            std::process::exit(130);
        }
    };
    drop(silence);
    eprintln!();
    typed.map_err(unusable)?.map(Secret::new).map_err(unusable)
}

#[cfg(unix)]
mod silence {
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// While there is one, the terminal shows nothing of what is typed.
    pub(super) struct Silence(Termios);

    impl Silence {
        pub(super) fn begin() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // With what was typed before the prompt.
            tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
            Ok(Self(before))
        }
    }

    impl Drop for Silence {
        fn drop(&mut self) {
            // A terminal that is gone shows nothing anyway.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        }
    }
}

#[cfg(not(unix))]
mod silence {
    pub(super) struct Silence;

    impl Silence {
        pub(super) fn begin() -> std::io::Result<Self> {
            Err(std::io::Error::other(
                "passwords can't be typed here without being seen; expected one on standard input",
            ))
        }
    }
}
