//! What has to be without a report but for exceptions, by name.

use crate::{
    valgrind::{declare, hide, is_secret, reports},
    world::Hidden,
};
use talaria_arithmetic::{
    PRIMES, keystream, lanes,
    module_lwe::{Parameters, PublicPolynomials},
    residue::Factor,
    rotary::frequencies,
};
use talaria_guest::{
    check::Checked,
    counters::Counters,
    fixed_point::{FixedRows, Row},
    glimpse::GlimpseSlot,
    mask::{Batch, Masked, Shipment},
    models::{Decoder, Input},
    ops::{
        Heads, KvCache, KvMemory, Rope, add, add_bias, exp::exp_in_place, rms_norm, rms_norm_heads,
        swiglu,
    },
    projection::Projector,
    setup::{Ready, Scheme},
    testing::PARAMETERS,
    world::World,
};
use talaria_wire::manifest::{self, Place, Role, RopeFrequencies};
use zeroize::Zeroizing;

/// Runs all and says how many reports there are of each; whether no secret was lost on the way.
pub(crate) fn all() -> bool {
    let mut cases = Cases::default();
    println!("{:<60} reports", "case");
    loops(&mut cases);
    structural(&mut cases);
    minting(&mut cases);
    for scheme in [Scheme::Shares, Scheme::ModuleLwe, Scheme::Remo] {
        masking(&mut cases, scheme);
    }
    println!("{} cases, {} without a secret", cases.run, cases.lost);
    cases.lost == 0
}

#[derive(Default)]
struct Cases {
    run: usize,
    lost: usize,
}

impl Cases {
    /// Counts what is reported in the case, and demands that what comes out of it still depends on secrets: else they
    /// were lost on the way and nothing was shown.
    fn case<T: Outcome>(&mut self, name: &str, case: impl FnOnce() -> T) -> T {
        let before = reports();
        let outcome = case();
        let reports = reports() - before;
        let secret = outcome.is_secret();
        println!(
            "{name:<60} {reports:>7}{}",
            if secret {
                ""
            } else {
                "  FAILED: no secret came out"
            }
        );
        self.run += 1;
        self.lost += usize::from(!secret);
        outcome
    }
}

/// What comes out of a case.
trait Outcome {
    fn is_secret(&self) -> bool;
}

macro_rules! outcome {
    ($($of:ty),*) => { $(
        impl Outcome for $of {
            fn is_secret(&self) -> bool {
                is_secret(&self[..])
            }
        }
    )* };
}

outcome!(Vec<u32>, Vec<i32>, Vec<f32>, Zeroizing<Vec<i64>>);

/// Integers, or the places of the ones.
impl Outcome for FixedRows {
    fn is_secret(&self) -> bool {
        self.iter().all(|row| match row {
            Row::Integers(x) => is_secret(x),
            Row::OneHot(place) => is_secret(&[place]),
        })
    }
}

/// What hosts get. Of all of it, hosts aside, that is a secret.
impl Outcome for Masked {
    fn is_secret(&self) -> bool {
        let mut shipments = self.rows().shipments().iter();
        shipments.all(|shipment| match shipment {
            Shipment::Residues(residues) => is_secret(residues),
            Shipment::Seed(seed) => is_secret(&seed[..]),
        })
    }
}

/// The residues; the verdict is declared.
impl<E> Outcome for Result<Vec<u32>, E> {
    fn is_secret(&self) -> bool {
        declare(core::slice::from_ref(self));
        self.as_ref().is_ok_and(Outcome::is_secret)
    }
}

/// Whether it was.
struct Refused(bool);

impl Outcome for Refused {
    fn is_secret(&self) -> bool {
        self.0
    }
}

