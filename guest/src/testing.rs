//! A tiny random model and honest hosts in memory, for tests.

use crate::{
    mask::{Batch, MaskedRows, MintedMasks, Shipment},
    setup::{Ingest, Options, Ready, Scheme, SetupError},
    world::{HostFailure, World},
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, VecDeque};
use talaria_arithmetic::{
    PRIMES,
    fixed_point::split_planes,
    keystream,
    module_lwe::{LANES, Parameters, PublicPolynomials},
    residue,
    rotary::frequencies,
};
use talaria_wire::{
    manifest::{
        Decoder, FORMAT, Generation, LayerExtras, Manifest, Projection, Rope, RopeFrequencies,
        Structure, WeightFormat,
    },
    shape::Planes,
};

/// Given the products of all hosts.
type Tamper = dyn FnMut(&mut Vec<Vec<u32>>);

/// A minted mask and its correction.
type MaskRow = (Vec<u32>, Vec<u32>);

/// Hosts that multiply with int16 weights kept as i32, and what they saw.
pub struct TestWorld {
    pub manifest: Manifest,
    /// For each host and projection: W (n,k), output by output.
    pub weights: Vec<Vec<Vec<i32>>>,
    pub rng: ChaCha20Rng,
    /// What it gave as entropy, in order.
    pub given: Vec<Vec<u8>>,
    /// Rows as each host saw them, expanded, in order of arrival.
    pub seen: Vec<(u32, Vec<Vec<u32>>)>,
    /// Changes answers before the payload gets them.
    pub tamper: Box<Tamper>,
    /// Rows of minted masks that were not drawn yet, by projection: mask and correction.
    pub supply: HashMap<u32, VecDeque<MaskRow>>,
    /// A and R_pub of a projection, once they were needed.
    public: HashMap<u32, [PublicPolynomials; 2]>,
    pub quarantined: Vec<u32>,
    /// The call, counted from now, for which host 2 brings no answer; it had its rows.
    pub failing: Option<usize>,
}

pub fn manifest() -> Manifest {
    let decoder = Decoder {
        model_type: "qwen3".into(),
        hidden_size: 16,
        intermediate_size: 24,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        vocab_size: 40,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-6,
        rope: Rope {
            frequencies: RopeFrequencies::Fixed(frequencies(1e4, 8).collect()),
            attention_factor: 1.0,
        },
    };
    let structure = Structure::PreNorm;
    let projections = structure
        .shapes(&decoder, 2)
        .into_iter()
        .map(|(place, k, n)| Projection {
            place,
            k,
            n,
            scales: vec![1.0 / (1 << 17) as f32; n as usize],
            bias: vec![],
        });
    Manifest {
        format: FORMAT,
        structure,
        projections: projections.collect(),
        decoder,
        weights: WeightFormat::Int16,
        layers: vec![
            LayerExtras {
                q_norm: vec![1.5; 8],
                k_norm: vec![0.5; 8],
                sliding_window: None,
            },
            LayerExtras {
                q_norm: vec![1.0; 8],
                k_norm: vec![1.0; 8],
                sliding_window: Some(5),
            },
        ],
        generation: Generation {
            eos_token_ids: vec![39],
            ..Generation::default()
        },
        text_files: Default::default(),
    }
}

impl Default for TestWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl TestWorld {
    pub fn new() -> Self {
        let manifest = manifest();
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let weights: Vec<Vec<i32>> = manifest
            .projections
            .iter()
            .map(|p| {
                (0..p.k * p.n)
                    .map(|_| (rng.next_u32() % 65279) as i32 - 32639)
                    .collect()
            })
            .collect();
        Self {
            manifest,
            weights: vec![weights.clone(), weights],
            rng,
            given: Vec::new(),
            seen: Vec::new(),
            tamper: Box::new(|_| {}),
            supply: HashMap::new(),
            public: HashMap::new(),
            quarantined: Vec::new(),
            failing: None,
        }
    }

