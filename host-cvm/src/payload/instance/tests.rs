//! With payloads whose functions all do one thing.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::watch;

use super::*;
use crate::link::{Deadlines, Presence, Roster};
use crate::payload::tests::payload_that_does;

/// An instance without hosts, and what stops it.
fn instance(body: &str) -> (Result<Instance, CvmError>, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let shapes: Arc<[MatrixShape]> = Arc::new([]);
    let blueprint = Blueprint {
        payload: payload_that_does(body),
        links: LinkPlan {
            hosts: Arc::new([]),
            roster: Arc::new(Roster::new(0)),
            presence: Presence::assumed(0),
            shapes,
            deadlines: Deadlines {
                step_cpu: Duration::from_millis(200),
                ..Deadlines::default()
            },
            quarantined: Arc::new(AtomicBool::new(false)),
            stop: stopped,
        },
        pools: Arc::new(Pools::new(Arc::new([]), 1)),
        memory_limit: 64 << 20,
    };
    (Instance::new(&blueprint, Arc::default()), stop)
}

#[test]
fn a_trap_is_an_error_that_names_the_call() {
    let (made, _stop) = instance("");
    let mut made = made.unwrap();
    let error = made.step().unwrap_err();
    assert!(
        matches!(
            error,
            CvmError::Trap {
                call: "engine.step",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert!(made.trapped());
    assert!(made.count().is_err());
}

#[test]
fn endless_computation_is_stopped() {
    let (made, _stop) = instance("(loop br 0)");
    let started = Instant::now();
    let error = made.unwrap().step().unwrap_err();
    assert!(
        matches!(
            error,
            CvmError::Deadline {
                call: "engine.step",
                ..
            }
        ),
        "{error}"
    );
    assert!(started.elapsed() > Duration::from_millis(200));
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn shutdown_ends_a_computation() {
    let (made, stop) = instance("(loop br 0)");
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        stop.send_replace(true);
    });
    // Set-up may compute for 4 s here.
    let started = Instant::now();
    let error = made.unwrap().finish().unwrap_err();
    assert!(matches!(error, CvmError::Stopped), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
    stopper.join().unwrap();
}

#[test]
fn memory_beyond_the_limit_is_named() {
    // 63 MiB are granted, the next 2 MiB are not.
    let body = "(drop (memory.grow (i32.const 1008))) (drop (memory.grow (i32.const 32)))";
    let (made, _stop) = instance(body);
    let error = made.unwrap().step().unwrap_err();
    assert!(
        matches!(error, CvmError::Memory { limit_mib: 64, .. }),
        "{error}"
    );

    let (made, _stop) = instance("(drop (memory.grow (i32.const 1008)))");
    let error = made.unwrap().step().unwrap_err();
    assert!(matches!(error, CvmError::Trap { .. }), "{error}");
}
