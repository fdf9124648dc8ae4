//! CPU a request of the server, and of the standard stack over it, against what a user would pick instead.
//!
//! ```text
//! cargo xtask bench server -- [--rounds 7] [--seconds 3] [--only axum,mainstay-server]
//! ```
//! Needs `wrk`, `h2load` (Debian: `wrk`, `nghttp2-client`) and `taskset`. The contestant has processor 0, the load
//! processor 1.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{error::Error, io};

use mainstay_benches::{
    Arguments, Contestant, Load, Sample, Table, h2load, median,
    servers::{NAMES, serve},
    wrk,
};

type Measure = fn(&Contestant, &str, Load) -> io::Result<Sample>;

const PROTOCOLS: [(&str, Measure, usize); 2] =
    [("HTTP/1.1 keep-alive, 64 connections", wrk, 64), ("HTTP/2, 8 connections of 8 streams", h2load, 8)];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read(&["--serve", "--rounds", "--seconds", "--only"])?;
    if let Some(name) = arguments.text("--serve") {
        return serve(name);
    }
    let (rounds, seconds) = (arguments.number("--rounds", 7)?, arguments.number("--seconds", 3)?);
    let names = arguments.only(&NAMES);

    for (title, measure, connections) in PROTOCOLS {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); names.len()];
        for _ in 0..rounds {
            for (name, samples) in names.iter().zip(&mut samples) {
                let contestant = Contestant::start(Some(0), &[], &["--serve", name])?;
                let load = |seconds| Load { seconds, connections, core: 1 };
                measure(&contestant, "/item", load(1))?;
                samples.push(measure(&contestant, "/item", load(seconds))?);
                contestant.finish()?;
            }
        }
        println!("\n{title}; median of {rounds} rounds of {seconds} s\n");
        println!("{}", report(&names, &samples));
    }
    Ok(())
}

fn report(names: &[&str], samples: &[Vec<Sample>]) -> Table {
    let of = |name: &str| {
        let at = names.iter().position(|known| *known == name);
        at.and_then(|at| samples.get(at)).map(Vec::as_slice).unwrap_or_default()
    };
    let ratio = |samples: &[Sample], reference: &str, value: fn(&Sample) -> f64| {
        let ratio =
            median(samples.iter().zip(of(reference)).map(|(mine, theirs)| value(mine) / value(theirs)));
        if ratio.is_nan() { "–".to_owned() } else { format!("{ratio:.2}") }
    };
    let mut table = Table::new(&[
        "server",
        "CPU a request / `axum::serve`",
        "CPU a request / Mainstay without middleware",
        "requests a second / `axum::serve`",
        "CPU µs a request",
    ]);
    for (name, samples) in names.iter().zip(samples) {
        // A shape is compared with the same shape.
        let bare = if name.ends_with("-per-core") { "mainstay-server-per-core" } else { "mainstay-server" };
        table.row([
            (*name).to_owned(),
            ratio(samples, "axum", Sample::cpu_micros),
            ratio(samples, bare, Sample::cpu_micros),
            ratio(samples, "axum", Sample::rate),
            format!("{:.1}", median(samples.iter().map(Sample::cpu_micros))),
        ]);
    }
    table
}
