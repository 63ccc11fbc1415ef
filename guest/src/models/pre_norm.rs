//! Decoder-only transformer with RMSNorm before each part, rotary GQA attention and SwiGLU: Qwen2, Qwen3, Llama 3,
//! Mistral.
//!
//! Follows `modeling_qwen3.py`, `modeling_llama.py` and `modeling_mistral.py` of Hugging Face transformers in
//! float32. Gains of norms that precede a matrix are folded into that matrix.

use super::{Input, Products, State, wanted_rows};
use crate::ops::{Heads, KvCache, KvMemory, Rope, Rotation, add, rms_norm, rms_norm_heads, swiglu};
use talaria_wire::manifest::{self, LayerExtras, Manifest, Place, Role};

/// A model of [`Structure::PreNorm`](manifest::Structure::PreNorm).
pub struct PreNorm {
    dimensions: manifest::Decoder,
    layers: Vec<LayerExtras>,
    rope: Rope,
}

impl PreNorm {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let dimensions = manifest.decoder.clone();
        Self {
            rope: Rope::new(&dimensions.rope, dimensions.head_dim as usize),
            layers: manifest.layers.clone(),
            dimensions,
        }
    }

    pub(super) fn state(&self, memory: &KvMemory) -> State {
        let heads = Heads::from(&self.dimensions);
        let cache = |layer: &LayerExtras| KvCache::new(heads, layer.sliding_window, memory);
        State {
            caches: self.layers.iter().map(cache).collect(),
        }
    }

    pub(super) fn state_bytes(&self, positions: usize, batch_rows: usize) -> u64 {
        let heads = Heads::from(&self.dimensions);
        let bytes = |layer: &LayerExtras| {
            KvCache::bytes_for(heads, layer.sliding_window, positions, batch_rows)
        };
        self.layers.iter().map(bytes).sum()
    }

    pub(super) fn outgrows(&self, from: usize, to: usize) -> bool {
        self.rope.outgrows(from, to)
    }

    pub(super) fn forward<P: Products>(
        &self,
        inputs: &mut [Input<'_>],
        products: &mut P,
    ) -> Result<Vec<f32>, P::Error> {
        let hidden = self.hidden_states(inputs, products, &mut |_, _| {})?;
        let wanted = wanted_rows(inputs, &hidden, self.dimensions.hidden_size as usize);
        // lm_head: (rows,h) -> (rows,vocab)
        products.project(Place::LM_HEAD, &wanted)
    }

    pub(super) fn hidden_states<P: Products>(
        &self,
        inputs: &mut [Input<'_>],
        products: &mut P,
        watch: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<f32>, P::Error> {
        let d = &self.dimensions;
        let (h, eps) = (d.hidden_size as usize, d.rms_norm_eps);
        let tokens: Vec<u32> = inputs
            .iter()
            .flat_map(|input| input.tokens)
            .copied()
            .collect();
        let rotations: Vec<_> = inputs
            .iter()
            .flat_map(|input| {
                let frequencies = self.rope.of_length(input.length);
                let positions = (input.position..).take(input.tokens.len());
                positions.map(move |position| frequencies.rotation(position))
            })
            .collect();

        // x (rows,h)
        let mut x = products.embed(&tokens)?;
        watch(0, &x);
        for (layer, extras) in (0..).zip(&self.layers) {
            // 1 attention input: (rows,h) -> (rows, q + k + v)
            let qkv = products.project(Role::Qkv.of(layer), &rms_norm(&x, h, eps))?;
            // 2 attention: (rows, q + k + v) -> (rows,q)
            let attended = attention(d, extras, layer as usize, &qkv, &rotations, inputs);
            // 3 attention output: (rows,q) -> (rows,h)
            add(&mut x, &products.project(Role::O.of(layer), &attended)?);

            // 4 feed-forward: (rows,h) -> (rows,2i) -> (rows,i) -> (rows,h)
            let gate_up = products.project(Role::GateUp.of(layer), &rms_norm(&x, h, eps))?;
            let product = swiglu(&gate_up, d.intermediate_size as usize);
            add(&mut x, &products.project(Role::Down.of(layer), &product)?);
            watch(layer as usize + 1, &x);
        }
        Ok(rms_norm(&x, h, eps))
    }
}

/// Splits qkv, applies q/k norms and rotations, appends to the caches, attends.
fn attention(
    d: &manifest::Decoder,
    extras: &LayerExtras,
    layer: usize,
    qkv: &[f32],
    rotations: &[Rotation],
    inputs: &mut [Input<'_>],
) -> Vec<f32> {
    let (q_size, kv_size) = (d.q_size() as usize, d.kv_size() as usize);
    let width = q_size + 2 * kv_size;
    let mut out = Vec::with_capacity(rotations.len() * q_size);
    let mut rows = qkv.chunks_exact(width).zip(rotations);
    for input in inputs {
        let rows_of_input = input.tokens.len();
        let mut queries = Vec::with_capacity(rows_of_input * q_size);
        let mut keys = Vec::with_capacity(rows_of_input * kv_size);
        let mut values = Vec::with_capacity(rows_of_input * kv_size);
        for (at, (row, rotation)) in rows.by_ref().take(rows_of_input).enumerate() {
            let (q, kv) = row.split_at(q_size);
            let (k, v) = kv.split_at(kv_size);
            queries.extend_from_slice(q);
            keys.extend_from_slice(k);
            values.extend_from_slice(v);
            let q = &mut queries[at * q_size..];
            let k = &mut keys[at * kv_size..];
            rms_norm_heads(q, &extras.q_norm, d.rms_norm_eps);
            rms_norm_heads(k, &extras.k_norm, d.rms_norm_eps);
            rotation.apply(q);
            rotation.apply(k);
        }
        let cache = &mut input.state.caches[layer];
        cache.append(&keys, &values);
        out.extend(cache.attend(&queries, input.position));
    }
    out
}