    /// A model that also reads and writes text: [`text_files`].
    pub fn with_text() -> Self {
        let mut world = Self::new();
        world.manifest.text_files = text_files();
        world
    }

    /// The entropy that it gave since it was asked last, all of it keys of 32 bytes.
    pub fn keys_given(&mut self) -> Vec<[u8; 32]> {
        let given = core::mem::take(&mut self.given);
        let key = |bytes: Vec<u8>| bytes.try_into().expect("a key of 32 bytes");
        given.into_iter().map(key).collect()
    }

    /// Planes of host 1 in canonical order.
    pub fn planes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for matrix in &self.weights[0] {
            let planes = matrix.iter().map(|w| split_planes(*w));
            out.extend(planes.clone().map(|(hi, _)| hi as u8));
            out.extend(planes.map(|(_, lo)| lo as u8));
        }
        out
    }

    /// A batch of masks of a projection, as a CVM host has it made.
    pub fn mint(&mut self, projection: u32) {
        let entry = &self.manifest.projections[projection as usize];
        let (k, outputs) = (entry.k as usize, 2 * entry.n as usize);
        let weights = planes_apart(&self.weights[0][projection as usize]);
        let parameters = Parameters::find(PARAMETERS).unwrap();
        self.public.entry(projection).or_insert_with(|| {
            let mut public =
                [k, outputs].map(|columns| PublicPolynomials::new(parameters, columns));
            for row in 0..parameters.public_rows() {
                let mut a = vec![0; 2 * k];
                keystream::expand_row(&PUBLIC_SEED, row as u32, &mut a);
                public[0].set_row(row, &a).unwrap();
                public[1].set_row(row, &product(&a, &weights, k)).unwrap();
            }
            public
        });
        let [a, r_pub] = self.public.remove(&projection).unwrap();
        let mut batch = Batch::begin(PARAMETERS, k as u32, outputs as u32, self).unwrap();
        let mut minted = |polynomials: &PublicPolynomials, columns: usize, noisy: bool| {
            let mut rows = vec![vec![0; 2 * columns]; parameters.degree];
            for block in 0..polynomials.blocks() {
                let block_of = polynomials.block(block);
                let lanes = match noisy {
                    true => batch.masks(block_of).unwrap(),
                    false => batch.corrections(block_of).unwrap(),
                };
                let lane = block * LANES;
                let width = LANES.min(columns - lane);
                for (i, lanes) in lanes.chunks(LANES).enumerate() {
                    let (prime, row) = (i / parameters.degree, i % parameters.degree);
                    let to = &mut rows[row][prime * columns + lane..][..width];
                    to.copy_from_slice(&lanes[..width]);
                }
            }
            rows
        };
        let masks = minted(&a, k, true);
        let corrections = minted(&r_pub, outputs, false);
        assert!(batch.is_done());
        let supply = self.supply.entry(projection).or_default();
        supply.extend(masks.into_iter().zip(corrections));
        self.public.insert(projection, [a, r_pub]);
    }

    pub fn ready(&mut self, scheme: Scheme) -> Ready {
        self.try_ready(options(scheme)).unwrap()
    }

    pub fn try_ready(&mut self, options: Options) -> Result<Ready, SetupError> {
        let planes = self.planes();
        let mut ingest = Ingest::begin(self.manifest.to_bytes(), options, self)?;
        // Pieces that do not fit columns.
        for piece in planes.chunks(37) {
            ingest.ingest(piece)?;
        }
        ingest.finish(self)
    }
}

