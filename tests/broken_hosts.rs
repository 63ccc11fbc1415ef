//! Hosts that are away, die, are late, or answer nonsense: a clear error in time, no hang, no panic.

use std::{sync::Arc, time::Duration};
use talaria_host_cvm::{CvmError, Deadlines};
use talaria_host_gpu::server::fault::{FaultInjection, Faults};
use talaria_local::hosts::{Device, load, urls};
use talaria_tests::{
    golden::model_dir,
    system::{Setup, System, cvm_error, ids_request},
};

const MODEL: &str = "tiny-llama";
/// Answers of set-up: one probe of each projection of two layers, embedding and lm_head.
const PROBES: u64 = 10;
const LIMIT: Duration = Duration::from_secs(60);

fn setup(fault: FaultInjection) -> Setup {
    let faults: Faults =
        Arc::new(move |answer| (answer.nth == PROBES + 4).then_some(fault.clone()));
    Setup {
        faults: vec![None, Some(faults)],
        deadlines: Deadlines {
            patience: Duration::ZERO,
            project: Duration::from_secs(2),
            connect: Duration::from_secs(2),
            ..Deadlines::default()
        },
        ..Setup::default()
    }
}

async fn start(setup: &Setup) -> System {
    let model = load(&model_dir(MODEL), Device::default(), |_| {})
        .await
        .expect("fixture");
    setup.serve(&model).await.unwrap_or_else(|e| panic!("{e}"))
}

async fn within_limit<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("must not hang")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_are_errors_that_name_the_host() {
    for (fault, expected) in [
        (FaultInjection::WrongLength { bytes: 12 }, "no answer"),
        (
            FaultInjection::Late {
                milliseconds: 20_000,
            },
            "did not answer",
        ),
        (FaultInjection::Silence, "did not answer"),
    ] {
        let system = start(&setup(fault.clone())).await;
        let error = within_limit(system.ask(ids_request(&[1, 2, 3], 4)))
            .await
            .expect_err("fault");
        let error = cvm_error(error);
        assert!(matches!(error, CvmError::Host(_)), "{fault:?}: {error:?}");
        let text = error.to_string();
        assert!(
            text.contains("host 2") || text.contains(&system.hosts[1].url()),
            "{text}"
        );
        assert!(text.contains(expected), "{fault:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_of_the_right_length_fails_the_check() {
    let system = start(&setup(FaultInjection::Garbage)).await;
    let error = within_limit(system.ask(ids_request(&[1, 2, 3], 4)))
        .await
        .expect_err("fault");
    assert!(matches!(cvm_error(error), CvmError::Integrity));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_is_made_again() {
    let system = start(&setup(FaultInjection::Disconnect)).await;
    let honest = start(&Setup::default()).await;
    let asked = within_limit(system.ask(ids_request(&[1, 2, 3], 4))).await;
    let expected = honest
        .ask(ids_request(&[1, 2, 3], 4))
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        asked.unwrap_or_else(|e| panic!("{e}")).logits_digest,
        expected.logits_digest
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_in_the_middle_is_an_error_and_the_cvm_lives() {
    let mut system = start(&setup(FaultInjection::Late { milliseconds: 0 })).await;
    let mut session = system
        .cvm
        .open(ids_request(&[1, 2, 3], 400))
        .await
        .expect("opens");
    let first = within_limit(session.next()).await.expect("an event");
    first.unwrap_or_else(|e| panic!("{e}"));
    let killed = system.hosts.pop().expect("two hosts");
    tokio::task::spawn_blocking(move || killed.server.kill())
        .await
        .expect("killed");
    let error = loop {
        match within_limit(session.next())
            .await
            .expect("an error, not an end")
        {
            Ok(_) => continue,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CvmError::Host(_)), "{error:?}");
    let error = within_limit(system.ask(ids_request(&[1], 2)))
        .await
        .expect_err("host 2 is gone");
    assert!(
        cvm_error(error).to_string().contains("try again later"),
        "the error says what to do"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_named() {
    let model = load(&model_dir(MODEL), Device::default(), |_| {})
        .await
        .expect("fixture");
    let system = Setup::default()
        .serve(&model)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let mut hosts = urls(&system.hosts);
    hosts[1] = "http://127.0.0.1:1".into();
    let setup = setup(FaultInjection::Silence);
    let error = within_limit(setup.connect(hosts))
        .await
        .err()
        .expect("nobody is there")
        .to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
}
