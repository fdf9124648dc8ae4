//! The process, as the kernel sees it, under the names that every Prometheus client has and every dashboard knows. Linux
//! only: elsewhere nothing is said.

use std::{fs, time::UNIX_EPOCH};

use mainstay_core::metrics::{Definition, Registry};

/// What `/proc` counts time in: `USER_HZ`, 100 on every architecture that Linux supports with this interface.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// Has `registry` tell processor time, memory, threads, open files and the time of the start whenever it is read.
pub fn observe(registry: &Registry) {
    let cpu = Definition::new("process.cpu", "s", "Processor time that the process used");
    let resident = Definition::new("process.resident_memory", "By", "Memory that the process has resident");
    let virtual_size = Definition::new("process.virtual_memory", "By", "Memory that the process has mapped");
    let threads = Definition::new("process.threads", "{thread}", "Threads of the process");
    let files = Definition::new("process.open_fds", "{file_descriptor}", "Open file descriptors");
    let limit = Definition::new(
        "process.max_fds",
        "{file_descriptor}",
        "How many file descriptors the process may have open",
    );
    let start = Definition::new("process.start_time", "s", "When the process started, since 1970");
    let since = registry.since().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    registry.observe(move |observed| {
        observed.gauge(&start, [], since);
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::read) {
            for (mode, ticks) in [("user", stat.user), ("system", stat.system)] {
                observed.seconds(&cpu, [("cpu.mode", mode)], ticks / TICKS);
            }
            observed.up_down_counter(&threads, [], stat.threads);
            observed.gauge(&virtual_size, [], stat.virtual_size);
            observed.gauge(&resident, [], stat.resident_pages * PAGE);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory itself.
            let open = i64::try_from(open.count()).unwrap_or(i64::MAX);
            observed.up_down_counter(&files, [], open.saturating_sub(1));
        }
        if let Some(most) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files) {
            observed.gauge(&limit, [], most);
        }
    });
}

/// The fields of `/proc/self/stat` that are asked for (proc_pid_stat(5)).
struct Stat {
    user: f64,
    system: f64,
    threads: i64,
    virtual_size: f64,
    resident_pages: f64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The name of the program is in brackets, and may have anything in it. What follows begins with field 3.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
        Some(Self {
            user: field(14)?,
            system: field(15)?,
            threads: field(20)? as i64,
            virtual_size: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// The soft limit of open files; none where there is no limit.
fn open_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let text = "7 (a) b 1) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1000 4096000 300 18446744";
        let stat = Stat::read(text).unwrap();
        assert_eq!((stat.user, stat.system, stat.threads), (250.0, 50.0, 9));
        assert_eq!((stat.virtual_size, stat.resident_pages), (4_096_000.0, 300.0));
        assert!(Stat::read("7 (a").is_none());
    }

    #[test]
    fn limits_are_read() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024    524288   files\n";
        assert_eq!(open_files(text), Some(1024.0));
        assert_eq!(open_files("Max open files            unlimited    unlimited   files\n"), None);
    }
}
