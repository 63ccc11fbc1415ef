//! The thread of an engine instance: opens and closes sessions between steps, steps while there are
//! any, hands events out.

mod pace;
mod sealed;
mod session;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use talaria_wire::channel::message::{Event, Request};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::cvm::CvmError;
use crate::payload::{Blueprint, Instance, InstanceCounters, Keys};
use pace::Pace;
pub(crate) use pace::Progress;
use sealed::{Desk, SealedCommand};
pub use sealed::{FrameReceiver, FrameSender, Reservation, SealedConnection};
use session::OpenSession;
pub use session::Session;

/// Before a step that failed is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// The set-up of the CVM once it is finished; holds the secret check vectors.
pub(crate) type Snapshot = Arc<OnceLock<Zeroizing<Vec<u8>>>>;

/// What an engine's thread is asked for.
pub(crate) enum Command {
    /// A call of its own.
    Run(Box<dyn FnOnce(&mut Instance) + Send>),
    Open(Box<Opening>),
    Close(u32),
    /// Of a client's connection.
    Sealed(SealedCommand),
    Stop,
}

pub(crate) struct Opening {
    request: Request,
    place: Place,
    engine: mpsc::UnboundedSender<Command>,
    reply: oneshot::Sender<Result<Session, CvmError>>,
}

/// A session or connection counted in its engine's load until dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(load.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An engine as the rest of the CVM sees it.
pub(crate) struct EngineHandle {
    commands: mpsc::UnboundedSender<Command>,
    load: Arc<AtomicUsize>,
    counters: Arc<InstanceCounters>,
    keys: watch::Receiver<Option<Keys>>,
    thread: JoinHandle<()>,
}

impl EngineHandle {
    /// Starts a thread with a fresh instance.
    pub(crate) async fn spawn(
        index: usize,
        blueprint: Blueprint,
        snapshot: Snapshot,
    ) -> Result<Self, CvmError> {
        let counters = Arc::new(InstanceCounters::default());
        let (commands, inbox) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let own_counters = counters.clone();
        let (own_keys, keys) = watch::channel(None);
        let body = move || match Instance::new(&blueprint, own_counters.clone()) {
            Err(error) => drop(ready.send(Err(error))),
            Ok(instance) => {
                let _ = ready.send(Ok(()));
                let sessions = HashMap::new();
                let desk = Desk::new(blueprint.payload.sha256(), own_keys);
                let engine = Engine {
                    desk,
                    index,
                    instance,
                    blueprint,
                    counters: own_counters,
                    snapshot,
                    sessions,
                    inbox,
                    away: None,
                    pace: Pace::default(),
                };
                engine.run();
            }
        };
        let thread = spawn_thread(format!("engine-{index}"), body)?;
        started.await.map_err(|_| CvmError::Stopped)??;
        Ok(Self {
            commands,
            load: Arc::default(),
            counters,
            keys,
            thread,
        })
    }

    /// Runs `call` on the instance, between steps.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Instance) -> Result<R, CvmError> + Send + 'static,
    ) -> Result<R, CvmError> {
        self.submit(call).await.unwrap_or(Err(CvmError::Stopped))
    }

    /// As [`run`](Self::run), without waiting for the result.
    pub(crate) fn submit<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Instance) -> Result<R, CvmError> + Send + 'static,
    ) -> oneshot::Receiver<Result<R, CvmError>> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Run(Box::new(move |instance| drop(reply.send(call(instance)))));
        // If the thread is gone the reply was dropped with the command.
        let _ = self.commands.send(command);
        answer
    }

    pub(crate) async fn open(&self, request: Request) -> Result<Session, CvmError> {
        let (reply, answer) = oneshot::channel();
        let opening = Opening {
            request,
            place: Place::take(&self.load),
            engine: self.commands.clone(),
            reply,
        };
        let sent = self.commands.send(Command::Open(Box::new(opening)));
        sent.map_err(|_| CvmError::Stopped)?;
        answer.await.unwrap_or(Err(CvmError::Stopped))
    }

    /// From now on clients are served, by sealed connections only.
    pub(crate) async fn begin_channel(&self) -> Result<(), CvmError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Sealed(SealedCommand::Begin(reply));
        self.commands.send(command).map_err(|_| CvmError::Stopped)?;
        answer.await.unwrap_or(Err(CvmError::Stopped)).map(|_| ())
    }

    /// A place for a client, if there are keys.
    pub(crate) fn reserve(&self) -> Option<Reservation> {
        let keys = (*self.keys.borrow())?;
        let place = Place::take(&self.load);
        Some(Reservation::new(keys, place, self.commands.clone()))
    }

    /// Sessions and connections, open or being opened.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(crate) fn counters(&self) -> &InstanceCounters {
        &self.counters
    }

    pub(crate) fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    pub(crate) fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

