//! The service under test, as the checks see it.

use std::time::Duration;

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};

use super::{
    check::{Evidence, Finding, Miss},
    process::{Process, Started},
    settings::{Assignment, Route, Settings},
    wire::{
        Endpoint, PATIENCE, Trouble,
        http1::{Answer, Connection, Request},
        issuer::Issuer,
        otlp::Collector,
        stand_in::StandIn,
    },
};

/// How long a service may answer 503 after a peer that took its room has gone.
const RECOVERY: Duration = Duration::from_secs(2);

/// A service and, when the suite was given one, its process.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) settings: Settings,
    /// Where the service finds what it calls.
    pub(crate) dependencies: Vec<StandIn>,
    /// Where it sends its spans.
    pub(crate) collector: Option<Collector>,
    /// Whose tokens it takes.
    pub(crate) issuer: Option<Issuer>,
    process: Mutex<Option<Process>>,
}

/// One request and what came of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) sent: String,
    pub(crate) came: Result<Answer, Trouble>,
    pub(crate) took: Duration,
}

impl Subject {
    pub(crate) async fn new(mut settings: Settings) -> Result<Self, String> {
        let process = settings.pid.map(Process::foreign).transpose()?;
        let mut dependencies = Vec::new();
        for at in &settings.dependencies {
            dependencies.push(StandIn::listen(at).await?);
        }
        let collector = match &settings.otlp {
            Some(at) => Some(Collector::listen(at).await?),
            None => None,
        };
        let issuer = match &settings.issuer {
            Some(at) => Some(Issuer::listen(at, &settings.audience).await?),
            None => None,
        };
        let token = match &issuer {
            Some(issuer) => Some(issuer.token(&settings.scope)?),
            None => settings.token.clone(),
        };
        settings.main = settings.main.with_token(token);
        Ok(Self { settings, dependencies, collector, issuer, process: Mutex::new(process) })
    }

    pub(crate) fn main(&self) -> &Endpoint {
        &self.settings.main
    }

    /// A route that is safe to ask; `/` when none is given, whose 404 is an answer too.
    pub(crate) fn plain(&self) -> Request {
        self.settings.route.as_ref().map_or_else(|| Request::get("/"), Route::request)
    }

    /// Sends a request on a connection of its own to the main listener.
    pub(crate) async fn send(&self, request: &Request) -> Exchange {
        self.send_within(request, PATIENCE).await
    }

    pub(crate) async fn send_within(&self, request: &Request, within: Duration) -> Exchange {
        exchange(self.main(), request, within).await
    }

    /// Asks the admin listener.
    pub(crate) async fn probe(&self, path: &str) -> Exchange {
        self.ask_admin(&Request::get(path)).await
    }

    pub(crate) async fn ask_admin(&self, request: &Request) -> Exchange {
        let Some(admin) = &self.settings.admin else {
            return Exchange {
                sent: request.summary(),
                came: Err(Trouble::Unusable("--admin is not given".to_owned())),
                took: Duration::ZERO,
            };
        };
        exchange(admin, request, PATIENCE).await
    }

    /// Whether a new connection gets an answer, whatever it is. A 503 is given a moment: the service may be about to
    /// notice that those who took its room are gone.
    pub(crate) async fn still_answers(&self) -> Result<(), String> {
        let mut tries = 20;
        loop {
            tries -= 1;
            let exchange = self.send(&self.plain()).await;
            match exchange.came {
                Ok(answer) if answer.status < 500 => return Ok(()),
                Ok(answer) if answer.status == 503 && tries > 0 => sleep(RECOVERY / 20).await,
                Ok(answer) => {
                    return Err(format!(
                        "afterwards `{}` was answered with {}",
                        exchange.sent,
                        answer.summary()
                    ));
                }
                Err(trouble) => {
                    return Err(format!("afterwards `{}` had no answer: {trouble}", exchange.sent));
                }
            }
        }
    }