/// Made up, and hidden.
fn floats(count: usize, seed: u32) -> Vec<f32> {
    let mut x: Vec<f32> = words(count, seed)
        .into_iter()
        .map(|word| (word >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    hide(&mut x);
    x
}

/// Hidden residues modulo p.
fn residues(count: usize, seed: u32, p: u32) -> Vec<u32> {
    let mut x = words(count, seed);
    x.iter_mut().for_each(|x| *x %= p);
    hide(&mut x);
    x
}

/// Hidden integers of 18 bits.
fn integers(count: usize, seed: u32) -> Vec<i32> {
    let mut x: Vec<i32> = (words(count, seed).into_iter())
        .map(|word| (word >> 14) as i32 - (1 << 17))
        .collect();
    hide(&mut x);
    x
}

/// Public.
fn words(count: usize, seed: u32) -> Vec<u32> {
    let step = |x: u32| x.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let next = |x: &u32| Some(step(*x));
    core::iter::successors(Some(step(seed)), next)
        .take(count)
        .map(|x| (x ^ x >> 15).wrapping_mul(277_803_737))
        .collect()
}

fn tokens(of: &[u32]) -> Vec<u32> {
    let mut tokens = of.to_vec();
    hide(&mut tokens);
    tokens
}

/// The inner loops by themselves, on lengths that fill no vector.
fn loops(cases: &mut Cases) {
    const LEN: usize = 203;
    let [p, _] = PRIMES;
    let (a, b) = (residues(LEN, 1, p), residues(LEN, 2, p));
    let x = integers(LEN, 3);
    let hot = tokens(&[77])[0];
    let mut key = [9; 32];
    hide(&mut key);

    cases.case("lanes: add a row to its mask", || {
        let mut sum = a.clone();
        lanes::add_small(&mut sum, &x, p);
        sum
    });
    cases.case("lanes: add a scaled row to its mask", || {
        let mut sum = a.clone();
        lanes::add_scaled(&mut sum, &x, Factor::new(1 << 40, p));
        sum
    });
    cases.case("lanes: add a one-hot row to its mask", || {
        let mut sum = vec![0; LEN];
        lanes::add_one_hot(&a, hot, 1, p, &mut sum);
        sum
    });
    cases.case("lanes: check vectors at a one-hot row's place", || {
        let dots = lanes::dot_one_hot(hot, [&a, &b]);
        dots.sums.to_vec()
    });
    cases.case("lanes: residues by check vectors", || {
        let dots = lanes::dot(&a, [&a, &b], p);
        vec![dots.sums[0], dots.sums[1], dots.out_of_range]
    });
    cases.case("lanes: a row by check vectors", || {
        lanes::dot_small(&x, [&a, &b], p).sums.to_vec()
    });
    cases.case("lanes: subtract answers", || {
        let mut difference = a.clone();
        lanes::subtract(&mut difference, &b, p);
        difference
    });
    cases.case("lanes: residues to integers", || {
        let mut out = Zeroizing::new(vec![0; LEN]);
        lanes::signed_crt(&a, &b, &mut out);
        out
    });
    cases.case("keystream: residues of a key", || {
        keystream::expand_rows(&key, 2, LEN)
    });
    cases.case("fixed point: quantise", || {
        FixedRows::quantise(&floats(3 * LEN, 4), LEN, 18).expect("finite")
    });
    cases.case("fixed point: one-hot rows", || {
        FixedRows::one_hot(&tokens(&[0, 202]), LEN)
    });
    cases.case("fixed point: dequantise", || {
        let rows = FixedRows::quantise(&floats(2 * LEN, 5), LEN, 18).expect("finite");
        let mut products: Vec<i64> = (0..38).map(|i| i << 40).collect();
        hide(&mut products);
        rows.dequantise(&products, &[0.5; 19], &[0.25; 19])
    });
}

/// Norms, rotations, attention, activations.
fn structural(cases: &mut Cases) {
    const H: usize = 203;
    cases.case("ops: RMS norm", || rms_norm(&floats(3 * H, 1), H, 1e-6));
    cases.case("ops: RMS norm of heads", || {
        let mut x = floats(5 * 24, 2);
        rms_norm_heads(&mut x, &[1.5; 24], 1e-6);
        x
    });
    cases.case("ops: rotary embedding", || {
        let rope = Rope::new(
            &manifest::Rope {
                frequencies: RopeFrequencies::Fixed(frequencies(1e4, 24).collect()),
                attention_factor: 1.0,
            },
            24,
        );
        let mut x = floats(5 * 24, 3);
        rope.of_length(9).rotation(8).apply(&mut x);
        x
    });
    cases.case("ops: exp", || {
        let mut x = floats(H, 4);
        exp_in_place(&mut x);
        x
    });
    cases.case("ops: SwiGLU", || swiglu(&floats(3 * 2 * H, 5), H));
    cases.case("ops: residual and bias", || {
        let mut x = floats(3 * H, 6);
        add(&mut x, &floats(3 * H, 7));
        add_bias(&mut x, &floats(H, 8));
        x
    });
    for (name, window) in [
        ("ops: attention", None),
        ("ops: attention with a window", Some(5)),
    ] {
        let heads = Heads {
            num_attention_heads: 6,
            num_key_value_heads: 2,
            head_dim: 24,
        };
        cases.case(name, || {
            let mut cache = KvCache::new(heads, window, &KvMemory::default());
            let mut out = Vec::new();
            for (seed, rows) in [(10, 1), (20, 19), (30, 1)] {
                let first = cache.len();
                let kv = rows * heads.kv_size();
                cache.append(&floats(kv, seed), &floats(kv, seed + 1));
                out.extend(cache.attend(&floats(rows * heads.q_size(), seed + 2), first));
            }
            out
        });
    }
}

/// A batch of masks of 20 features and 20 outputs under a secret secret.
fn minting(cases: &mut Cases) {
    let parameters = Parameters::find(PARAMETERS).expect("a set");
    let mut public = PublicPolynomials::new(parameters, 20);
    for row in 0..parameters.public_rows() {
        let mut a = vec![0; 2 * 20];
        keystream::expand_row(&[5; 32], row as u32, &mut a);
        public.set_row(row, &a).expect("residues");
    }
    let mut world = Hidden::new();
    let mut batch = None;
    cases
        .case("minting: draw a secret, make masks", || {
            let batch = batch.insert(Batch::begin(PARAMETERS, 20, 20, &mut world).expect("a set"));
            let blocks = (0..public.blocks()).map(|block| batch.masks(public.block(block)));
            blocks
                .collect::<Result<Vec<_>, _>>()
                .map(|all| all.concat())
        })
        .expect("in order");
    let mut batch = batch.expect("begun");
    cases
        .case("minting: corrections", || {
            let blocks = (0..public.blocks()).map(|block| batch.corrections(public.block(block)));
            blocks
                .collect::<Result<Vec<_>, _>>()
                .map(|all| all.concat())
        })
        .expect("in order");
}

/// One product of activations and one of tokens, step by step, then a forward pass, all with secret check vectors.
fn masking(cases: &mut Cases, scheme: Scheme) {
    let mut world = Hidden::new();
    let mut ready = None;
    let name = |what: &str| format!("{}: {what}", name_of(scheme));
    // Check vectors show in what they pass.
    cases
        .case(&name("set up, check vectors drawn and folded"), || {
            let ready = ready.insert(world.ready(scheme));
            let embedding = ready.projection(Place::EMBEDDING);
            let x = FixedRows::one_hot(&tokens(&[3]), embedding.k);
            let masked = ready
                .masking
                .mask(embedding, &x, &mut world)
                .expect("masks");
            let answers = world.project(masked.rows()).expect("answers");
            ready
                .masking
                .check(embedding, &x, &masked, answers)
                .map(Checked::into_residues)
        })
        .expect("honest hosts");
    let ready = ready.expect("set up");
    let k = ready.projection(Role::Qkv.of(0)).k;
    let rows = FixedRows::quantise(&floats(3 * k, 11), k, 18).expect("finite");
    call(
        cases,
        &ready,
        &mut world,
        Role::Qkv.of(0),
        &name("activations"),
        &rows,
    );
    let k = ready.projection(Place::EMBEDDING).k;
    let rows = FixedRows::one_hot(&tokens(&[3, 39, 0]), k);
    call(
        cases,
        &ready,
        &mut world,
        Place::EMBEDDING,
        &name("tokens"),
        &rows,
    );
    forward(
        cases,
        &ready,
        &mut world,
        &name("forward pass, prompt and two tokens"),
    );
}

fn name_of(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Shares => "shares",
        Scheme::ModuleLwe => "module-lwe",
        Scheme::Remo => "remo",
        Scheme::DangerousPlaintext => "dangerous-plaintext",
    }
}

/// The steps of a projection call.
fn call(
    cases: &mut Cases,
    ready: &Ready,
    world: &mut Hidden,
    place: Place,
    name: &str,
    x: &FixedRows,
) {
    let (projection, masking) = (ready.projection(place), &ready.masking);
    let masked = cases.case(&format!("{name}: mask"), || {
        masking.mask(projection, x, world).expect("masks")
    });
    let mut answers = world.project(masked.rows()).expect("answers");
    let check = |answers: &[Vec<u32>]| masking.check(projection, x, &masked, answers.to_vec());
    cases
        .case(&format!("{name}: combine answers, check"), || {
            check(&answers).map(Checked::into_residues)
        })
        .expect("honest hosts");
    // One more, as only `Checked` comes to the next step.
    let checked = check(&answers).expect("honest hosts");
    answers[0].iter_mut().skip(5).take(1).for_each(|y| *y ^= 1);
    cases.case(&format!("{name}: a wrong answer, check"), || {
        Refused(check(&answers).is_err())
    });
    let products = cases.case(&format!("{name}: unmask"), || {
        masking.unmask(projection, masked, checked)
    });
    cases.case(&format!("{name}: back to floats"), || {
        x.dequantise(&products, &projection.column_scales, &projection.bias)
    });
}

/// A prompt of three tokens and two more, one by one, up to logits.
fn forward(cases: &mut Cases, ready: &Ready, world: &mut Hidden, name: &str) {
    let decoder = Decoder::new(&ready.manifest);
    let mut state = decoder.state(&KvMemory::default());
    let mut projector = Projector {
        ready,
        world,
        counters: &mut Counters::default(),
        glimpse: &mut GlimpseSlot::default(),
    };
    cases.case(name, || {
        let mut logits = Vec::new();
        for (position, tokens) in [
            (0, tokens(&[3, 17, 38])),
            (3, tokens(&[5])),
            (4, tokens(&[0])),
        ] {
            let input = Input {
                tokens: &tokens,
                position,
                length: position + tokens.len(),
                state: &mut state,
                logits: 1,
            };
            let pass = decoder.forward(&mut [input], &mut projector);
            logits.extend(pass.expect("honest hosts"));
        }
        logits
    });
}