/// A tokenizer of a token for each of some bytes, so that text of other letters takes several, and a chat template. Ids
/// 36 and on are special, 39 ends a reply.
pub fn text_files() -> BTreeMap<String, Vec<u8>> {
    let spelled = "abcdefghijklmnopqrstuvwxyzĠ.!,ĊÃ¤âĤ¬";
    let special = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"];
    let vocab = spelled.chars().map(String::from);
    let vocab: serde_json::Map<_, _> = vocab.zip(0_u32..).map(|(t, id)| (t, id.into())).collect();
    let added = special.iter().zip(vocab.len()..).map(|(content, id)| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        })
    });
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [],
        },
    });
    let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}\
                    {% if add_generation_prompt %}<|assistant|>{% endif %}";
    BTreeMap::from([
        ("tokenizer.json".into(), tokenizer.to_string().into_bytes()),
        ("chat_template.jinja".into(), template.into()),
    ])
}

pub const PARAMETERS: &str = "256x10";
const PUBLIC_SEED: [u8; 32] = [5; 32];

/// W (n,k) as its planes, (2n,k), most significant first.
pub fn planes_apart(weights: &[i32]) -> Vec<i32> {
    let planes = weights.iter().map(|w| split_planes(*w));
    let (hi, lo): (Vec<i32>, Vec<i32>) = planes
        .map(|(hi, lo)| (i32::from(hi), i32::from(lo)))
        .unzip();
    [hi, lo].concat()
}

pub fn options(scheme: Scheme) -> Options {
    Options {
        scheme,
        remo_rank: 0.5,
        parameters: PARAMETERS.into(),
        public_seed: PUBLIC_SEED,
        expected_digest: None,
        max_batch_rows: 8,
        kv_memory: 1 << 30,
        prefix_cache: true,
    }
}

/// rows x (n modulo P1, n modulo P2) of `x`, rows x (k, k), times W (n,k).
pub fn product(x: &[u32], weights: &[i32], k: usize) -> Vec<u32> {
    let mut y = Vec::new();
    for row in x.chunks(2 * k) {
        for (half, p) in row.chunks(k).zip(PRIMES) {
            y.extend(weights.chunks(k).map(|column| {
                let terms = half.iter().zip(column);
                terms.fold(0, |sum, (x, w)| {
                    let w = residue::from_i64(i64::from(*w), p);
                    residue::add(sum, residue::mul(*x, w, p), p)
                })
            }));
        }
    }
    y
}

impl World for TestWorld {
    fn project(&mut self, rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure> {
        let index = rows.projection() as usize;
        let k = self.manifest.projections[index].k as usize;
        let mut seen = Vec::new();
        let mut answers = Vec::new();
        for (host, shipment) in rows.shipments().iter().enumerate() {
            let x = match shipment {
                Shipment::Residues(residues) => residues.clone(),
                Shipment::Seed(seed) => keystream::expand_rows(seed, rows.rows() as usize, k),
            };
            assert_eq!(x.len(), rows.rows() as usize * 2 * k);
            let weights = &self.weights[host][index];
            answers.push(match rows.planes() {
                Planes::Apart => product(&x, &planes_apart(weights), k),
                Planes::Joined => product(&x, weights, k),
            });
            seen.push(x);
        }
        self.seen.push((rows.projection(), seen));
        (self.tamper)(&mut answers);
        match self.failing {
            Some(0) => {
                self.failing = None;
                let message = "gone".into();
                Err(HostFailure { host: 2, message })
            }
            failing => {
                self.failing = failing.map(|calls| calls - 1);
                Ok(answers)
            }
        }
    }

    fn quarantine(&mut self, projection: u32) {
        self.quarantined.push(projection);
    }

    /// Never more than two at once, so that callers must come back.
    fn draw(&mut self, projection: u32, rows: u32) -> Result<MintedMasks, String> {
        if self.supply.entry(projection).or_default().is_empty() {
            self.mint(projection);
        }
        let supply = self.supply.get_mut(&projection).unwrap();
        let count = supply.len().min(rows.min(2) as usize);
        let (masks, corrections): (Vec<_>, Vec<_>) = supply.drain(..count).unzip();
        Ok(MintedMasks {
            masks: masks.concat().into(),
            corrections: corrections.concat().into(),
        })
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.rng.fill_bytes(bytes);
        self.given.push(bytes.to_vec());
    }
}
