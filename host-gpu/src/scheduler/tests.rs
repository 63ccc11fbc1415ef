use super::*;
use crate::testing::memory::Control;
use crate::testing::{self, PATIENCE, some_rows};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use talaria_transport::weighted::ProjectRequest;
use talaria_transport::weighted::project_request::Body;

const LIMITS: Limits = Limits {
    max_queue: 8,
    max_queue_bytes: 1 << 20,
    max_rows: 4,
};

type Outcome = Result<Product, Refusal>;

struct ToChannel {
    outcome: Sender<Outcome>,
    gone: Arc<AtomicBool>,
}

impl Reply for ToChannel {
    fn wanted(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }

    fn send(self: Box<Self>, outcome: Outcome) {
        let _ = self.outcome.send(outcome);
    }
}

struct Fixture {
    model: Arc<Model>,
    control: Arc<Control>,
    shapes: Arc<[MatrixShape]>,
    scheduler: Scheduler,
}

/// A request under way.
struct Sent {
    projection: usize,
    planes: Planes,
    x: Vec<u32>,
    outcome: Receiver<Outcome>,
    gone: Arc<AtomicBool>,
}

impl Fixture {
    fn new() -> Self {
        let (model, control) = testing::model(testing::tiny_manifest());
        let shapes: Arc<[MatrixShape]> = MatrixShape::of_manifest(&model.manifest).into();
        let scheduler = Scheduler::start(Arc::clone(&model), Arc::clone(&shapes), LIMITS).unwrap();
        Self {
            model,
            control,
            shapes,
            scheduler,
        }
    }

    fn send(&self, projection: usize, rows: usize, deadline: Option<Instant>) -> Sent {
        self.send_as(Planes::Joined, projection, rows, deadline)
    }

    fn send_as(
        &self,
        planes: Planes,
        projection: usize,
        rows: usize,
        deadline: Option<Instant>,
    ) -> Sent {
        let salt = self.scheduler.counters().rows as u32 + (projection * 16 + rows) as u32;
        let x = some_rows(rows, self.shapes[projection].k, salt);
        let request = ProjectRequest {
            id: 0,
            projection: projection as u32,
            rows: rows as u32,
            deadline_ms: 0,
            body: Some(Body::Residues(to_little_endian(x.clone()))),
            planes_apart: planes == Planes::Apart,
        };
        let claim = rows::Claim::parse(&self.shapes, LIMITS.max_rows, request).unwrap();
        let slot = self.scheduler.admit(claim.bytes()).unwrap();
        let (sender, outcome) = channel();
        let gone = Arc::new(AtomicBool::new(false));
        self.scheduler.submit(Job {
            rows: claim.into_rows().unwrap(),
            deadline,
            slot,
            reply: Box::new(ToChannel {
                outcome: sender,
                gone: Arc::clone(&gone),
            }),
        });
        Sent {
            projection,
            planes,
            x,
            outcome,
            gone,
        }
    }

    /// Holds the device with one request for projection 0 under way.
    fn busy(&self) -> Sent {
        self.control.hold();
        let first = self.send(0, 1, None);
        self.control.wait_for_dispatches(1);
        first
    }

    fn assert_right(&self, sent: &Sent) {
        let product = sent.outcome.recv_timeout(PATIENCE).unwrap().unwrap();
        let rows = sent.x.len() / (2 * self.shapes[sent.projection].k);
        let backend = &self.model.backend;
        let reference = backend.project(sent.projection, rows, &sent.x, sent.planes);
        assert_eq!(product.residues, to_little_endian(reference.unwrap()));
    }
}

#[test]
fn requests_that_wait_for_one_matrix_share_a_dispatch() {
    let fixture = Fixture::new();
    let mut sent = vec![fixture.busy()];
    for (projection, rows) in [(1, 1), (2, 1), (1, 2), (2, 3), (1, 2), (1, 1)] {
        sent.push(fixture.send(projection, rows, None));
    }
    fixture.control.release();
    // Four rows at most: the second pair of rows for matrix 1 has to wait, the single row joins.
    let dispatches = fixture.control.wait_for_dispatches(4);
    assert_eq!(dispatches, [(0, 1), (1, 4), (2, 4), (1, 2)]);
    sent.iter().for_each(|sent| fixture.assert_right(sent));
    let counters = fixture.scheduler.counters();
    assert_eq!((counters.products, counters.rows), (7, 11));
    assert_eq!(counters.dispatches, 4);
}

