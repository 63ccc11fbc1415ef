//! module-LWE masks through the whole system: the same bits whatever the parameters, kept R_pub checked and
//! refused when touched, memory refused before it is taken, empty pools waited for.

use std::{fs, path::PathBuf, sync::Arc};
use talaria_host_cvm::{CvmError, Masking, PARAMETERS, Parameters, PublicRowsFrom};
use talaria_host_gpu::{
    backend::BackendKind,
    server::fault::{FaultInjection, Faults},
};
use talaria_tests::{
    golden::{golden, model_dir},
    system::{Setup, System, cvm_error, ids_request},
};
use talaria_wire::manifest::WeightFormat;

const MODEL: &str = "tiny-qwen2";

fn prompt() -> Vec<u32> {
    golden(MODEL).prompts[0].ids.clone()
}

async fn digest(system: &System) -> [u8; 32] {
    let outcome = system.ask(ids_request(&prompt(), 6)).await;
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    outcome.logits_digest.expect("asked for")
}

fn setup(parameters: &str) -> Setup {
    Setup {
        parameters: Parameters::find(parameters).expect("in the table"),
        ..Setup::masked(Masking::ModuleLwe)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_set_and_weight_format_gives_the_plain_bits() {
    for weights in [WeightFormat::Int16, WeightFormat::Int8] {
        let with = |mut setup: Setup| {
            setup.device.weights = weights;
            setup
        };
        let plain = with(Setup::masked(Masking::DangerousPlaintext));
        let expected = digest(&plain.start(&model_dir(MODEL)).await).await;
        for parameters in &PARAMETERS {
            let system = with(setup(parameters.name)).start(&model_dir(MODEL)).await;
            assert_eq!(
                digest(&system).await,
                expected,
                "{}, {weights:?}",
                parameters.name
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_on_two_engines_share_the_pools() {
    let plain = Setup::masked(Masking::DangerousPlaintext);
    let expected = digest(&plain.start(&model_dir(MODEL)).await).await;
    let setup = Setup {
        engines: 2,
        minting: 2,
        max_batch_rows: 24,
        ..setup("256x10")
    };
    let system = setup.start(&model_dir(MODEL)).await;
    // More rows than a batch has masks.
    let requests = (0..24).map(|_| ids_request(&prompt(), 6)).collect();
    for outcome in system.ask_all(requests).await {
        assert_eq!(outcome.logits_digest, Some(expected));
    }
    let counters = system.cvm.counters();
    assert!(counters.draws >= counters.projections, "{counters:?}");
    assert!(counters.rows > 256, "{counters:?}");
}

/// The only file in a directory.
fn kept(dir: &tempfile::TempDir) -> PathBuf {
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].as_ref().unwrap().path()
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_rows_are_used_and_tampered_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        cache_dir: Some(dir.path().into()),
        ..setup("256x10")
    };
    let start = || async {
        let system = setup.start(&model_dir(MODEL)).await;
        let from = system.cvm.summary().masks.expect("module-lwe").public_rows;
        (digest(&system).await, from)
    };
    let (expected, from) = start().await;
    assert_eq!(from, PublicRowsFrom::Host);
    assert_eq!(start().await, (expected, PublicRowsFrom::Cache));

    // One bit, somewhere: refused, computed anew, kept anew.
    let path = kept(&dir);
    let good = fs::read(&path).unwrap();
    for at in [48, good.len() / 2 + 1, good.len() - 4] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert_eq!(start().await, (expected, PublicRowsFrom::Host), "byte {at}");
        assert_eq!(fs::read(kept(&dir)).unwrap(), good);
    }
    // Cut off.
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(start().await, (expected, PublicRowsFrom::Host));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_memory_is_refused_with_the_numbers() {
    let needs = |memory| Setup {
        mask_memory: Some(memory),
        ..setup("512x5")
    };
    let model = talaria_local::hosts::load(&model_dir(MODEL), Default::default(), |_| {})
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let system = needs(1 << 40)
        .serve(&model)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let needed = system
        .cvm
        .summary()
        .masks
        .expect("module-lwe")
        .memory
        .total();
    drop(system);
    let error = cvm_error(
        needs(needed - 1)
            .serve(&model)
            .await
            .err()
            .expect("must refuse"),
    );
    assert!(matches!(error, CvmError::MaskMemory { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("512x5 needs"), "{error}");
    assert!(error.contains("parameter set 256x10 fits"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lies_about_public_rows_is_refused_at_set_up() {
    // Set-up probes every projection with one row: calls with more are for R_pub.
    let faults: Faults = Arc::new(|answer| {
        let flip = FaultInjection::FlipResidue {
            residue: 3,
            delta: 1,
        };
        (answer.rows > 1 && answer.projection == 2).then_some(flip)
    });
    let setup = Setup {
        faults: vec![Some(faults)],
        ..setup("256x10")
    };
    let model = talaria_local::hosts::load(&model_dir(MODEL), Default::default(), |_| {})
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let error = setup
        .serve(&model)
        .await
        .err()
        .expect("must refuse")
        .to_string();
    assert!(error.contains("GPU host 1 does not multiply"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wgpu_gives_the_bits_of_the_cpu_plane_by_plane() {
    if !talaria_tests::system::has_gpu() {
        return;
    }
    let on_cpu = digest(&setup("256x10").start(&model_dir(MODEL)).await).await;
    let on_gpu = setup("256x10").on(BackendKind::Wgpu);
    assert_eq!(digest(&on_gpu.start(&model_dir(MODEL)).await).await, on_cpu);
}
