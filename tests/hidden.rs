//! module-LWE against attacks: on minted masks, on what a GPU host recorded, and on planted defects, each of which
//! an attack must find.

use std::sync::{Arc, Mutex};
use talaria_adversary::statistics::{
    any_repeated, correlation_of_mean, predicted_points, rank, small_differences, worst_deviation,
};
use talaria_arithmetic::{
    PRIMES, keystream,
    module_lwe::{LANES, PARAMETERS, Parameters, PublicPolynomials, Secret, mint_block},
    residue::{self, Factor},
};
use talaria_host_cvm::Masking;
use talaria_host_gpu::{
    record::{Observer, Seen},
    scheduler::rows::ClaimBody,
};
use talaria_tests::{
    golden::{golden, model_dir},
    system::{Setup, ids_request},
};

/// Deviation that one look in 10^9 exceeds; a test looks some hundred times.
const CHANCE: f64 = 6.5;
const PUBLIC_SEED: [u8; 32] = [9; 32];

/// What makes masks: right, or broken on purpose.
struct Mint {
    parameters: &'static Parameters,
    a: PublicPolynomials,
    batches: u8,
    same_secret: bool,
    noise: bool,
}

impl Mint {
    fn new(parameters: &'static Parameters, features: usize) -> Self {
        let mut a = PublicPolynomials::new(parameters, features);
        for row in 0..parameters.public_rows() {
            a.set_row(row, &public_row(row, features)).unwrap();
        }
        Self {
            parameters,
            a,
            batches: 0,
            same_secret: false,
            noise: true,
        }
    }

    /// Rows of a batch: (features modulo P1, features modulo P2).
    fn batch(&mut self) -> Vec<Vec<u32>> {
        self.batches += 1;
        let seed = if self.same_secret { 0 } else { self.batches };
        let secret = Secret::draw(self.parameters, &[seed; 32]);
        let key = [self.batches.wrapping_add(100); 32];
        let (degree, features) = (self.parameters.degree, self.a.columns());
        let mut rows = vec![vec![0; 2 * features]; degree];
        let mut lanes = vec![0; 2 * degree * LANES];
        for block in 0..self.a.blocks() {
            let noise = self.noise.then_some((&key, block as u64));
            mint_block(&secret, noise, self.a.block(block), &mut lanes).unwrap();
            let width = LANES.min(features - block * LANES);
            for (i, lanes) in lanes.chunks(LANES).enumerate() {
                let (prime, row) = (i / degree, i % degree);
                let at = prime * features + block * LANES;
                rows[row][at..at + width].copy_from_slice(&lanes[..width]);
            }
        }
        rows
    }
}

fn public_row(row: usize, features: usize) -> Vec<u32> {
    let mut residues = vec![0; 2 * features];
    keystream::expand_row(&PUBLIC_SEED, row as u32, &mut residues);
    residues
}

fn a(row: usize, feature: usize) -> u32 {
    public_row(row, feature + 1)[feature]
}

#[test]
fn masks_look_uniform_and_broken_ones_do_not() {
    for parameters in &PARAMETERS {
        let parameters = Parameters::find(parameters.name).unwrap();
        let mut mint = Mint::new(parameters, 64);
        let mut rows: Vec<Vec<u32>> = (0..4).flat_map(|_| mint.batch()).collect();
        let found = worst_deviation(&rows);
        assert!(found < CHANCE, "{}: {found}", parameters.name);
        assert!(!any_repeated(&rows));
        for rows in rows.chunks_exact(64).take(16) {
            assert_eq!(rank(rows, 64), 64, "{}", parameters.name);
        }

        // One mask used twice.
        rows[70] = rows[65].clone();
        assert!(any_repeated(&rows));
        assert_eq!(rank(&rows[64..], 64), 63);
        // Keystream words above the prime folded back instead of rejected: small residues twice as often.
        let biased = |row: &Vec<u32>| -> Vec<u32> {
            let half = row.len() / 2;
            let fold = |(i, r): (usize, &u32)| {
                let p = u64::from(PRIMES[usize::from(i >= half)]);
                let word = (u64::from(*r) << 31) / p;
                (word % p) as u32
            };
            row.iter().enumerate().map(fold).collect()
        };
        let broken: Vec<_> = rows.iter().map(biased).collect();
        assert!(worst_deviation(&broken) > CHANCE);
        // Few bits of entropy.
        let poor: Vec<Vec<u32>> = rows
            .iter()
            .map(|r| r.iter().map(|r| r & !3).collect())
            .collect();
        assert!(worst_deviation(&poor) > CHANCE);
    }
}

#[test]
fn without_noise_the_null_space_shows_and_with_noise_it_does_not() {
    for parameters in &PARAMETERS {
        let parameters = Parameters::find(parameters.name).unwrap();
        let mut mint = Mint::new(parameters, parameters.rank + 1);
        assert_eq!(predicted_points(parameters, &mint.batch(), a), 0.0);
        mint.noise = false;
        assert_eq!(predicted_points(parameters, &mint.batch(), a), 1.0);
    }
}