#[test]
fn planes_joined_and_apart_share_no_dispatch() {
    let fixture = Fixture::new();
    let mut sent = vec![fixture.busy()];
    for (planes, rows) in [
        (Planes::Apart, 1),
        (Planes::Joined, 1),
        (Planes::Apart, 2),
        (Planes::Joined, 1),
        (Planes::Apart, 1),
    ] {
        sent.push(fixture.send_as(planes, 1, rows, None));
    }
    fixture.control.release();
    let dispatches = fixture.control.wait_for_dispatches(3);
    assert_eq!(dispatches, [(0, 1), (1, 4), (1, 2)]);
    sent.iter().for_each(|sent| fixture.assert_right(sent));
    assert_eq!(fixture.scheduler.counters().products, 6);
}

#[test]
fn a_late_request_expires_and_one_that_nobody_wants_is_dropped() {
    let fixture = Fixture::new();
    let first = fixture.busy();
    let late = fixture.send(1, 1, Some(Instant::now()));
    let unwanted = fixture.send(1, 1, None);
    unwanted.gone.store(true, Ordering::Relaxed);
    let in_time = fixture.send(1, 1, Some(Instant::now() + PATIENCE));
    std::thread::sleep(Duration::from_millis(2));
    fixture.control.release();
    // Before the references, which are dispatches too.
    assert_eq!(fixture.control.wait_for_dispatches(2), [(0, 1), (1, 1)]);
    fixture.assert_right(&first);
    fixture.assert_right(&in_time);
    let outcome = late.outcome.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(outcome, Err(Refusal::Expired)));
    assert!(unwanted.outcome.recv_timeout(PATIENCE).is_err());
    assert_eq!(fixture.scheduler.counters().expired, 1);
}

#[test]
fn a_full_queue_refuses_until_a_place_is_free() {
    let fixture = Fixture::new();
    let first = fixture.busy();
    let queued: Vec<Sent> = (1..8).map(|_| fixture.send(1, 1, None)).collect();
    let refused = fixture.scheduler.admit(0);
    assert!(matches!(refused.err(), Some(Refusal::Overloaded)));
    fixture.control.release();
    fixture.assert_right(&first);
    queued.iter().for_each(|sent| fixture.assert_right(sent));
    assert!(fixture.scheduler.admit(0).is_ok());
}

#[test]
fn a_device_that_fails_panics_or_answers_short_is_an_error_and_work_goes_on() {
    let fixture = Fixture::new();
    let control = &fixture.control;
    let faults = [
        (&control.broken, "unplugged"),
        (&control.panics, "panicked"),
        (&control.short, "47 residues, 48 expected"),
    ];
    for (fault, expected) in faults {
        fault.store(true, Ordering::Relaxed);
        let sent = fixture.send(3, 1, None);
        let refusal = sent.outcome.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(matches!(refusal, Refusal::Device(_)));
        assert!(refusal.to_string().contains(expected), "{refusal}");
        fault.store(false, Ordering::Relaxed);
        fixture.assert_right(&fixture.send(3, 2, None));
    }
    assert_eq!(fixture.scheduler.counters().failed, 3);
}

#[test]
fn the_end_refuses_what_is_queued() {
    let fixture = Fixture::new();
    let first = fixture.busy();
    let queued = fixture.send(1, 1, None);
    let Fixture {
        scheduler, control, ..
    } = fixture;
    let ending = std::thread::spawn(move || drop(scheduler));
    let refusal = queued.outcome.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(refusal.to_string().contains("shutting down"), "{refusal}");
    control.release();
    assert!(first.outcome.recv_timeout(PATIENCE).unwrap().is_ok());
    ending.join().unwrap();
}