    /// The process, for a check that signals it.
    pub(crate) async fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().await
    }

    /// Starts the service unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// A sentence that says what kept it from becoming ready, with the end of its stderr.
    pub(crate) async fn ensure_running(&self) -> Result<(), String> {
        let Some(command) = &self.settings.command else { return Ok(()) };
        let mut process = self.process.lock().await;
        if process.as_mut().is_some_and(|process| process.exited().is_none()) {
            return Ok(());
        }
        *process = None;
        drop(process);
        if !self.is_free().await {
            return Err(format!(
                "something already answers at {}: with --command the suite starts the service itself",
                self.main().authority()
            ));
        }
        self.start(command, &[]).await?;
        self.until_ready().await
    }

    pub(crate) async fn start(&self, command: &[String], environment: &[Assignment]) -> Result<(), String> {
        let told = self.collector.iter().flat_map(Collector::environment);
        let environment: Vec<Assignment> = told.chain(environment.iter().cloned()).collect();
        let started = Started::start(command, &environment)?;
        *self.process.lock().await = Some(Process::Started(Box::new(started)));
        Ok(())
    }

    /// Waits for `/readyz` to answer 200, or for the main listener where there is no admin listener.
    async fn until_ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            let last = match &self.settings.admin {
                Some(_) => self.probe("/readyz").await,
                None => self.send(&self.plain()).await,
            };
            match &last.came {
                Ok(answer) if self.settings.admin.is_none() || answer.status == 200 => return Ok(()),
                _ => {}
            }
            if let Some(exit) = self.exited().await {
                return Err(format!(
                    "the service ended while it started ({exit}): {}",
                    self.stderr_end().await
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "the service was not ready within {:?}; the last answer to `{}`: {}",
                    self.settings.start_timeout,
                    last.sent,
                    last.shown()
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// How the process ended, if the suite knows one and it did.
    pub(crate) async fn exited(&self) -> Option<super::process::Exit> {
        self.process.lock().await.as_mut().and_then(Process::exited)
    }

    /// Everything that a started process wrote to stderr.
    pub(crate) async fn stderr(&self) -> String {
        match self.process.lock().await.as_mut() {
            Some(Process::Started(started)) => started.stderr().await,
            _ => String::new(),
        }
    }

    async fn stderr_end(&self) -> String {
        let all = self.stderr().await;
        let start = all.char_indices().rev().nth(300).map_or(0, |(at, _)| at);
        all.get(start..).unwrap_or_default().trim().to_owned()
    }

    /// Kills a service that the suite started.
    pub(crate) async fn stop(&self) {
        let mut process = self.process.lock().await;
        if let Some(Process::Started(_)) = process.as_ref()
            && let Some(mut process) = process.take()
        {
            process.kill().await;
            self.is_free().await;
        }
    }

    /// Whether nobody listens; somebody on the way out, like the child of a wrapper, gets a moment to go.
    async fn is_free(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.main().connect().await.is_ok() {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

impl Route {
    pub(crate) fn request(&self) -> Request {
        Request::new(&self.method, &self.path)
    }
}

impl Exchange {
    /// The answer, or the lack of one, for a verdict.
    pub(crate) fn shown(&self) -> String {
        match &self.came {
            Ok(answer) => answer.summary(),
            Err(trouble) => trouble.to_string(),
        }
    }

    /// Decides by a rule over the answer; no answer is a failure.
    pub(crate) fn expect(self, expected: &str, rule: impl FnOnce(&Answer) -> Result<(), String>) -> Finding {
        let evidence = Evidence::new(&self.sent, expected, self.shown());
        evidence.judge(match &self.came {
            Ok(answer) => rule(answer),
            Err(trouble) => Err(trouble.to_string()),
        })
    }
}

/// One exchange on a connection of its own.
pub(crate) async fn exchange(endpoint: &Endpoint, request: &Request, within: Duration) -> Exchange {
    let start = Instant::now();
    let came = async { Connection::open(endpoint).await?.send(request, within).await }.await;
    Exchange { sent: request.summary(), came, took: start.elapsed() }
}

/// A check that can't go on because the ground it stands on is not there.
pub(crate) fn skipped(why: impl Into<String>) -> Miss {
    Miss::Skipped(why.into())
}
