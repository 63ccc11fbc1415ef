//! Planted defects: masks made wrong on purpose, each of which an attack must find, and right ones, in which none may
//! find anything. Rows are those of random tokens at qkv of layer 0, masked here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{Lab, SEED, assert_at_chance, assert_recovers};
use talaria_adversary::dice::Dice;
use talaria_adversary::metrics::score::{Request, Truth};
use talaria_adversary::metrics::{Outcome, Verdict};
use talaria_adversary::view::{Pass, PublicRows, Rows, View, to_residues};
use talaria_arithmetic::module_lwe::{LANES, Parameters, PublicPolynomials, Secret, mint_block};
use talaria_arithmetic::residue;
use talaria_arithmetic::{PRIMES, keystream};

const MODEL: &str = "tiny-llama";
const ROWS: usize = 384;
/// Too small to be secure, small enough that A has fewer rows than a row has features.
static SMALL: Parameters = Parameters {
    name: "32x3",
    degree: 32,
    rank: 3,
    security_bits: 0,
};
const PUBLIC_SEED: [u8; 32] = [3; 32];

/// Tokens, and the integers that they send to qkv of layer 0.
struct Sent {
    lab: Lab,
    truth: Truth,
    integers: Vec<Vec<i64>>,
}

impl Sent {
    async fn new() -> Self {
        let lab = Lab::new(MODEL).await;
        let vocab_size = lab.copy.manifest.decoder.vocab_size as usize;
        let mut dice = Dice::new(SEED, "tokens");
        let tokens: Vec<usize> = (0..ROWS).map(|_| dice.below(vocab_size)).collect();
        let rows = lab.copy.first_rows().select_columns(&tokens);
        let integers = lab.copy.quantised(1, &rows).expect("finite rows");
        Self {
            truth: Truth {
                tokens: tokens.iter().map(|t| *t as u32).collect(),
                requests: vec![Request {
                    rows: 0..ROWS,
                    prompt: 0..ROWS,
                    own: false,
                }],
                vocab_size,
            },
            integers: integers
                .iter()
                .map(|row| row.iter().map(|x| i64::from(*x)).collect())
                .collect(),
            lab,
        }
    }

    fn features(&self) -> usize {
        self.integers[0].len()
    }

    /// `factor X + mask`, row by row.
    fn masked(&self, factor: u64, mask: impl FnMut(usize) -> Vec<u32>) -> Vec<Vec<u32>> {
        let k = self.features();
        let masks = (0..ROWS).map(mask);
        let rows = self.integers.iter().zip(masks).map(|(x, mask)| {
            let scaled: Vec<u32> = to_residues(x);
            let add = |(i, (x, m)): (usize, (&u32, &u32))| {
                let p = PRIMES[i / k];
                residue::add(residue::mul(*x, (factor % u64::from(p)) as u32, p), *m, p)
            };
            scaled.iter().zip(&mask).enumerate().map(add).collect()
        });
        rows.collect()
    }

    /// What attacks on rows find.
    fn attack(&self, rows: Vec<Vec<u32>>, public: Option<PublicRows>) -> Vec<Outcome> {
        let view = View {
            scheme: "planted".into(),
            rows: BTreeMap::from([(1, Rows::Residues(Arc::new(rows)))]),
            public: public.into_iter().map(|public| (1, public)).collect(),
            passes: vec![Pass {
                rows: 0..ROWS,
                request: 0,
            }],
            sends: Arc::default(),
            begins: vec![0],
            lm_head: 9,
            shields: 0,
        };
        let names = ["nearest", "sorted", "null-space", "reuse", "distinguisher"];
        self.lab.attack(&names, &view, &self.truth)
    }
}

fn assert_caught(outcomes: &[Outcome], attack: &str) {
    let found = outcomes
        .iter()
        .find(|o| o.attack == attack)
        .expect("was run");
    assert_ne!(found.verdict, Verdict::AtChance, "{found:#?}");
}