/// A named thread.
pub(crate) fn spawn_thread(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, CvmError> {
    let spawned = std::thread::Builder::new().name(name).spawn(body);
    spawned.map_err(|e| CvmError::Internal(format!("no thread could be started: {e}")))
}

/// State of the thread.
struct Engine {
    index: usize,
    instance: Instance,
    blueprint: Blueprint,
    counters: Arc<InstanceCounters>,
    snapshot: Snapshot,
    sessions: HashMap<u32, Slot>,
    desk: Desk,
    inbox: mpsc::UnboundedReceiver<Command>,
    /// Since when steps fail because a host is away.
    away: Option<Instant>,
    pace: Pace,
}

/// A session of this engine.
struct Slot {
    events: mpsc::UnboundedSender<Result<Event, CvmError>>,
    _place: Place,
}

impl Engine {
    fn run(mut self) {
        while let Some(command) = self.next_command() {
            match command {
                Some(Command::Stop) => break,
                Some(command) => {
                    self.obey(command);
                    // Sessions may have come or gone.
                    if !self.instance.trapped() && self.snapshot.get().is_some() {
                        let _ = self.count();
                    }
                }
                None if self.desk.is_busy() => self.step_sealed(),
                None => self.step(),
            }
            self.revive_if_trapped();
        }
        self.fail_all(&CvmError::Stopped);
        self.desk.shut();
    }

    /// The next command; waits for it only without anything to step. Outer none: nobody can send any more.
    fn next_command(&mut self) -> Option<Option<Command>> {
        if self.sessions.is_empty() && !self.desk.is_busy() {
            self.away = None;
            return self.instance.idle(self.inbox.recv()).map(Some);
        }
        if let Some(since) = self.away {
            return self.await_hosts(since);
        }
        match self.inbox.try_recv() {
            Ok(command) => Some(Some(command)),
            Err(mpsc::error::TryRecvError::Empty) => Some(None),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
        }
    }

    /// The next command, or none once the step that failed should be repeated.
    fn await_hosts(&mut self, since: Instant) -> Option<Option<Command>> {
        let links = &self.blueprint.links;
        let left = links.deadlines.patience.saturating_sub(since.elapsed());
        let back = async {
            sleep(PAUSE).await;
            links.presence.complete().await;
        };
        let inbox = &mut self.inbox;
        self.instance.idle(async {
            tokio::select! {
                command = inbox.recv() => command.map(Some),
                _ = timeout(left, back) => Some(None),
            }
        })
    }

    /// Whether sessions wait for a host that failed: they are as they were before the step.
    fn is_patient(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.away.get_or_insert(now);
        let patient = now - since < self.blueprint.links.deadlines.patience;
        if !patient {
            self.away = None;
        }
        patient && !self.is_quarantined()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Run(call) => call(&mut self.instance),
            Command::Open(opening) => self.open(*opening),
            Command::Close(session) => self.close(session),
            Command::Sealed(command) => self.desk.obey(&mut self.instance, command),
            Command::Stop => {}
        }
    }

    fn open(&mut self, opening: Opening) {
        let session = self.instance.open(&opening.request).map(|opened| {
            let (events, receiver) = mpsc::unbounded_channel();
            let slot = Slot {
                events,
                _place: opening.place,
            };
            self.sessions.insert(opened.session, slot);
            let open = OpenSession {
                id: opened.session,
                engine: opening.engine,
            };
            tracing::debug!(engine = self.index, session = opened.session, "opened");
            Session::new(opened.prompt_ids, receiver, open)
        });
        // A caller that is gone drops the session, which closes it.
        let _ = opening.reply.send(session);
    }

    fn close(&mut self, session: u32) {
        if self.sessions.remove(&session).is_some()
            && let Err(error) = self.instance.close(session)
        {
            self.fail_all(&error);
        }
    }

    fn step(&mut self) {
        if self.is_quarantined() {
            return self.fail_all(&CvmError::Integrity);
        }
        let sessions = self.sessions.len();
        let _span = tracing::debug_span!("step", engine = self.index, sessions).entered();
        let started = Instant::now();
        let stepped = self.instance.step();
        self.counters.count_step(self.instance.computed());
        let progressed = stepped.and_then(|events| {
            // Before the events: whoever saw a reply end reads counters that include all of it.
            let progressed = self.keep_pace(started)? || !events.is_empty();
            events
                .into_iter()
                .for_each(|(session, event)| self.deliver(session, event));
            Ok(progressed)
        });
        match progressed {
            Ok(true) => self.away = None,
            Ok(false) => self.fail_all(&CvmError::Internal("it made no progress".into())),
            Err(CvmError::Host(_)) if self.is_patient() => {}
            Err(CvmError::Integrity) => {
                self.instance.quarantine();
                self.fail_all(&CvmError::Integrity);
            }
            Err(_) if self.is_quarantined() => self.fail_all(&CvmError::Integrity),
            Err(error) => self.fail_all(&error),
        }
    }

    /// A step of the payload for its clients. What went wrong the payload tells them itself.
    fn step_sealed(&mut self) {
        let _span = tracing::debug_span!("step", engine = self.index).entered();
        let started = Instant::now();
        let stepped = self.instance.step_channel();
        self.counters.count_step(self.instance.computed());
        let progressed = stepped.and_then(|()| self.keep_pace(started));
        self.desk.move_frames(&mut self.instance);
        match progressed {
            Ok(true) => return self.away = None,
            Ok(false) => tracing::error!(engine = self.index, "a step without progress"),
            Err(CvmError::Host(_)) if self.is_patient() => return,
            Err(error) => {
                if matches!(error, CvmError::Host(_)) {
                    let _ = self.instance.give_up();
                    self.desk.move_frames(&mut self.instance);
                }
                tracing::warn!(engine = self.index, %error, "all replies ended");
                if matches!(error, CvmError::Integrity) {
                    self.instance.quarantine();
                }
                // Its own errors leave the payload as it was.
                if !self.instance.trapped() {
                    return;
                }
            }
        }
        self.desk.drop_all();
    }

    /// A step began then and is done: takes the payload's counters, and tells it how many rows of prompts the next may
    /// have. Whether it brought anything on.
    fn keep_pace(&mut self, started: Instant) -> Result<bool, CvmError> {
        let (took, rows) = (started.elapsed(), self.pace.rows());
        let did = self.count()?;
        self.pace.observe(took, did);
        if self.pace.rows() != rows {
            self.instance.pace(self.pace.rows())?;
        }
        Ok(did.any)
    }

    /// Takes the payload's counters; what they say of the time since.
    fn count(&mut self) -> Result<Progress, CvmError> {
        Ok(self.counters.set_payload(&self.instance.count()?))
    }

    fn deliver(&mut self, session: u32, event: Event) {
        let ends = event.ends();
        // A receiver that is gone has sent a `Close`.
        if let Some(slot) = self.sessions.get(&session) {
            let _ = slot.events.send(Ok(event));
        }
        if ends {
            self.sessions.remove(&session);
        }
    }

    fn fail_all(&mut self, error: &CvmError) {
        if self.sessions.is_empty() {
            return;
        }
        tracing::warn!(engine = self.index, sessions = self.sessions.len(), %error, "sessions ended");
        for (session, slot) in self.sessions.drain() {
            let _ = slot.events.send(Err(error.clone()));
            // After most errors the payload has ended them itself.
            if !self.instance.trapped() {
                let _ = self.instance.close(session);
            }
        }
    }

    /// Puts a fresh instance with the same set-up in place of a trapped one.
    fn revive_if_trapped(&mut self) {
        let Some(snapshot) = self.snapshot.get().filter(|_| self.instance.trapped()) else {
            return;
        };
        self.counters.retire();
        let fresh = Instance::new(&self.blueprint, self.counters.clone());
        let fresh = fresh.and_then(|mut fresh| fresh.restore(snapshot).map(|_| fresh));
        match fresh {
            Ok(fresh) => {
                self.instance = fresh;
                self.pace = Pace::default();
            }
            Err(CvmError::Stopped) => return self.desk.shut(),
            Err(error) => {
                tracing::error!(engine = self.index, %error, "no fresh instance");
                return self.desk.shut();
            }
        }
        if self.desk.has_begun() {
            self.desk.restart(&mut self.instance);
        }
    }

    fn is_quarantined(&self) -> bool {
        self.blueprint.links.quarantined.load(Ordering::SeqCst)
    }
}