#[test]
fn a_reused_secret_shows_in_differences_and_a_fresh_one_does_not() {
    let mut mint = Mint::new(Parameters::default_set(), 64);
    let (one, other) = (mint.batch(), mint.batch());
    let found = |a: &[Vec<u32>], b: &[Vec<u32>]| -> f64 {
        let shares = a.iter().zip(b).map(|(a, b)| small_differences(a, b));
        shares.sum::<f64>() / a.len() as f64
    };
    // 127 of 2^31 residues are small: over 65,536 of them less than one is expected.
    assert!(found(&one, &other) < 1e-4);
    mint.same_secret = true;
    let (one, other) = (mint.batch(), mint.batch());
    assert_eq!(found(&one, &other), 1.0);
}

#[test]
fn a_million_masks_and_none_twice() {
    let parameters = Parameters::find("1024x3").unwrap();
    let mut a = PublicPolynomials::new(parameters, 4);
    for row in 0..parameters.public_rows() {
        a.set_row(row, &public_row(row, 4)).unwrap();
    }
    let mut masks: Vec<u128> = Vec::with_capacity(1 << 20);
    let mut lanes = vec![0; 2 * parameters.degree * LANES];
    for batch in 0..1024u32 {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&batch.to_le_bytes());
        let secret = Secret::draw(parameters, &seed);
        seed[31] = 1;
        mint_block(&secret, Some((&seed, 0)), a.block(0), &mut lanes).unwrap();
        // Four features modulo P1 of each row.
        masks.extend(
            lanes
                .chunks(LANES)
                .take(parameters.degree)
                .map(|l| l[..4].iter().fold(0, |mask, r| mask << 32 | u128::from(*r))),
        );
    }
    assert_eq!(masks.len(), 1 << 20);
    masks.sort_unstable();
    assert!(masks.windows(2).all(|pair| pair[0] != pair[1]));
}

/// Rows that a host saw, by projection.
#[derive(Default)]
struct Recorded(Mutex<Vec<(u32, Vec<u32>)>>);

impl Observer for Recorded {
    fn saw(&self, request: &Seen) {
        let ClaimBody::Residues(bytes) = &request.body else {
            return;
        };
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let rows = words.chunks_exact(words.len() / request.rows as usize);
        let mut seen = self.0.lock().unwrap();
        seen.extend(rows.map(|row| (request.projection, row.to_vec())));
    }
}

/// The same prompt again and again, so that every row is sent many times: what the host recorded is as uniform as
/// masks of nothing, and neither differences nor means say anything.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_traffic_says_nothing() {
    const MODEL: &str = "tiny-llama";
    const SENDS: usize = 200;
    let recorded = Arc::new(Recorded::default());
    let setup = Setup {
        observer: Some(recorded.clone()),
        ..Setup::masked(Masking::ModuleLwe)
    };
    let system = setup.start(&model_dir(MODEL)).await;
    // Public rows of set-up are no secret and not looked at.
    recorded.0.lock().unwrap().clear();
    let ids = golden(MODEL).prompts[0].ids[..1].to_vec();
    for _ in 0..SENDS {
        system
            .ask(ids_request(&ids, 1))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
    }
    let seen = std::mem::take(&mut *recorded.0.lock().unwrap());
    let of = |projection: u32| -> Vec<Vec<u32>> {
        let rows = seen.iter().filter(|(at, _)| *at == projection);
        rows.map(|(_, row)| row.clone()).collect()
    };
    for projection in 0..4 {
        let rows = of(projection);
        assert_eq!(rows.len(), SENDS, "projection {projection}");
        let found = worst_deviation(&rows);
        assert!(found < CHANCE, "projection {projection}: {found}");
        assert!(!any_repeated(&rows));
        assert_eq!(rank(&rows, 64), 64);
        let differences: f64 = rows
            .windows(2)
            .map(|w| small_differences(&w[0], &w[1]))
            .sum();
        assert!(differences / (SENDS as f64) < 1e-3, "{differences}");
    }
    // The embedding's row is one-hot and known: the hidden Delta X has one element.
    let delta = 1 << 20;
    let vocab = of(0)[0].len() / 2;
    let p = PRIMES[0];
    let hidden: Vec<u32> = (0..vocab as u32)
        .map(|j| Factor::new(delta, p).times(u32::from(j == ids[0])))
        .collect();
    let found = correlation_of_mean(&of(0), &hidden).abs();
    assert!(found * (vocab as f64).sqrt() < CHANCE, "{found}");
    // The same attack finds it where noise is all there is.
    let noisy = |row: Vec<u32>| -> Vec<u32> {
        let noise = row
            .iter()
            .map(|r| residue::from_small((r & 63) as i32 - 32, p));
        noise
            .zip(&hidden)
            .map(|(e, x)| residue::add(e, *x, p))
            .collect()
    };
    let broken: Vec<_> = of(0).into_iter().map(noisy).collect();
    assert!(correlation_of_mean(&broken, &hidden) > 0.99);
}