fn expanded(key: [u8; 32], row: usize, k: usize) -> Vec<u32> {
    let mut mask = vec![0; 2 * k];
    keystream::expand_row(&key, row as u32, &mut mask);
    mask
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_of_shares() {
    let sent = Sent::new().await;
    let k = sent.features();
    let right = |row: usize| expanded([8; 32], row, k);
    assert_at_chance(&sent.attack(sent.masked(1, right), None));

    // One mask for two rows.
    let twice = |row: usize| expanded([8; 32], row.max(1), k);
    assert_caught(&sent.attack(sent.masked(1, twice), None), "reuse");

    // Keys of eight bits: two sends soon have the same.
    let mut dice = Dice::new(SEED, "poor keys");
    let poor = |_: usize| expanded([dice.below(256) as u8; 32], 0, k);
    assert_caught(&sent.attack(sent.masked(1, poor), None), "reuse");

    // A keystream whose words have two bits stuck.
    let stuck = |row: usize| right(row).iter().map(|r| r & !3).collect();
    let outcomes = sent.attack(sent.masked(0, stuck), None);
    assert_caught(&outcomes, "bit planes");
    assert_caught(&outcomes, "trained distinguisher");

    // Words above the prime folded back instead of rejected: small residues twice as often.
    let mut dice = Dice::new(SEED, "folded");
    let folded = |_: usize| -> Vec<u32> {
        let word = |i: usize| (dice.below(1 << 31)) as u32 % PRIMES[i / k];
        (0..2 * k).map(word).collect()
    };
    assert_caught(&sent.attack(sent.masked(1, folded), None), "bit planes");

    // No mask at all.
    let outcomes = sent.attack(sent.masked(1, |_| vec![0; 2 * k]), None);
    assert_recovers(&outcomes, "nearest, L2");
}

/// Masks of module-lwe in order, and A.
struct Mint {
    rows: Vec<Vec<u32>>,
    public: PublicRows,
}

struct Defect {
    noise: bool,
    same_secret: bool,
    no_secret: bool,
}

const NONE: Defect = Defect {
    noise: true,
    same_secret: false,
    no_secret: false,
};

impl Mint {
    fn new(k: usize, defect: &Defect) -> Self {
        let a: Vec<Vec<u32>> = (0..SMALL.public_rows())
            .map(|row| expanded(PUBLIC_SEED, row, k))
            .collect();
        let mut polynomials = PublicPolynomials::new(&SMALL, k);
        if !defect.no_secret {
            for (row, residues) in a.iter().enumerate() {
                polynomials.set_row(row, residues).expect("a row of A");
            }
        }
        let batches = ROWS.div_ceil(SMALL.rows());
        Self {
            rows: (0..batches)
                .flat_map(|batch| mint(&polynomials, batch, defect))
                .collect(),
            public: PublicRows::Residues {
                rows: Arc::new(a),
                scaled: true,
            },
        }
    }
}

fn mint(a: &PublicPolynomials, batch: usize, defect: &Defect) -> Vec<Vec<u32>> {
    let seed = if defect.same_secret { 0 } else { batch as u8 };
    let secret = Secret::draw(&SMALL, &[seed; 32]);
    let key = [100 + batch as u8; 32];
    let k = a.columns();
    let mut rows = vec![vec![0; 2 * k]; SMALL.degree];
    let mut lanes = vec![0; SMALL.mask_words()];
    for block in 0..a.blocks() {
        let noise = defect.noise.then_some((&key, block as u64));
        mint_block(&secret, noise, a.block(block), &mut lanes).expect("a block");
        let width = LANES.min(k - block * LANES);
        for (i, lanes) in lanes.chunks(LANES).enumerate() {
            let at = i / SMALL.degree * k + block * LANES;
            rows[i % SMALL.degree][at..at + width].copy_from_slice(&lanes[..width]);
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_of_module_lwe() {
    let sent = Sent::new().await;
    let (k, delta) = (sent.features(), sent.lab.copy.delta(1));
    assert!(k > SMALL.public_rows());
    let attack = |defect: Defect| {
        let minted = Mint::new(k, &defect);
        let rows = sent.masked(delta, |row| minted.rows[row].clone());
        sent.attack(rows, Some(minted.public))
    };
    assert_at_chance(&attack(NONE));

    // Without noise, masks are combinations of public rows.
    let zero_noise = Defect {
        noise: false,
        ..NONE
    };
    assert_recovers(&attack(zero_noise), "null space, exact");

    // One secret for two batches: rows of both differ by little.
    let same_secret = Defect {
        same_secret: true,
        ..NONE
    };
    assert_caught(&attack(same_secret), "reuse");

    // Noise alone hides nothing.
    let no_secret = Defect {
        no_secret: true,
        ..NONE
    };
    assert_recovers(&attack(no_secret), "nearest, cosine");
}
