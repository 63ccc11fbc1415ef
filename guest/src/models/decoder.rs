//! Decoder-only transformer with RMSNorm, rotary GQA attention and SwiGLU: Qwen2, Qwen3, Llama 3, Mistral.
//!
//! Follows `modeling_qwen3.py`, `modeling_llama.py` and `modeling_mistral.py` of Hugging Face transformers in
//! float32. Gains of norms that precede a matrix are folded into that matrix.

use crate::{
    ops::{KvCache, Rope, add, rms_norm, rms_norm_heads, swiglu},
    projection::{ProjectError, Projection, Projector},
    setup::Ready,
};
use talaria_wire::manifest::{self, LayerExtras};

/// Keys and values of one session, one cache a layer.
pub struct Caches(Vec<KvCache>);

/// Consecutive rows of one session in a forward pass.
pub struct Input<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Position of the first.
    pub position: usize,
    /// Keys and values of the positions before.
    pub caches: &'a mut Caches,
    /// How many of the last rows need logits.
    pub logits: usize,
}

/// The decoder of one model.
pub struct Decoder {
    rope: Rope,
}

impl Decoder {
    /// Prepares frequencies.
    pub fn new(decoder: &manifest::Decoder) -> Self {
        Self {
            rope: Rope::new(&decoder.rope, decoder.head_dim as usize),
        }
    }

    /// Empty caches for a session.
    pub fn caches(&self, ready: &Ready) -> Caches {
        let d = &ready.manifest.decoder;
        let cache = |layer: &LayerExtras| KvCache::new(d.into(), layer.sliding_window);
        Caches(ready.manifest.layers.iter().map(cache).collect())
    }

    /// One forward pass over rows of any number of sessions: logits (sum of `logits`, vocab), in order.
    ///
    /// No row's result depends on which other rows are in the pass.
    pub fn forward(
        &self,
        ready: &Ready,
        inputs: &mut [Input<'_>],
        projector: &mut Projector<'_>,
    ) -> Result<Vec<f32>, ProjectError> {
        let hidden = self.hidden_states(ready, inputs, projector, &mut |_, _| {})?;
        let h = ready.manifest.decoder.hidden_size as usize;
        let mut wanted = Vec::new();
        let mut end = 0;
        for input in inputs.iter() {
            end += input.tokens.len();
            wanted.extend_from_slice(&hidden[(end - input.logits) * h..end * h]);
        }
        // lm_head: (rows,h) -> (rows,vocab)
        projector.project(&ready.projections[ready.projections.len() - 1], &wanted)
    }

    /// The residual stream after the final norm, without its gain (rows,h). `watch` sees the stream
    /// before the first layer (0) and after each.
    pub fn hidden_states(
        &self,
        ready: &Ready,
        inputs: &mut [Input<'_>],
        projector: &mut Projector<'_>,
        watch: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<f32>, ProjectError> {
        let d = &ready.manifest.decoder;
        let (h, eps) = (d.hidden_size as usize, d.rms_norm_eps);
        let tokens: Vec<u32> = inputs
            .iter()
            .flat_map(|input| input.tokens)
            .copied()
            .collect();
        let rotations: Vec<_> = inputs
            .iter()
            .flat_map(|input| (input.position..).take(input.tokens.len()))
            .map(|position| self.rope.rotation(position))
            .collect();

        // x (rows,h)
        let mut x = projector.embed(&ready.projections[0], &tokens)?;
        watch(0, &x);
        for (layer, extras) in ready.manifest.layers.iter().enumerate() {
            let [qkv, o, gate_up, down] = layer_projections(ready, layer);

            // 1 attention input: (rows,h) -> (rows, q + k + v)
            let qkv = projector.project(qkv, &rms_norm(&x, h, eps))?;
            // 2 attention: (rows, q + k + v) -> (rows,q)
            let attended = attention(d, extras, layer, &qkv, &rotations, inputs);
            // 3 attention output: (rows,q) -> (rows,h)
            add(&mut x, &projector.project(o, &attended)?);

            // 4 feed-forward: (rows,h) -> (rows,2i) -> (rows,i) -> (rows,h)
            let gate_up = projector.project(gate_up, &rms_norm(&x, h, eps))?;
            let product = swiglu(&gate_up, d.intermediate_size as usize);
            add(&mut x, &projector.project(down, &product)?);
            watch(layer + 1, &x);
        }
        Ok(rms_norm(&x, h, eps))
    }
}

/// qkv, o, gate_up and down of a layer.
fn layer_projections(ready: &Ready, layer: usize) -> [&Projection; 4] {
    core::array::from_fn(|i| &ready.projections[1 + 4 * layer + i])
}

/// Splits qkv, applies q/k norms and rotations, appends to the caches, attends.
fn attention(
    d: &manifest::Decoder,
    extras: &LayerExtras,
    layer: usize,
    qkv: &[f32],
    rotations: &[crate::ops::Rotation],
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
        let cache = &mut input.caches.0[layer];
        cache.append(&keys, &values);
        out.extend(cache.attend(&queries, input.position));
    }
    out
}
