//! A report as `perftools.profiles.Profile` (`profile.proto` of pprof).

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use pprof::{Frames, Report, Symbol};

use crate::protobuf::Writer;

/// Each text once; the first one is empty.
struct Strings(HashMap<String, u64>, Vec<String>);

/// What samples have in common: functions by name and file, places by the functions and lines that are inlined there.
#[derive(Default)]
struct Known {
    strings: Strings,
    functions: HashMap<(u64, u64), u64>,
    locations: HashMap<Vec<(u64, u64)>, u64>,
}

pub(super) fn profile(report: &Report) -> Vec<u8> {
    let mut known = Known::default();
    let mut to = Writer::default();
    let period = 1_000_000_000 / u64::try_from(report.timing.frequency).unwrap_or(1).max(1);
    value_type(&mut to, 1, known.strings.of("samples"), known.strings.of("count"));
    let (cpu, nanoseconds) = (known.strings.of("cpu"), known.strings.of("nanoseconds"));
    value_type(&mut to, 1, cpu, nanoseconds);
    for (frames, count) in &report.data {
        known.sample(&mut to, frames, u64::try_from(*count).unwrap_or_default(), period);
    }
    known.write(&mut to);
    let started = report.timing.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
    to.uint(9, nanos(started));
    to.uint(10, nanos(report.timing.duration));
    value_type(&mut to, 11, cpu, nanoseconds);
    to.uint(12, period);
    to.into_bytes()
}

fn value_type(to: &mut Writer, field: u32, kind: u64, unit: u64) {
    to.message(field, |to| {
        to.uint(1, kind);
        to.uint(2, unit);
    });
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Known {
    fn sample(&mut self, to: &mut Writer, frames: &Frames, count: u64, period: u64) {
        let places: Vec<u64> = frames.frames.iter().map(|symbols| self.location(symbols)).collect();
        let (key, thread) = (self.strings.of("thread"), self.strings.of(&frames.thread_name_or_id()));
        to.message(2, |to| {
            // The innermost first.
            places.iter().for_each(|place| to.uint(1, *place));
            to.uint(2, count);
            to.uint(2, count.saturating_mul(period));
            to.message(3, |to| {
                to.uint(1, key);
                to.uint(2, thread);
            });
        });
    }

    fn location(&mut self, symbols: &[Symbol]) -> u64 {
        let lines: Vec<_> = symbols
            .iter()
            .map(|symbol| {
                let function = (self.strings.of(&symbol.name()), self.strings.of(&symbol.filename()));
                let next = self.functions.len() as u64 + 1;
                let function = *self.functions.entry(function).or_insert(next);
                (function, symbol.lineno.map_or(0, u64::from))
            })
            .collect();
        let next = self.locations.len() as u64 + 1;
        *self.locations.entry(lines).or_insert(next)
    }

    fn write(&self, to: &mut Writer) {
        for (lines, id) in &self.locations {
            to.message(4, |to| {
                to.uint(1, *id);
                for (function, line) in lines {
                    to.message(4, |to| {
                        to.uint(1, *function);
                        to.uint(2, *line);
                    });
                }
            });
        }
        for ((name, file), id) in &self.functions {
            to.message(5, |to| {
                to.uint(1, *id);
                to.uint(2, *name);
                to.uint(3, *name);
                to.uint(4, *file);
            });
        }
        self.strings.1.iter().for_each(|text| to.variant_bytes(6, text.as_bytes()));
    }
}

impl Strings {
    fn of(&mut self, text: &str) -> u64 {
        if let Some(known) = self.0.get(text) {
            return *known;
        }
        let number = self.1.len() as u64;
        self.0.insert(text.to_owned(), number);
        self.1.push(text.to_owned());
        number
    }
}

impl Default for Strings {
    fn default() -> Self {
        Self(HashMap::from([(String::new(), 0)]), vec![String::new()])
    }
}
