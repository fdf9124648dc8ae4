//! tokio's runtime, as it tells without its unstable parts.

use mainstay_core::metrics::{Definition, Registry};
use tokio::runtime::Handle;

/// Has `registry` tell how busy the runtime of `handle` is whenever it is read.
pub fn observe(registry: &Registry, handle: Handle) {
    let workers = Definition::new("tokio.runtime.workers", "{thread}", "Worker threads of the runtime");
    let tasks = Definition::new("tokio.runtime.alive_tasks", "{task}", "Tasks that have not ended");
    let queued =
        Definition::new("tokio.runtime.global_queue", "{task}", "Tasks in the queue that all workers share");
    let busy = Definition::new("tokio.runtime.busy_time", "s", "Time that workers were at work");
    registry.observe(move |observed| {
        let metrics = handle.metrics();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        observed.up_down_counter(&workers, [], count(metrics.num_workers()));
        observed.up_down_counter(&tasks, [], count(metrics.num_alive_tasks()));
        observed.up_down_counter(&queued, [], count(metrics.global_queue_depth()));
        #[cfg(target_has_atomic = "64")]
        for worker in 0..metrics.num_workers() {
            let time = metrics.worker_total_busy_duration(worker).as_secs_f64();
            observed.seconds(&busy, [("worker", &worker.to_string())], time);
        }
    });
}
