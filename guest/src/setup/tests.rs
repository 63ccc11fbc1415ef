use super::*;
use crate::testing::{self, TestWorld, options};
use talaria_wire::manifest::Role;

fn refused(result: Result<Ready, SetupError>) -> String {
    result.err().expect("set-up must refuse").to_string()
}

#[test]
fn digest_is_of_manifest_and_planes() {
    let mut world = TestWorld::new();
    let mut hasher = ModelHasher::new(&world.manifest.to_bytes());
    hasher.planes(&world.planes());
    assert_eq!(world.ready(Scheme::Shares).digest, hasher.finish());
}

#[test]
fn another_digest_is_refused_before_any_row_is_sent() {
    let mut world = TestWorld::new();
    let options = Options {
        expected_digest: Some([7; 32]),
        ..options(Scheme::Shares)
    };
    let error = refused(world.try_ready(options));
    assert!(error.contains("expected 0707"), "{error}");
    assert!(world.seen.is_empty());
}

#[test]
fn too_few_and_too_many_bytes_are_refused() {
    let mut world = TestWorld::new();
    let planes = world.planes();
    let bytes = world.manifest.to_bytes();
    let mut ingest = Ingest::begin(bytes.clone(), options(Scheme::Shares), &mut world).unwrap();
    ingest.ingest(&planes[..planes.len() - 1]).unwrap();
    assert!(refused(ingest.finish(&mut world)).contains("bytes of weights"));

    let mut ingest = Ingest::begin(bytes, options(Scheme::Shares), &mut world).unwrap();
    ingest.ingest(&planes).unwrap();
    assert!(matches!(ingest.ingest(&[0]), Err(SetupError::TooMany(_))));
}

#[test]
fn a_second_host_with_other_weights_is_named() {
    let mut world = TestWorld::new();
    // One weight of one matrix, by one.
    world.weights[1][3][0] += 1;
    let error = refused(world.try_ready(options(Scheme::Shares)));
    assert!(error.contains("GPU host 2"), "{error}");
}

#[test]
fn a_host_that_multiplies_with_other_weights_than_it_streams_is_refused() {
    for scheme in Scheme::ALL {
        let mut world = TestWorld::new();
        world.tamper = Box::new(|answers| answers[0][0] ^= 1);
        let error = refused(world.try_ready(options(scheme)));
        assert!(error.contains("GPU host 1"), "{error}");
    }
}

#[test]
fn a_matrix_too_wide_for_exactness_is_named() {
    let mut world = TestWorld::new();
    let down = world.manifest.index_of(Role::Down.of(1));
    let (i, k) = (down.unwrap(), 17_000);
    world.manifest.decoder.intermediate_size = k as u32;
    let n = world.manifest.projections[i].n;
    let shapes = world.manifest.structure.shapes(&world.manifest.decoder, 2);
    for (p, (place, k, n)) in world.manifest.projections.iter_mut().zip(shapes) {
        (p.place, p.k, p.n) = (place, k, n);
        p.scales = vec![1.0; n as usize];
    }
    for weights in &mut world.weights {
        for (w, p) in weights.iter_mut().zip(&world.manifest.projections) {
            w.resize((p.k * p.n) as usize, 0);
        }
        weights[i] = vec![127 * 257; k * n as usize];
    }
    let error = refused(world.try_ready(options(Scheme::Shares)));
    assert!(error.contains("layer 1 down is too wide"), "{error}");
}

#[test]
fn options_out_of_range_are_refused() {
    let mut world = TestWorld::new();
    for rows in [0, MAX_BATCH_ROWS + 1] {
        let bad = Options {
            max_batch_rows: rows,
            ..options(Scheme::Shares)
        };
        let error = refused(world.try_ready(bad));
        let expected = format!("max-batch-rows = {rows}, expected 1..=1024");
        assert!(error.contains(&expected), "{error}");
    }
    for rank in [0.0, 1.5, f32::NAN] {
        let bad = Options {
            remo_rank: rank,
            ..options(Scheme::Remo)
        };
        assert!(refused(world.try_ready(bad)).contains("remo-rank"));
    }
    let bad = Options {
        parameters: "64x2".into(),
        ..options(Scheme::ModuleLwe)
    };
    assert!(refused(world.try_ready(bad)).contains("no parameter set \"64x2\""));
}

