use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use prost::Message as _;

use super::*;

/// A profile as another implementation of protobuf reads it.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub(super) sample_types: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "4")]
        pub(super) locations: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub(super) functions: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub(super) strings: Vec<String>,
        #[prost(int64, tag = "10")]
        pub(super) duration: i64,
        #[prost(int64, tag = "12")]
        pub(super) period: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ValueType {
        #[prost(int64, tag = "1")]
        pub(super) kind: i64,
        #[prost(int64, tag = "2")]
        pub(super) unit: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub(super) locations: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(super) values: Vec<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Location {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(message, repeated, tag = "4")]
        pub(super) lines: Vec<Line>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Line {
        #[prost(uint64, tag = "1")]
        pub(super) function: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Function {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(int64, tag = "2")]
        pub(super) name: i64,
    }
}

impl wire::Profile {
    fn text(&self, index: i64) -> &str {
        &self.strings[usize::try_from(index).unwrap()]
    }

    /// The names of the functions of a sample, the innermost first.
    fn stack(&self, sample: &wire::Sample) -> Vec<&str> {
        let place = |id| self.locations.iter().find(|place| place.id == id).unwrap();
        let function = |id| self.functions.iter().find(|function| function.id == id).unwrap();
        let lines = sample.locations.iter().flat_map(|id| &place(*id).lines);
        lines.map(|line| self.text(function(line.function).name)).collect()
    }
}

#[inline(never)]
fn work_that_takes_time(until: &AtomicBool) {
    let mut number = 1_u64;
    while !until.load(Relaxed) {
        number = black_box(number.wrapping_mul(3));
    }
}

/// One test: there is one profiler in a process.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_says_where_the_time_goes_and_there_is_one_at_a_time() {
    let tasks = Tasks::new();
    let is_over = Arc::new(AtomicBool::new(false));
    let working = thread::spawn({
        let is_over = is_over.clone();
        move || work_that_takes_time(&is_over)
    });

    // Given up at once; the next one begins when its thread has seen that.
    assert!(tokio::time::timeout(Duration::ZERO, cpu(LONGEST, &tasks)).await.is_err());
    let mut bytes = Vec::new();
    for _ in 0..6000 {
        match cpu(Duration::from_millis(500), &tasks).await {
            Err(Error::Busy) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
            Ok(profile) => {
                bytes = profile;
                // On a busy machine the thread may not have run for that long.
                if !wire::Profile::decode(&*bytes).unwrap().samples.is_empty() {
                    break;
                }
            }
        }
    }
    let profile = wire::Profile::decode(&*bytes).unwrap();
    let types: Vec<_> =
        profile.sample_types.iter().map(|of| (profile.text(of.kind), profile.text(of.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert!(profile.duration >= 500_000_000 && profile.period == 1_000_000_000 / 99);
    let stacks: Vec<_> = profile.samples.iter().map(|sample| profile.stack(sample)).collect();
    let is_work = |name: &&str| name.contains("work_that_takes_time");
    assert!(stacks.iter().any(|stack| stack.iter().any(is_work)), "{stacks:#?}");
    assert!(profile.samples.iter().all(|sample| sample.values[1] == sample.values[0] * profile.period));

    let (one, two) =
        tokio::join!(cpu(Duration::from_millis(100), &tasks), cpu(Duration::from_millis(100), &tasks));
    assert!(one.is_ok() && matches!(two, Err(Error::Busy)), "{two:?}");
    is_over.store(true, Relaxed);
    working.join().unwrap();
}
