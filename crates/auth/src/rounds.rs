//! Work that one task does round after round, and that whoever needs it waits for.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// What the task and those who wait for it share. `F` is why a round failed.
pub(crate) struct Rounds<F> {
    wanted: Notify,
    progress: watch::Sender<Progress<F>>,
    waiting: AtomicUsize,
    /// So many wait at most.
    most: usize,
}

#[derive(Debug)]
struct Progress<F> {
    /// So many were begun.
    begun: u64,
    /// So many ended, well or not.
    ended: u64,
    /// None begins before because somebody wants it; `None` where none ever does.
    next: Option<Instant>,
    /// Why the last one failed, if it did.
    failed: Option<F>,
}

/// The round that is under way, or else the next.
pub(crate) struct Round<'a, F> {
    rounds: &'a Rounds<F>,
    number: u64,
}

/// Why the end of a round was not seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missed<F> {
    /// It does not begin in time; why the last one failed, if it did.
    Later(Option<F>),
    /// So many wait already.
    Full,
    /// It did not end in time.
    Elapsed,
}

impl<F: Clone> Rounds<F> {
    /// None begins before `next`; none ever does where that is `None`.
    pub(crate) fn new(most: usize, next: Option<Instant>) -> Self {
        let progress = Progress { begun: 0, ended: 0, next, failed: None };
        Self {
            wanted: Notify::new(),
            progress: watch::Sender::new(progress),
            waiting: AtomicUsize::new(0),
            most,
        }
    }

    /// What is looked at after this and found missing may be waited for: it can't come unnoticed in between.
    pub(crate) fn coming(&self) -> Round<'_, F> {
        let progress = self.progress.borrow();
        let is_under_way = progress.begun > progress.ended;
        Round { rounds: self, number: progress.begun + u64::from(!is_under_way) }
    }

    /// Asks for a round, without waiting for it.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// For the task: somebody wants a round.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// For the task: one begins. Whoever asked so far waits for this one.
    pub(crate) fn begin(&self) {
        let _ = pin!(self.wanted.notified()).enable();
        self.progress.send_modify(|progress| progress.begun += 1);
    }

    /// For the task: it ended. The next one does not begin before `next`.
    pub(crate) fn end(&self, next: Instant, failed: Option<F>) {
        self.progress.send_modify(|progress| {
            progress.ended = progress.begun;
            progress.next = Some(next);
            progress.failed = failed;
        });
    }
}

impl<F: Clone> Round<'_, F> {
    /// Waits for its end until `until`, and not at all where it can't begin by `soon`. Why it failed, if it did.
    ///
    /// # Cancel safety
    /// The round goes on when it is dropped.
    pub(crate) async fn ended(self, soon: Instant, until: Instant) -> Result<Option<F>, Missed<F>> {
        let Self { rounds, number } = self;
        let mut progress = rounds.progress.subscribe();
        let has_begun = {
            let now = progress.borrow();
            let has_begun = now.begun >= number;
            if !has_begun && now.next.is_none_or(|next| next > soon) {
                return Err(Missed::Later(now.failed.clone()));
            }
            has_begun
        };
        let _place = Waiting::begin(rounds).ok_or(Missed::Full)?;
        if !has_begun {
            rounds.want();
        }
        let ended = tokio::time::timeout_at(until, progress.wait_for(|now| now.ended >= number)).await;
        match ended {
            Ok(Ok(progress)) => Ok(progress.failed.clone()),
            _ => Err(Missed::Elapsed),
        }
    }
}

/// A place among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin<F>(rounds: &'a Rounds<F>) -> Option<Self> {
        let place = Self(&rounds.waiting);
        (rounds.waiting.fetch_add(1, Ordering::Relaxed) < rounds.most).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn soon() -> Instant {
        Instant::now() + SECOND
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_sees_the_end_of_the_round_under_way_or_has_one_begun() {
        let rounds = Rounds::new(2, Some(Instant::now()));
        let task = async {
            rounds.wanted().await;
            rounds.begin();
            tokio::time::sleep(SECOND / 4).await;
            rounds.end(Instant::now(), Some("down"));
        };
        let late = async {
            tokio::time::sleep(SECOND / 8).await;
            rounds.coming().ended(Instant::now(), soon()).await
        };
        let (first, late, ()) = tokio::join!(rounds.coming().ended(soon(), soon()), late, task);
        assert_eq!((first, late), (Ok(Some("down")), Ok(Some("down"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_ends_between_looking_and_waiting_is_not_missed() {
        let rounds = Rounds::<()>::new(1, Some(Instant::now()));
        let coming = rounds.coming();
        rounds.begin();
        rounds.end(Instant::now() + 9 * SECOND, None);
        assert_eq!(coming.ended(soon(), Instant::now()).await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_comes_too_late_nor_too_long_nor_with_too_many() {
        let rounds = Rounds::new(1, None);
        assert_eq!(rounds.coming().ended(soon(), soon()).await, Err(Missed::Later(None)));
        rounds.begin();
        rounds.end(Instant::now() + 2 * SECOND, Some("down"));
        assert_eq!(rounds.coming().ended(soon(), soon()).await, Err(Missed::Later(Some("down"))));
        let far = Instant::now() + 3 * SECOND;
        let two = tokio::join!(rounds.coming().ended(far, soon()), rounds.coming().ended(far, soon()));
        assert_eq!(two, (Err(Missed::Elapsed), Err(Missed::Full)));
        assert_eq!(rounds.coming().ended(far, soon()).await, Err(Missed::Elapsed), "places come back");
    }
}
