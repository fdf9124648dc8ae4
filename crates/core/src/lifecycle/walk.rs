//! Calls one hook of each component, in an order, each with a bound.

use std::{collections::HashMap, future::Future, ops::ControlFlow, time::Duration};

use tokio::{
    task::{AbortHandle, Id, JoinSet},
    time::Instant,
};

use super::{BoxFuture, Failure};
use crate::{Result, task::Watched};

/// More than this is no bound; it keeps instants from overflowing.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A hook under way.
struct Call {
    node: usize,
    began: Instant,
    bound: Duration,
    handle: AbortHandle,
}

/// How long hooks that are given up may take to notice. One that blocks its thread does not.
const GRACE: Duration = Duration::from_millis(500);

/// Calls `hook` for each node of `nodes`, as soon as the nodes of `nodes` that it has to wait for are done; tells
/// `done` of each. Ends when all are done; or when `done` breaks or `stop` resolves: then those under way are dropped,
/// and `done` is told of one that was faster than that.
///
/// A hook is a task: a panic is logged and ends that task only, and one that blocks its thread does not hold up its bound.
///
/// # Cancel safety
/// Dropping it drops the hooks under way.
pub(super) async fn walk(
    nodes: &[usize],
    waits_for: &[Vec<usize>],
    stop: impl Future<Output = ()>,
    bound: impl Fn(usize) -> Duration,
    hook: impl Fn(usize) -> BoxFuture<Result<()>>,
    mut done: impl FnMut(usize, Duration, Result<(), Failure>) -> ControlFlow<()>,
) {
    let mut waiting = nodes.to_vec();
    let mut calls: HashMap<Id, Call> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let open: Vec<usize> = waiting.iter().copied().chain(calls.values().map(|call| call.node)).collect();
        let free = |node: &usize| !waits_for[*node].iter().any(|other| open.contains(other));
        let (go, wait): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(free);
        waiting = wait;
        for node in go {
            let handle = tasks.spawn(Watched::new(hook(node)));
            let (began, bound) = (Instant::now(), bound(node).min(LONGEST));
            calls.insert(handle.id(), Call { node, began, bound, handle });
        }
        let Some(next) = calls.values().map(|call| call.began + call.bound).min() else { return };
        let ended = tokio::select! {
            biased;
            () = &mut stop => break,
            joined = tasks.join_next_with_id() => match joined {
                Some(Ok((id, result))) => vec![(id, Failure::of(Ok(result)))],
                Some(Err(gone)) => vec![(gone.id(), Failure::of(Err(gone)))],
                None => break,
            },
            () = tokio::time::sleep_until(next) => {
                let late = calls.values().filter(|call| call.began + call.bound <= next);
                late.map(|call| (call.handle.id(), Err(Failure::Elapsed(call.bound)))).collect()
            }
        };
        let mut go_on = ControlFlow::Continue(());
        for (id, result) in ended {
            // One that was given up is told of a second time, when its task ends.
            let Some(call) = calls.remove(&id) else { continue };
            call.handle.abort();
            if let ControlFlow::Break(()) = done(call.node, call.began.elapsed(), result) {
                go_on = ControlFlow::Break(());
            }
        }
        if go_on.is_break() {
            break;
        }
    }
    // Whoever is told nothing here was dropped, or blocks its thread.
    tasks.abort_all();
    let gone = async {
        while let Some(joined) = tasks.join_next_with_id().await {
            let Ok((id, result)) = joined else { continue };
            if let Some(call) = calls.remove(&id) {
                let _ = done(call.node, call.began.elapsed(), Failure::of(Ok(result)));
            }
        }
    };
    let _ = tokio::time::timeout(GRACE, gone).await;
}
