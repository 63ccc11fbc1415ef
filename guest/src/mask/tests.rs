use super::*;
use crate::check::Fold;
use crate::testing::{PARAMETERS, TestWorld, options};
use proptest::prelude::*;
use talaria_arithmetic::module_lwe::{Noise, Parameters, Secret, mint_block};
use talaria_arithmetic::{keystream, residue};

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
) -> Vec<i64> {
    let projection = &ready.projections[at];
    let masked = ready.masking.mask(projection, x, world).unwrap();
    let answers = world.project(masked.rows()).unwrap();
    let checked = ready
        .masking
        .check(projection, x, &masked, answers)
        .unwrap();
    ready.masking.unmask(projection, masked, checked).to_vec()
}

/// X W by definition.
fn plain(world: &TestWorld, at: usize, x: &FixedRows) -> Vec<i64> {
    let columns = world.weights[0][at].chunks(x.k());
    let dot = |x: &[i32], w: &[i32]| -> i64 {
        x.iter()
            .zip(w)
            .map(|(x, w)| i64::from(*x) * i64::from(*w))
            .sum()
    };
    x.iter()
        .flat_map(|x| columns.clone().map(move |w| dot(x, w)))
        .collect()
}

#[test]
fn every_scheme_gives_the_plain_product() {
    for scheme in Scheme::ALL {
        let mut world = TestWorld::new();
        let ready = world.ready(scheme);
        for at in [1, 2, 4, 9] {
            let x = rows(3, ready.projections[at].k);
            let plain = plain(&world, at, &x);
            assert_eq!(
                round_trip(&mut world, &ready, at, &x),
                plain,
                "{scheme:?}, projection {at}"
            );
        }
    }
}

#[test]
fn the_embedding_is_exact_under_every_scheme() {
    for scheme in Scheme::ALL {
        let mut world = TestWorld::new();
        let ready = world.ready(scheme);
        let x = FixedRows::one_hot(&[3, 39, 0], ready.projections[0].k);
        let plain = plain(&world, 0, &x);
        assert_eq!(round_trip(&mut world, &ready, 0, &x), plain, "{scheme:?}");
    }
}

/// Rows and weights at the ends of their ranges, every sign: the largest signal, and the noise that comes.
#[test]
fn rounding_is_exact_at_the_bounds() {
    let mut world = TestWorld::new();
    for weights in &mut world.weights {
        let signs = (0..).map(|i: usize| if i.is_multiple_of(3) { -1 } else { 1 });
        weights[1] = signs.take(weights[1].len()).map(|s| s * 32639).collect();
    }
    let ready = world.ready(Scheme::ModuleLwe);
    let projection = &ready.projections[1];
    let most = (1 << (projection.row_bits - 1)) - 1;
    for x in [vec![most; projection.k], vec![-most; projection.k]] {
        let x = FixedRows::from_integers([x.clone(), x].concat(), projection.k);
        let plain = plain(&world, 1, &x);
        assert_eq!(round_trip(&mut world, &ready, 1, &x), plain);
    }
}

#[test]
fn every_minted_mask_is_sent_once() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::ModuleLwe);
    let projection = &ready.projections[1];
    world.mint(1);
    let minted: Vec<Vec<u32>> = world.supply[&1]
        .iter()
        .map(|(mask, _)| mask.clone())
        .collect();
    world.seen.clear();
    let x = FixedRows::from_integers(vec![0; 5 * projection.k], projection.k);
    round_trip(&mut world, &ready, 1, &x);
    // Of rows of zeros a host sees the masks.
    let [(_, hosts)] = &world.seen[..] else {
        panic!("one call")
    };
    let seen: Vec<_> = hosts[0].chunks(2 * projection.k).collect();
    assert_eq!(seen, minted[..5]);
    assert_eq!(world.supply[&1].len(), minted.len() - 5);
}

