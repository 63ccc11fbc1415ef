//! The payload's code, natively, with a backend in the same process for hosts.

use std::{cell::RefCell, ops::ControlFlow, path::Path, rc::Rc};
use talaria_arithmetic::keystream::expand_rows;
use talaria_guest::{
    counters::Counters,
    glimpse::GlimpseSlot,
    mask::{MaskedRows, MintedMasks, Shipment},
    models::{Decoder, Input, State},
    ops::KvMemory,
    projection::Projector,
    setup::{Ingest, Options, Ready, Scheme},
    world::{HostFailure, World},
};
use talaria_host_gpu::{
    backend::{BackendKind, open},
    weights::Model,
};
use talaria_wire::manifest::WeightFormat;

/// Hosts that share one backend. Its randomness is a counter: for tests of exactness only.
pub struct Backends {
    model: Rc<Model>,
    counter: u64,
}

impl World for Backends {
    fn project(&mut self, rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure> {
        let index = rows.projection() as usize;
        let (count, k) = (
            rows.rows() as usize,
            self.model.manifest.projections[index].k as usize,
        );
        let answer = |(host, shipment): (usize, &Shipment)| {
            let x = match shipment {
                Shipment::Residues(residues) => residues.clone(),
                Shipment::Seed(seed) => expand_rows(seed, count, k),
            };
            let y = self.model.backend.project(index, count, &x, rows.planes());
            y.map_err(|e| HostFailure {
                host: host as u32,
                message: e.to_string(),
            })
        };
        rows.shipments().iter().enumerate().map(answer).collect()
    }

    fn quarantine(&mut self, projection: u32) {
        panic!("projection {projection} failed its check");
    }

    fn draw(&mut self, _projection: u32, _rows: u32) -> Result<MintedMasks, String> {
        Err("nothing is minted here".into())
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.counter = self
                .counter
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1);
            chunk.copy_from_slice(&self.counter.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A checkpoint, loaded on the CPU and set up.
pub struct Native {
    /// Loaded planes.
    pub model: Rc<Model>,
    /// Set up.
    pub ready: Ready,
    decoder: Decoder,
    world: RefCell<Backends>,
}

impl Native {
    /// Loads a fixture.
    pub fn load(name: &str, format: WeightFormat, scheme: Scheme) -> Self {
        Self::load_path(&crate::golden::model_dir(name), format, scheme)
    }

    /// Loads any checkpoint.
    pub fn load_path(path: &Path, format: WeightFormat, scheme: Scheme) -> Self {
        let backend = open(BackendKind::Cpu, None).expect("the CPU is there");
        let model = Model::load(path, format, backend, &mut |_| {});
        let model = Rc::new(model.unwrap_or_else(|e| panic!("{}: {e}", path.display())));
        let mut world = Backends {
            model: model.clone(),
            counter: 1,
        };
        let options = Options {
            scheme,
            remo_rank: 0.5,
            parameters: String::new(),
            public_seed: [0; 32],
            expected_digest: None,
            max_batch_rows: 512,
            kv_memory: 1 << 30,
            prefix_cache: false,
        };
        let manifest = model.manifest_bytes.clone();
        let mut ingest = Ingest::begin(manifest, options, &mut world).expect("manifest");
        let streamed = model.stream_planes(1 << 16, &mut |bytes| match ingest.ingest(bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => panic!("{e}"),
        });
        assert!(streamed.expect("planes").is_continue());
        let ready = ingest.finish(&mut world).expect("set-up");
        assert_eq!(ready.digest, model.digest().expect("digest"));
        let decoder = Decoder::new(&ready.manifest);
        Self {
            model,
            ready,
            decoder,
            world: RefCell::new(world),
        }
    }

    /// The state of a session that has nothing behind it.
    pub fn state(&self) -> State {
        self.decoder.state(&KvMemory::default())
    }

    /// Logits (logits,vocab) of the last rows of `tokens` at `position`.
    pub fn logits(
        &self,
        state: &mut State,
        tokens: &[u32],
        position: usize,
        logits: usize,
    ) -> Vec<f32> {
        self.with_projector(|projector| {
            let mut inputs = [Input {
                tokens,
                position,
                length: position + tokens.len(),
                state,
                logits,
            }];
            let logits = self.decoder.forward(&mut inputs, projector);
            logits.expect("forward pass")
        })
    }

    /// The residual stream before the first layer and after each, and after the final norm without gain.
    pub fn hidden_states(&self, tokens: &[u32]) -> (Vec<Vec<f32>>, Vec<f32>) {
        let mut states = Vec::new();
        let mut state = self.state();
        let last = self.with_projector(|projector| {
            let mut inputs = [Input {
                tokens,
                position: 0,
                length: tokens.len(),
                state: &mut state,
                logits: 0,
            }];
            let mut watch = |_: usize, x: &[f32]| states.push(x.to_vec());
            let last = self
                .decoder
                .hidden_states(&mut inputs, projector, &mut watch);
            last.expect("forward pass")
        });
        (states, last)
    }

    /// Greedy continuation, one token a pass.
    pub fn greedy(&self, prompt: &[u32], tokens: usize) -> Vec<u32> {
        let steps = self.greedy_steps(prompt, tokens);
        steps.into_iter().map(|(token, _)| token).collect()
    }

    /// Greedy continuation, one token a pass, and the logits (vocab,) that chose each.
    pub fn greedy_steps(&self, prompt: &[u32], tokens: usize) -> Vec<(u32, Vec<f32>)> {
        let mut sequence = prompt.to_vec();
        let (mut state, mut position) = (self.state(), 0);
        let mut steps = Vec::new();
        while steps.len() < tokens {
            let logits = self.logits(&mut state, &sequence[position..], position, 1);
            position = sequence.len();
            let best = (0..logits.len())
                .fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
            sequence.push(best as u32);
            if self.decoder.outgrows(position, sequence.len()) {
                (state, position) = (self.state(), 0);
            }
            steps.push((best as u32, logits));
        }
        steps
    }

    fn with_projector<T>(&self, run: impl FnOnce(&mut Projector<'_>) -> T) -> T {
        run(&mut Projector {
            ready: &self.ready,
            world: &mut *self.world.borrow_mut(),
            counters: &mut Counters::default(),
            glimpse: &mut GlimpseSlot::default(),
        })
    }
}
