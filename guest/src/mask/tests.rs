use super::*;
use crate::{
    setup::Scheme,
    testing::{TestWorld, product},
};
use proptest::prelude::*;

const SCHEMES: [Scheme; 3] = [Scheme::Shares, Scheme::Remo, Scheme::DangerousPlaintext];

fn rows(count: usize, k: usize) -> FixedRows {
    let x: Vec<f32> = (0..count * k).map(|i| (i as f32 * 0.37).sin()).collect();
    FixedRows::quantise(&x, k, 20).unwrap()
}

/// Masks, projects, checks and unmasks.
fn round_trip(
    world: &mut TestWorld,
    ready: &crate::setup::Ready,
    at: usize,
    x: &FixedRows,
) -> Vec<u32> {
    let projection = &ready.projections[at];
    let sealed = ready.masking.mask(projection, x, world);
    let answers = world.project(sealed.rows()).unwrap();
    let checked = ready
        .masking
        .check(projection, x, &sealed, answers)
        .unwrap();
    ready.masking.unmask(projection, sealed, checked)
}

#[test]
fn every_scheme_gives_the_plain_product() {
    for scheme in SCHEMES {
        let mut world = TestWorld::new();
        let ready = world.ready(scheme);
        for at in [1, 2, 4, 9] {
            let x = rows(3, ready.projections[at].k);
            let plain = product(&x.residues(), &world.weights[0][at], x.k());
            assert_eq!(
                round_trip(&mut world, &ready, at, &x),
                plain,
                "{scheme:?}, projection {at}"
            );
        }
    }
}

#[test]
fn minted_masks_give_the_same_product_and_are_used_once() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::Remo);
    let projection = &ready.projections[1];
    let minted = ready.masking.mint(projection, 2, &mut world);
    let first = minted[0].mask.to_vec();
    world.supply = minted;
    let x = rows(3, projection.k);
    let plain = product(&x.residues(), &world.weights[0][1], x.k());
    assert_eq!(round_trip(&mut world, &ready, 1, &x), plain);
    assert!(world.supply.is_empty());
    // What the host saw is the row plus a minted mask.
    let seen = world.seen.last().unwrap().1[0].clone();
    let mut masks: Vec<Vec<u32>> = Vec::new();
    for (seen, x) in seen.chunks(2 * x.k()).zip(x.residues().chunks(2 * x.k())) {
        let mut mask = seen.to_vec();
        combine_halves(&mut mask, x, x.len() / 2, residue::sub);
        masks.push(mask);
    }
    assert!(masks.contains(&first));
    assert_ne!(masks[0], masks[1]);
    assert_ne!(masks[1], masks[2]);
}

#[test]
fn minted_masks_of_a_wrong_length_are_not_used() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::Remo);
    world.supply = vec![MintedMask {
        mask: Zeroizing::new(vec![1]),
        correction: Zeroizing::new(vec![1]),
    }];
    let x = rows(1, ready.projections[1].k);
    let plain = product(&x.residues(), &world.weights[0][1], x.k());
    assert_eq!(round_trip(&mut world, &ready, 1, &x), plain);
}

#[test]
fn no_send_repeats() {
    for scheme in [Scheme::Shares, Scheme::Remo] {
        let mut world = TestWorld::new();
        let ready = world.ready(scheme);
        world.seen.clear();
        let x = rows(2, ready.projections[1].k);
        for _ in 0..20 {
            round_trip(&mut world, &ready, 1, &x);
        }
        let mut rows: Vec<&[u32]> = world
            .seen
            .iter()
            .flat_map(|(_, hosts)| hosts)
            .flat_map(|x| x.chunks(32))
            .collect();
        let count = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), count, "{scheme:?}");
    }
}

/// Each host of `shares` alone sees rows that do not depend on X: the first bytes of every residue are
/// spread evenly for a row of zeros as for a row of ones.
#[test]
fn shares_are_uniform_for_each_host() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::Shares);
    for value in [0, 1, -1] {
        world.seen.clear();
        let k = ready.projections[1].k;
        let x = FixedRows::from_integers(vec![value; 8 * k], k);
        (0..40).for_each(|_| {
            round_trip(&mut world, &ready, 1, &x);
        });
        for host in 0..2 {
            let mut bins = [0f64; 16];
            let mut total = 0.0;
            for (_, hosts) in &world.seen {
                for (half, p) in hosts[host].chunks(k).zip(PRIMES.into_iter().cycle()) {
                    half.iter()
                        .for_each(|r| bins[(u64::from(*r) * 16 / u64::from(p)) as usize] += 1.0);
                    total += k as f64;
                }
            }
            let expected = total / 16.0;
            let chi: f64 = bins.iter().map(|b| (b - expected).powi(2) / expected).sum();
            // 15 degrees of freedom: 60 has probability 2e-7.
            assert!(chi < 60.0, "host {host}, X = {value}: chi-square {chi}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// Whatever a host changes in whatever answer of whatever scheme, nothing is unmasked.
    #[test]
    fn a_lying_host_is_caught(scheme in prop::sample::select(&SCHEMES), host: bool, row in 0usize..3,
                              at: prop::sample::Index, delta in 1u32.., raw: bool) {
        thread_local! {
            static MADE: std::cell::RefCell<Vec<(Scheme, TestWorld, std::rc::Rc<crate::setup::Ready>)>> = Default::default();
        }
        MADE.with_borrow_mut(|made| {
            if !made.iter().any(|(s, ..)| *s == scheme) {
                let mut world = TestWorld::new();
                let ready = world.ready(scheme);
                made.push((scheme, world, ready.into()));
            }
            let (_, world, ready) = made.iter_mut().find(|(s, ..)| *s == scheme).unwrap();
            let projection = &ready.projections[1];
            let x = rows(3, projection.k);
            let sealed = ready.masking.mask(projection, &x, world);
            let mut answers = world.project(sealed.rows()).unwrap();
            let host = usize::from(host).min(answers.len() - 1);
            let n = projection.n;
            let at = at.index(2 * n);
            let p = PRIMES[at / n];
            let residue = &mut answers[host][row * 2 * n + at];
            let changed = if raw { residue.wrapping_add(delta) } else { residue::add(*residue, delta % p, p) };
            let honest = changed == *residue;
            *residue = changed;
            let result = ready.masking.check(projection, &x, &sealed, answers);
            prop_assert_eq!(result.is_ok(), honest);
            Ok(())
        })?;
    }
}