#[test]
fn another_instance_takes_over_and_refuses_nonsense() {
    let mut world = TestWorld::new();
    for scheme in [Scheme::Shares, Scheme::ModuleLwe] {
        let ready = world.ready(scheme);
        let bytes = ready.snapshot();
        let restored = Ready::restore(bytes.clone(), &mut world).unwrap();
        assert_eq!(restored.digest, ready.digest);
        let bits = |r: &Ready| r.projections.iter().map(|p| p.row_bits).collect::<Vec<_>>();
        assert_eq!(bits(&restored), bits(&ready));
        for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(Ready::restore(bytes[..end].to_vec(), &mut world).is_err());
        }
    }
}

/// Shapes come from the manifest, so what another instance says of them has to agree.
#[test]
fn a_snapshot_whose_shapes_do_not_fit_is_refused() {
    type Change = fn(&mut Vec<Measured>);
    let changes: [(&str, Change); 8] = [
        ("one matrix fewer", |m| drop(m.pop())),
        ("one matrix more", |m| m.push(m[0].clone())),
        ("no matrix", Vec::clear),
        ("two matrices swapped", |m| m.swap(1, 2)),
        ("rows of 1 bit", |m| m[1].row_bits = 1),
        ("rows of 23 bits", |m| m[1].row_bits = 23),
        ("a sum that no matrix has", |m| m[1].plane_l1 = u64::MAX),
        ("vectors of other planes", |m| {
            let options = options(Scheme::ModuleLwe);
            let other = TestWorld::new().try_ready(options).unwrap();
            m[2].check = other.projections[2].check.clone();
        }),
    ];
    let mut world = TestWorld::new();
    let bytes = world.ready(Scheme::Shares).snapshot();
    for (what, change) in changes {
        let mut snapshot: Snapshot = postcard::from_bytes(&bytes).unwrap();
        change(&mut snapshot.measured);
        let changed = postcard::to_allocvec(&snapshot).unwrap();
        world.seen.clear();
        let refused = Ready::restore(changed, &mut world).err();
        assert!(matches!(refused, Some(SetupError::Snapshot(_))), "{what}");
        // Before any row is sent.
        assert!(world.seen.is_empty(), "{what}");
    }
}

/// The check vectors of each matrix are those of its own key, which the world gave, over all of its columns.
#[test]
fn every_matrix_has_check_vectors_from_a_key_of_its_own() {
    for scheme in Scheme::ALL {
        let mut world = TestWorld::new();
        let ready = world.ready(scheme);
        let apart = ready.masking.module_lwe().is_some();
        let keys = world.keys_given();
        let weights = &world.weights[0];
        for ((projection, key), weights) in ready.projections.iter().zip(&keys).zip(weights) {
            let mut fold = Fold::new(key, projection.k, projection.outputs);
            let planes = testing::planes_apart(weights);
            for (i, column) in planes.chunks(projection.k).enumerate() {
                let (plane, c) = (i / projection.n, i % projection.n);
                let bytes: Vec<u8> = column.iter().map(|w| *w as u8).collect();
                match apart {
                    true => fold.column(i, 1, &bytes),
                    false => fold.column(c, [256, 1][plane], &bytes),
                }
            }
            let (check, l1) = fold.finish();
            let bytes = |check| postcard::to_allocvec(check).unwrap();
            assert!(
                bytes(&check) == bytes(&projection.check),
                "{scheme:?}, {}",
                projection.name
            );
            assert_eq!(l1, projection.plane_l1);
        }
    }
}

/// What evidence and receipts say, also of a set-up that was taken over.
#[test]
fn masking_is_named_with_its_parameters() {
    let mut world = TestWorld::new();
    for (scheme, expected) in [
        (Scheme::Shares, "shares"),
        (Scheme::ModuleLwe, "module-lwe 256x10"),
        (Scheme::Remo, "remo 0.5"),
        (Scheme::DangerousPlaintext, "dangerous-plaintext"),
    ] {
        let ready = world.ready(scheme);
        assert_eq!(ready.masking.name(), expected);
        let restored = Ready::restore(ready.snapshot(), &mut world).unwrap();
        assert_eq!(restored.masking.name(), expected);
    }
}

#[test]
fn rows_are_as_wide_as_the_weights_allow() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::Shares);
    for (projection, weights) in ready.projections.iter().zip(&world.weights[0]) {
        if projection.is_embedding {
            continue;
        }
        let l1 = weights.chunks(projection.k).flat_map(|column| {
            let planes = column
                .iter()
                .map(|w| talaria_arithmetic::fixed_point::split_planes(*w));
            let (hi, lo) = planes.fold((0, 0), |(hi, lo), (h, l)| {
                (
                    hi + u64::from(h.unsigned_abs()),
                    lo + u64::from(l.unsigned_abs()),
                )
            });
            [hi, lo]
        });
        assert_eq!(
            Some(projection.row_bits),
            exactness::row_bits(l1.max().unwrap())
        );
    }
}
