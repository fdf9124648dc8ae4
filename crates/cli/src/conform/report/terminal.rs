//! Verdicts as they come, for somebody who watches.

use std::io::{self, IsTerminal, Write};

use super::Run;
use crate::conform::check::{Check, State, Verdict};

/// Writes verdicts for people; colours only where they are wanted.
pub(crate) struct Terminal {
    out: Box<dyn Write>,
    colour: bool,
    verbose: bool,
    clause: String,
}

impl Terminal {
    /// Standard output: coloured on a terminal unless `NO_COLOR` is set to something (no-color.org).
    pub(crate) fn stdout(verbose: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::new(Box::new(io::stdout()), wanted && io::stdout().is_terminal(), verbose)
    }

    fn new(out: Box<dyn Write>, colour: bool, verbose: bool) -> Self {
        Self { out, colour, verbose, clause: String::new() }
    }

    pub(crate) fn list(&mut self, checks: &[&Check]) -> io::Result<()> {
        for check in checks {
            writeln!(self.out, "{:<34} {}", check.id, check.title)?;
            if !check.needs.is_empty() {
                let needs: Vec<&str> = check.needs.iter().map(|need| need.option()).collect();
                let needs = self.dim(&format!("needs {}", needs.join(", ")));
                writeln!(self.out, "{:<34} {needs}", "")?;
            }
        }
        self.out.flush()
    }

    pub(crate) fn verdict(&mut self, verdict: &Verdict) -> io::Result<()> {
        if verdict.clause != self.clause {
            self.clause.clone_from(&verdict.clause);
            let heading = self.paint("1", &verdict.clause);
            writeln!(self.out, "{heading}")?;
        }
        let (mark, code) = match verdict.state {
            State::Passed => ("passed ", "32"),
            State::Failed => ("FAILED ", "1;31"),
            State::Skipped => ("skipped", "33"),
        };
        let mark = self.paint(code, mark);
        let name = self.dim(&format!("{} {:.2?}", verdict.id, verdict.took));
        match verdict.state {
            State::Skipped => {
                let why = self.dim(&format!("{}: {}", verdict.id, verdict.why));
                writeln!(self.out, "  {mark} {}  {why}", verdict.title)?;
            }
            _ => writeln!(self.out, "  {mark} {}  {name}", verdict.title)?,
        }
        if verdict.state == State::Failed || (self.verbose && verdict.state == State::Passed) {
            let evidence = &verdict.evidence;
            for (label, text) in
                [("sent", &evidence.sent), ("expected", &evidence.expected), ("came", &evidence.came)]
            {
                writeln!(self.out, "          {} {text}", self.dim(&format!("{label:<8}")))?;
            }
        }
        if verdict.state == State::Failed {
            let why = self.paint("31", &verdict.why);
            writeln!(self.out, "          {} {why}", self.dim("because "))?;
        }
        self.out.flush()
    }

    pub(crate) fn summary(&mut self, run: &Run) -> io::Result<()> {
        let (passed, failed, skipped) =
            (run.count(State::Passed), run.count(State::Failed), run.count(State::Skipped));
        let text = format!("{passed} passed, {failed} failed, {skipped} skipped");
        let text = self.paint(if failed > 0 { "1;31" } else { "1;32" }, &text);
        writeln!(self.out, "\n{}: {text} in {:.1?}", run.url, run.took)?;
        self.out.flush()
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// `text` between the codes of ECMA-48 section 8.3.117.
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("colour", &self.colour).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Terminal;

    #[test]
    fn colour_is_added_only_where_it_is_wanted() {
        let plain = Terminal::new(Box::new(std::io::sink()), false, false);
        let coloured = Terminal::new(Box::new(std::io::sink()), true, false);
        assert_eq!(plain.paint("31", "no"), "no");
        assert_eq!(coloured.paint("31", "no"), "\u{1b}[31mno\u{1b}[0m");
    }
}
