//! Steady load, and what became of each call.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay::{Client, axum::http::Method, client::Error};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::fleet::Books;
use crate::harness::PATIENCE;

/// What each call has.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);
/// What it may take longer, on a machine that does other things too.
const MARGIN: Duration = Duration::from_secs(2);
/// Callers that read, and callers that write.
const READERS: usize = 4;
const WRITERS: usize = 2;
/// Between the calls of one caller.
const PAUSE: Duration = Duration::from_millis(5);

/// Callers at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

/// One call, and how it ended.
pub(crate) struct Call {
    method: Method,
    id: String,
    began: Instant,
    took: Duration,
    outcome: Result<(), Error>,
}

impl Load {
    /// On `specimen`, by the endpoints' own hand.
    pub(crate) fn on(client: &Client) -> Self {
        Self::through(client, "http://specimen/work")
    }

    /// With ids appended to `path`.
    pub(crate) fn through(client: &Client, path: &'static str) -> Self {
        static LOADS: AtomicU64 = AtomicU64::new(0);
        let load = LOADS.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), calls: Mutex::default() });
        let callers = (0..READERS + WRITERS).map(|caller| {
            let method = if caller < READERS { Method::GET } else { Method::POST };
            tokio::spawn(shared.clone().call(client.clone(), path, method, format!("{load}-{caller}")))
        });
        Self { callers: callers.collect(), shared }
    }

    /// Waits until so many more calls went well.
    pub(crate) async fn succeed(&self, calls: usize) {
        let good = || self.shared.calls.lock().unwrap().iter().filter(|call| call.outcome.is_ok()).count();
        let until = good() + calls;
        let wait = async {
            while good() < until {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            let good = good();
            let calls = self.shared.calls.lock().unwrap();
            panic!("{good} of {until} calls went well; the last: {:?}", calls.last());
        }
    }

    /// Waits until the calls that are under way have ended.
    pub(crate) async fn end(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let calls = std::mem::take(&mut *self.shared.calls.lock().unwrap());
        Report { calls }
    }
}

impl Shared {
    async fn call(self: Arc<Self>, client: Client, path: &'static str, method: Method, caller: String) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let id = format!("{caller}-{number}");
            let began = Instant::now();
            let outcome = async {
                let request = client.request(method.clone(), format!("{path}/{id}")).timeout(DEADLINE);
                request.send().await?.error_for_status()?.text().await
            };
            let outcome = outcome.await.map(drop);
            let call = Call { method: method.clone(), id, began, took: began.elapsed(), outcome };
            self.calls.lock().unwrap().push(call);
            sleep(PAUSE).await;
        }
    }
}

/// All calls of a load.
#[derive(Debug)]
pub(crate) struct Report {
    calls: Vec<Call>,
}

impl Report {
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// With those of another load.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.calls.extend(other.calls);
        self
    }

    /// The calls by this method that got no answer, or a bad one.
    pub(crate) fn failed(&self, method: &Method) -> Vec<&Call> {
        self.calls.iter().filter(|call| call.method == *method && call.outcome.is_err()).collect()
    }

    /// The calls that failed, and began between these two.
    pub(crate) fn failed_between(&self, from: Instant, until: Instant) -> Vec<&Call> {
        let failed = self.calls.iter().filter(|call| call.outcome.is_err());
        failed.filter(|call| (from..until).contains(&call.began)).collect()
    }

    /// When the first call ended well that began after `moment`.
    pub(crate) fn first_success_after(&self, moment: Instant) -> Option<Instant> {
        let good = self.calls.iter().filter(|call| call.outcome.is_ok() && call.began >= moment);
        good.map(|call| call.began + call.took).min()
    }

    /// The longest time that a call by this method took.
    pub(crate) fn longest(&self, method: &Method) -> Duration {
        self.calls
            .iter()
            .filter(|call| call.method == *method)
            .map(|call| call.took)
            .max()
            .unwrap_or_default()
    }

    /// What holds whatever happens: nobody waited longer than his deadline, what was answered was done, what must not be
    /// done twice was not, and repeats stayed within their budget.
    pub(crate) fn check(&self, books: &Books) {
        println!(
            "{} calls, {} attempts; {} GET failed, the longest took {:?}; {} POST failed, the longest took {:?}",
            self.len(),
            books.total(),
            self.failed(&Method::GET).len(),
            self.longest(&Method::GET),
            self.failed(&Method::POST).len(),
            self.longest(&Method::POST),
        );
        let late: Vec<_> = self.calls.iter().filter(|call| call.took > DEADLINE + MARGIN).collect();
        assert!(late.is_empty(), "later than the deadline: {}", few(&late));
        let times = |call: &Call| books.times(&format!("{} {}", call.method, call.id));
        let undone: Vec<_> =
            self.calls.iter().filter(|call| call.outcome.is_ok() && times(call) == 0).collect();
        assert!(undone.is_empty(), "answered, but not done: {}", few(&undone));
        let doubled: Vec<_> =
            self.calls.iter().filter(|call| call.method == Method::POST && times(call) > 1).collect();
        assert!(doubled.is_empty(), "done twice: {}", few(&doubled));
        // Ten repeats to begin with, and one for five calls that go well.
        let most = self.len() + self.len() / 5 + 10;
        assert!(books.total() <= most as u64, "{} attempts for {} calls", books.total(), self.len());
    }

    /// No call by this method failed.
    pub(crate) fn none_failed(&self, method: &Method) {
        self.few_failed(method, 0);
    }

    pub(crate) fn few_failed(&self, method: &Method, most: usize) {
        let failed = self.failed(method);
        assert!(failed.len() <= most, "{} of {} calls failed: {}", failed.len(), self.len(), few(&failed));
    }
}

impl Call {
    pub(crate) fn took(&self) -> Duration {
        self.took
    }
}

/// The first of many.
pub(crate) fn few(calls: &[&Call]) -> String {
    let shown: Vec<_> = calls.iter().take(5).collect();
    format!("{} calls, such as {shown:#?}", calls.len())
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {:?}: ", self.method, self.id, self.took)?;
        match &self.outcome {
            Ok(()) => write!(f, "well"),
            Err(error) => write!(f, "{}", mainstay::error::Report::new(error)),
        }
    }
}