#[test]
fn minted_masks_of_a_wrong_length_are_refused() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::ModuleLwe);
    let projection = &ready.projections[1];
    let x = rows(1, projection.k);
    let good = (vec![0; 2 * projection.k], vec![0; 2 * projection.outputs]);
    for (mask, correction) in [
        (vec![0; 2 * projection.k - 1], good.1.clone()),
        (good.0.clone(), vec![0; 2]),
        (Vec::new(), Vec::new()),
        // A residue more, and a row more.
        (vec![0; 2 * projection.k + 1], good.1.clone()),
        (good.0.clone(), vec![0; 2 * projection.outputs + 1]),
        (vec![0; 4 * projection.k], vec![0; 4 * projection.outputs]),
    ] {
        world.supply.insert(1, [(mask, correction)].into());
        assert!(ready.masking.mask(projection, &x, &mut world).is_err());
    }
}

#[test]
fn a_batch_is_made_in_order_and_once() {
    let mut world = TestWorld::new();
    let parameters = talaria_arithmetic::module_lwe::Parameters::default_set();
    let block = vec![1; parameters.block_words()];
    let mut batch = Batch::begin(parameters.name, 17, 16, &mut world).unwrap();
    assert!(batch.corrections(&block).is_err());
    let first = batch.masks(&block).unwrap();
    assert!(batch.masks(&block[1..]).is_err());
    // Fresh noise for every block.
    let mut batch = Batch::begin(parameters.name, 17, 16, &mut world).unwrap();
    let (one, two) = (batch.masks(&block).unwrap(), batch.masks(&block).unwrap());
    assert_ne!(one, two);
    assert_ne!(one, first);
    assert!(batch.masks(&block).is_err());
    assert!(!batch.is_done());
    batch.corrections(&block).unwrap();
    assert!(batch.is_done());
    assert!(Batch::begin("512x1", 16, 16, &mut world).is_err());
}

/// Batch after batch: the secret and the noise are expanded from keys that the world gave for this batch, and from
/// nothing else.
#[test]
fn a_batch_has_its_secret_and_its_noise_from_the_world() {
    let mut world = TestWorld::new();
    let parameters = Parameters::find(PARAMETERS).unwrap();
    let centred = (0..).map(|i: i32| i.wrapping_mul(0x9e37_79b9_u32 as i32) % 1_000_000_007);
    let block: Vec<i32> = centred.take(parameters.block_words()).collect();
    let minted = |secret: &[u8; 32], noise: Option<Noise<'_>>| {
        let mut masks = vec![0; parameters.mask_words()];
        let secret = Secret::draw(parameters, secret);
        mint_block(&secret, noise, &block, &mut masks).unwrap();
        masks
    };
    for batch in 0..3 {
        let mut made = Batch::begin(PARAMETERS, 17, 16, &mut world).unwrap();
        let [secret, noise] = world.keys_given()[..] else {
            panic!("a batch has two keys")
        };
        assert_ne!(secret, noise);
        for number in 0..2 {
            let expected = minted(&secret, Some((&noise, number)));
            assert!(
                made.masks(&block).unwrap() == expected,
                "batch {batch}, block {number}"
            );
        }
        let expected = minted(&secret, None);
        assert!(
            made.corrections(&block).unwrap() == expected,
            "batch {batch}"
        );
        assert!(world.given.is_empty());
    }
}

#[test]
fn shares_of_every_send_come_from_a_key_that_the_world_gave() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::Shares);
    world.given.clear();
    let projection = &ready.projections[1];
    let x = rows(3, projection.k);
    for _ in 0..3 {
        let masked = ready.masking.mask(projection, &x, &mut world).unwrap();
        let [key] = world.keys_given()[..] else {
            panic!("a send has one key")
        };
        let [Shipment::Residues(first), Shipment::Seed(second)] = masked.rows.shipments() else {
            panic!("one host gets residues, the other a seed")
        };
        assert_eq!(**second, key);
        let mask = keystream::expand_rows(&key, 3, projection.k);
        assert_eq!(*first, sum(&x.residues(), &mask, projection.k));
    }
}

/// a + b, both rows x (k modulo P1, k modulo P2).
fn sum(a: &[u32], b: &[u32], k: usize) -> Vec<u32> {
    let halves = a.chunks(k).zip(b.chunks(k)).zip(PRIMES.iter().cycle());
    let sums = halves.flat_map(|((a, b), p)| {
        let residues = a.iter().zip(b);
        residues.map(|(a, b)| residue::add(*a, *b, *p))
    });
    sums.collect()
}

