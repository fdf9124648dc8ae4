use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use super::{
    Buckets, Definition, Instrument, Kind, Point,
    shard::{Shards, Sum},
};
use crate::{
    clock,
    context::{SpanId, TraceId},
};

/// How values spread over buckets. Clones count together.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Arc<[f64]>,
    shards: Shards<Shard>,
    /// The last one of each bucket. Only requests whose trace is recorded come here.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

#[derive(Debug)]
struct Shard {
    /// One more than there are bounds: the last is for what is above all of them.
    counts: Box<[AtomicU64]>,
    sum: Sum,
}

/// One measurement, and the trace in which it was made.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Exemplar {
    /// What was measured.
    pub value: f64,
    /// When.
    pub at: SystemTime,
    /// In which trace.
    pub trace_id: TraceId,
    /// By which span.
    pub span_id: SpanId,
}

impl Histogram {
    /// Counts `value`; what is no number is not counted.
    pub fn record(&self, value: f64) {
        self.count(value);
    }

    /// Counts `duration`, in seconds.
    pub fn record_duration(&self, duration: Duration) {
        self.count(duration.as_secs_f64());
    }

    /// Counts `value`, and shows it as an example of its bucket: for what belongs to a trace that is recorded.
    pub fn record_in(&self, value: f64, trace_id: TraceId, span_id: SpanId) {
        let Some(bucket) = self.count(value) else { return };
        // Nobody waits for an example.
        if let Ok(mut exemplars) = self.0.exemplars.try_lock()
            && let Some(last) = exemplars.get_mut(bucket)
        {
            *last = Some(Exemplar { value, at: clock::wall(), trace_id, span_id });
        }
    }

    fn count(&self, value: f64) -> Option<usize> {
        if value.is_nan() {
            return None;
        }
        // A bound belongs to the bucket below it. There are few: a walk is faster than halving.
        let bucket = self.0.bounds.iter().take_while(|bound| value > **bound).count();
        let shard = self.0.shards.mine();
        shard.counts.get(bucket)?.fetch_add(1, Relaxed);
        shard.sum.add(value);
        Some(bucket)
    }

    fn buckets(&self) -> Buckets {
        let mut counts = vec![0_u64; self.0.bounds.len() + 1];
        let mut sum = 0.0;
        for shard in self.0.shards.iter() {
            for (count, of_shard) in counts.iter_mut().zip(&shard.counts) {
                *count = count.wrapping_add(of_shard.load(Relaxed));
            }
            sum += shard.sum.get();
        }
        let exemplars = self.0.exemplars.lock().map(|exemplars| exemplars.clone()).unwrap_or_default();
        Buckets { bounds: Arc::clone(&self.0.bounds), counts, sum, exemplars }
    }
}

impl Instrument for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn make(definition: &Definition) -> Self {
        let bounds = Arc::clone(definition.bounds());
        let buckets = bounds.len() + 1;
        let shard =
            || Shard { counts: (0..buckets).map(|_| AtomicU64::default()).collect(), sum: Sum::default() };
        let exemplars = Mutex::new(vec![None; buckets]);
        Self(Arc::new(Inner { shards: Shards::new(shard), bounds, exemplars }))
    }

    fn read(&self) -> Point {
        Point::Histogram(self.buckets())
    }
}
