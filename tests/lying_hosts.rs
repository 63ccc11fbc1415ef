//! A host that changes any residue of any response is caught before anything is unmasked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use talaria_host_cvm::{CvmError, Masking};
use talaria_host_gpu::server::fault::{FaultInjection, Faults};
use talaria_local::hosts::{Device, load};
use talaria_tests::{
    golden::model_dir,
    system::{Setup, cvm_error, ids_request},
};

const MODEL: &str = "tiny-llama";

fn flip(nth: u64, residue: usize, delta: u32) -> Faults {
    Arc::new(move |answer| {
        (answer.nth == nth).then_some(FaultInjection::FlipResidue { residue, delta })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_in_any_projection_ends_the_request_and_quarantines_the_cvm() {
    let model = load(&model_dir(MODEL), Device::default(), |_| {})
        .await
        .expect("fixture");
    // Answers of set-up: one probe of each projection.
    let probes = model.manifest.projections.len() as u64;
    for masking in [Masking::Shares, Masking::DangerousPlaintext] {
        for host in 0..masking.hosts() {
            for projection in 0..probes {
                let mut faults = vec![None; host];
                // Residues of either prime, deltas small and large.
                let residue = 97 * projection as usize;
                let delta = [1, 1 << 30][projection as usize % 2];
                faults.push(Some(flip(probes + projection, residue, delta)));
                let setup = Setup {
                    faults,
                    ..Setup::masked(masking)
                };
                let system = setup.serve(&model).await.unwrap_or_else(|e| panic!("{e}"));
                let error = system
                    .ask(ids_request(&[1, 2, 3], 4))
                    .await
                    .expect_err("a lie");
                assert!(
                    matches!(cvm_error(error), CvmError::Integrity),
                    "{masking}, host {host}, projection {projection}"
                );
                // Nothing is answered any more, though the host lies no more.
                let error = system
                    .ask(ids_request(&[1, 2, 3], 4))
                    .await
                    .expect_err("quarantine");
                assert!(matches!(cvm_error(error), CvmError::Integrity));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_in_set_up_is_refused_and_names_the_host() {
    let model = load(&model_dir(MODEL), Device::default(), |_| {})
        .await
        .expect("fixture");
    for (masking, host) in [
        (Masking::Shares, 0),
        (Masking::Shares, 1),
        (Masking::Remo, 0),
        (Masking::ModuleLwe, 0),
        (Masking::DangerousPlaintext, 0),
    ] {
        let mut faults = vec![None; host];
        faults.push(Some(flip(3, 5, 1)));
        let setup = Setup {
            faults,
            ..Setup::masked(masking)
        };
        let error = setup
            .serve(&model)
            .await
            .err()
            .expect("must refuse")
            .to_string();
        assert!(
            error.contains(&format!("GPU host {}", host + 1)),
            "{masking}: {error}"
        );
    }
}

/// These hosts answer public rows at set-up, then masked rows; a lie in the latter is caught too.
#[tokio::test(flavor = "multi_thread")]
async fn a_lie_after_public_rows_is_caught() {
    let model = load(&model_dir(MODEL), Device::default(), |_| {})
        .await
        .expect("fixture");
    for masking in [Masking::Remo, Masking::ModuleLwe] {
        let set_up = Arc::new(AtomicUsize::new(usize::MAX));
        let seen = set_up.clone();
        let faults: Faults = Arc::new(move |answer| {
            (answer.nth as usize == seen.load(Ordering::Relaxed)).then_some(
                FaultInjection::FlipResidue {
                    residue: 11,
                    delta: 3,
                },
            )
        });
        let setup = Setup {
            faults: vec![Some(faults)],
            ..Setup::masked(masking)
        };
        let system = setup.serve(&model).await.unwrap_or_else(|e| panic!("{e}"));
        system
            .ask(ids_request(&[1, 2, 3], 2))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let answered = system.hosts[0].host.counters().products;
        set_up.store(answered as usize + 4, Ordering::Relaxed);
        let error = system
            .ask(ids_request(&[1, 2, 3], 2))
            .await
            .expect_err("a lie");
        assert!(matches!(cvm_error(error), CvmError::Integrity));
    }
}