/// `M_pvt M_pub`, with M_pub (m,k) as the scheme's documentation has it.
fn remo_mask(m_pvt: &[u32], k: usize) -> Vec<u32> {
    let m = m_pvt.len() / 2;
    let m_pub = keystream::expand_rows(b"talaria remo: public rows, v1...", m, k);
    let terms = m_pub.chunks(2 * k).enumerate().map(|(i, row)| {
        let halves = row.chunks(k).zip([m_pvt[i], m_pvt[m + i]]).zip(PRIMES);
        let products =
            halves.flat_map(|((row, s), p)| row.iter().map(move |r| residue::mul(*r, s, p)));
        products.collect::<Vec<_>>()
    });
    terms.fold(vec![0; 2 * k], |mask, term| sum(&mask, &term, k))
}

#[test]
fn every_row_of_remo_has_a_secret_that_the_world_gave_for_it() {
    // Rank, projection, numbers of a secret: at least one, and of the embedding no more than it has outputs.
    for (remo_rank, at, m) in [(0.5, 1, 8), (1.0, 1, 16), (0.01, 1, 1), (0.5, 0, 16)] {
        let mut world = TestWorld::new();
        let options = Options {
            remo_rank,
            ..options(Scheme::Remo)
        };
        let ready = world.try_ready(options).unwrap();
        world.given.clear();
        let projection = &ready.projections[at];
        let k = projection.k;
        let x = rows(3, k);
        let masked = ready.masking.mask(projection, &x, &mut world).unwrap();
        let [Shipment::Residues(sent)] = masked.rows.shipments() else {
            panic!("one host gets residues")
        };
        let keys = world.keys_given();
        assert_eq!(keys.len(), 3);
        let masks = keys.iter().flat_map(|key| {
            let mut m_pvt = vec![0; 2 * m];
            keystream::expand_row(key, 0, &mut m_pvt);
            remo_mask(&m_pvt, k)
        });
        let masks: Vec<u32> = masks.collect();
        let expected = sum(&x.residues(), &masks, k);
        assert!(*sent == expected, "rank {remo_rank}, projection {at}");
    }
}

/// Each host at set-up gets a row of its own, from a key that the world gave.
#[test]
fn probes_are_rows_that_the_world_gave() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::Shares);
    let keys = world.keys_given();
    // A key for the check vectors of each matrix, then one for each probe.
    let (_, probes) = keys.split_at(ready.projections.len());
    assert_eq!(probes.len(), ready.projections.len());
    assert_eq!(world.seen.len(), probes.len());
    for ((projection, seen), key) in world.seen.iter().zip(probes) {
        let k = ready.projections[*projection as usize].k;
        let mut other = *key;
        other[31] ^= 1;
        let expected = [key, &other].map(|key| keystream::expand_rows(key, 1, k));
        assert_eq!(seen[..], expected);
    }
}

#[test]
fn what_hosts_learn_is_said() {
    let mut world = TestWorld::new();
    let mut leaks = |scheme| {
        let options = Options {
            remo_rank: 0.25,
            ..options(scheme)
        };
        world.try_ready(options).unwrap().masking.leaks()
    };
    assert_eq!(leaks(Scheme::Shares), "");
    assert_eq!(leaks(Scheme::ModuleLwe), "");
    let of_remo = leaks(Scheme::Remo);
    for part in ["rank 0.25", "other 75 %", "every token of prompt and reply"] {
        assert!(of_remo.contains(part), "{part:?} in {of_remo:?}");
    }
    let of_plaintext = leaks(Scheme::DangerousPlaintext);
    assert!(of_plaintext.starts_with("EVERYTHING"), "{of_plaintext:?}");
}

#[test]
fn public_matrices_beyond_memory_are_refused_before_any_is_made() {
    let mut world = TestWorld::new();
    // k / 2 rows of k and n residues modulo each prime, 4 * k * (k + n) bytes: the larger matrix is M_pub, then R_pub.
    for (k, n, megabytes) in [(20_100, 1, 1541), (4096, 95_000, 1548)] {
        let mut projection = world.ready(Scheme::Shares).projections.swap_remove(1);
        world.seen.clear();
        (projection.k, projection.n) = (k, n);
        projection.check = Fold::new(&[0; 32], k, n).finish().0;
        let remo = Chosen::new(&options(Scheme::Remo)).unwrap();
        let refused = remo.set_up(&[projection], &mut world).err().unwrap();
        let expected = format!("needs {megabytes} MB for M_pub and R_pub, an instance has 1536");
        assert!(refused.to_string().contains(&expected), "{refused}");
        assert!(world.seen.is_empty());
    }
}

/// Answers of a host that was not asked, of none, and of more residues than there are.
#[test]
fn answers_of_another_shape_are_refused() {
    type Change = fn(&mut Vec<Vec<u32>>);
    let changes: [Change; 6] = [
        |answers| answers.push(answers[0].clone()),
        |answers| drop(answers.pop()),
        |answers| answers[0].push(0),
        |answers| answers[0].truncate(1),
        |answers| answers.last_mut().unwrap().push(0),
        |answers| answers.last_mut().unwrap().truncate(1),
    ];
    for scheme in Scheme::ALL {
        let mut world = TestWorld::new();
        let ready = world.ready(scheme);
        let projection = &ready.projections[1];
        let x = rows(2, projection.k);
        let masked = ready.masking.mask(projection, &x, &mut world).unwrap();
        let answers = world.project(masked.rows()).unwrap();
        let refused = |answers| {
            let checked = ready.masking.check(projection, &x, &masked, answers);
            checked.is_err()
        };
        for change in changes {
            let mut changed = answers.clone();
            change(&mut changed);
            assert!(refused(changed), "{scheme:?}");
        }
        assert!(!refused(answers), "{scheme:?}");
    }
}

#[test]
fn public_rows_are_fetched_checked_and_refused() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::ModuleLwe);
    let masking = ready.masking.module_lwe().unwrap();
    let projection = &ready.projections[2];
    world.seen.clear();
    let good = masking
        .fetch_public_rows(projection, 7, 3, &mut world)
        .unwrap();
    let row = |row| {
        let mut a = vec![0; 2 * projection.k];
        keystream::expand_row(&ready.options.public_seed, row, &mut a);
        a
    };
    assert_eq!(world.seen, [(2, vec![[7, 8, 9].map(row).concat()])]);
    assert_eq!(good.len(), 3 * 2 * projection.outputs);
    let check = |first, rows: Vec<u32>| masking.check_public_rows(projection, first, rows);
    assert!(check(7, good.clone()).unwrap());
    assert!(!check(8, good.clone()).unwrap());
    for at in [0, 1, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(!check(7, bad).unwrap());
    }
    assert!(!check(7, good[1..].to_vec()).unwrap());
    let most = masking.parameters().public_rows() as u32;
    assert!(check(most - 2, good).is_err());
    assert!(
        masking
            .fetch_public_rows(projection, 0, 0, &mut world)
            .is_err()
    );
    assert!(
        masking
            .fetch_public_rows(projection, most, 1, &mut world)
            .is_err()
    );
    world.tamper = Box::new(|answers| answers[0][5] ^= 1);
    let refused = masking.fetch_public_rows(projection, 7, 3, &mut world);
    assert!(matches!(refused, Err(PublicRowsError::WrongHost(_))));
}

#[test]
fn no_send_repeats() {
    for scheme in [Scheme::Shares, Scheme::ModuleLwe, Scheme::Remo] {
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
    fn a_lying_host_is_caught(scheme in prop::sample::select(&Scheme::ALL), host: bool, row in 0usize..3,
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
            let masked = ready.masking.mask(projection, &x, world).unwrap();
            let mut answers = world.project(masked.rows()).unwrap();
            let host = usize::from(host).min(answers.len() - 1);
            let n = projection.outputs;
            let at = at.index(2 * n);
            let p = PRIMES[at / n];
            let residue = &mut answers[host][row * 2 * n + at];
            let changed = if raw { residue.wrapping_add(delta) } else { residue::add(*residue, delta % p, p) };
            let honest = changed == *residue;
            *residue = changed;
            let result = ready.masking.check(projection, &x, &masked, answers);
            prop_assert_eq!(result.is_ok(), honest);
            Ok(())
        })?;
    }
}
