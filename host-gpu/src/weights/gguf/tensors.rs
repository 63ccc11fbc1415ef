//! Tensors of a GGUF file under the names and in the order that Hugging Face has them.

use std::collections::HashMap;

use talaria_wire::manifest::Decoder;

use super::super::LoadError;
use super::super::checkpoint::{Checkpoint, Entry};
use super::super::rows::{Encoding, Rows, Stored};
use super::super::safetensors::Float;
use super::config::{Architecture, ROPE_FACTORS};
use super::header::{Header, TensorInfo};
use super::{blocks, super_blocks};

/// Types of elements that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgmlType {
    /// Floats one by one.
    Plain(Float),
    /// Quantised, in blocks.
    Block(Block),
}

/// Quantised types; names as ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "defined in `blocks` and `super_blocks`")]
#[allow(non_camel_case_types, reason = "ggml's names")]
pub enum Block {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// All that are supported, by number.
const SUPPORTED: [(u32, GgmlType); 13] = [
    (0, GgmlType::Plain(Float::F32)),
    (1, GgmlType::Plain(Float::F16)),
    (30, GgmlType::Plain(Float::Bf16)),
    (8, GgmlType::Block(Block::Q8_0)),
    (2, GgmlType::Block(Block::Q4_0)),
    (3, GgmlType::Block(Block::Q4_1)),
    (6, GgmlType::Block(Block::Q5_0)),
    (7, GgmlType::Block(Block::Q5_1)),
    (10, GgmlType::Block(Block::Q2_K)),
    (11, GgmlType::Block(Block::Q3_K)),
    (12, GgmlType::Block(Block::Q4_K)),
    (13, GgmlType::Block(Block::Q5_K)),
    (14, GgmlType::Block(Block::Q6_K)),
];

/// Names of those that are not, for messages.
const OTHERS: [(u32, &str); 20] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

impl GgmlType {
    /// The type of a number.
    ///
    /// # Errors
    /// What is not supported, and what is.
    pub fn of(number: u32) -> Result<Self, String> {
        if let Some((_, kind)) = SUPPORTED.iter().find(|(n, _)| *n == number) {
            return Ok(*kind);
        }
        let other = OTHERS.iter().find(|(n, _)| *n == number);
        let found = other.map_or(format!("unknown type {number}"), |(_, name)| (*name).into());
        let supported = SUPPORTED.map(|(_, kind)| kind.name()).join(", ");
        Err(format!("is stored as {found}; supported: {supported}"))
    }

    /// ggml's name.
    pub const fn name(self) -> &'static str {
        match self {
            GgmlType::Plain(Float::F32) => "F32",
            GgmlType::Plain(Float::F16) => "F16",
            GgmlType::Plain(Float::Bf16) => "BF16",
            GgmlType::Block(Block::Q4_0) => "Q4_0",
            GgmlType::Block(Block::Q4_1) => "Q4_1",
            GgmlType::Block(Block::Q5_0) => "Q5_0",
            GgmlType::Block(Block::Q5_1) => "Q5_1",
            GgmlType::Block(Block::Q8_0) => "Q8_0",
            GgmlType::Block(Block::Q2_K) => "Q2_K",
            GgmlType::Block(Block::Q3_K) => "Q3_K",
            GgmlType::Block(Block::Q4_K) => "Q4_K",
            GgmlType::Block(Block::Q5_K) => "Q5_K",
            GgmlType::Block(Block::Q6_K) => "Q6_K",
        }
    }

    /// Elements and bytes of a block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            GgmlType::Plain(float) => (1, float.bytes()),
            GgmlType::Block(Block::Q4_0) => (32, 18),
            GgmlType::Block(Block::Q4_1) => (32, 20),
            GgmlType::Block(Block::Q5_0) => (32, 22),
            GgmlType::Block(Block::Q5_1) => (32, 24),
            GgmlType::Block(Block::Q8_0) => (32, 34),
            GgmlType::Block(Block::Q2_K) => (256, 84),
            GgmlType::Block(Block::Q3_K) => (256, 110),
            GgmlType::Block(Block::Q4_K) => (256, 144),
            GgmlType::Block(Block::Q5_K) => (256, 176),
            GgmlType::Block(Block::Q6_K) => (256, 210),
        }
    }
}

impl Encoding for GgmlType {
    fn decode(&self, raw: &[u8], out: &mut [f32]) {
        match self {
            GgmlType::Plain(float) => float.decode(raw, out),
            GgmlType::Block(Block::Q4_0) => each(raw, out, blocks::q4_0),
            GgmlType::Block(Block::Q4_1) => each(raw, out, blocks::q4_1),
            GgmlType::Block(Block::Q5_0) => each(raw, out, blocks::q5_0),
            GgmlType::Block(Block::Q5_1) => each(raw, out, blocks::q5_1),
            GgmlType::Block(Block::Q8_0) => each(raw, out, blocks::q8_0),
            GgmlType::Block(Block::Q2_K) => each(raw, out, super_blocks::q2_k),
            GgmlType::Block(Block::Q3_K) => each(raw, out, super_blocks::q3_k),
            GgmlType::Block(Block::Q4_K) => each(raw, out, super_blocks::q4_k),
            GgmlType::Block(Block::Q5_K) => each(raw, out, super_blocks::q5_k),
            GgmlType::Block(Block::Q6_K) => each(raw, out, super_blocks::q6_k),
        }
    }
}

fn each<const BYTES: usize, const ELEMENTS: usize>(
    raw: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    let (blocks, _) = raw.as_chunks::<BYTES>();
    let (outputs, _) = out.as_chunks_mut::<ELEMENTS>();
    for (block, out) in blocks.iter().zip(outputs) {
        decode(block, out);
    }
}

/// Parts of a layer, Hugging Face's and ggml's names.
const PARTS: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// What stands outside layers.
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

/// Hugging Face's name of a tensor; a tensor that no model should have is put where it is noticed.
fn hugging_face_name(ggml: &str) -> String {
    let renamed = || {
        let (stem, suffix) = ggml.rsplit_once('.')?;
        if let Some((name, _)) = OUTSIDE.iter().find(|(_, name)| *name == stem) {
            return Some(format!("{name}.{suffix}"));
        }
        let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
        let (name, _) = PARTS.iter().find(|(_, name)| *name == part)?;
        Some(format!("model.layers.{layer}.{name}.{suffix}"))
    };
    renamed().unwrap_or_else(|| format!("model.{ggml}"))
}

/// ggml's name of what Hugging Face calls so, for messages.
fn ggml_name(hugging_face: &str) -> String {
    let renamed = || {
        let (stem, suffix) = hugging_face.rsplit_once('.')?;
        if let Some((_, name)) = OUTSIDE.iter().find(|(name, _)| *name == stem) {
            return Some(format!("{name}.{suffix}"));
        }
        let (layer, part) = stem.strip_prefix("model.layers.")?.split_once('.')?;
        let (_, name) = PARTS.iter().find(|(name, _)| *name == part)?;
        Some(format!("blk.{layer}.{name}.{suffix}"))
    };
    renamed().unwrap_or_else(|| {
        let unknown = hugging_face.strip_prefix("model.");
        unknown.unwrap_or(hugging_face).into()
    })
}

/// All tensors of a file; none is read yet.
pub(super) fn checkpoint(
    header: &Header,
    architecture: Architecture,
    decoder: &Decoder,
) -> Result<Checkpoint, LoadError> {
    let mut entries = HashMap::new();
    for (ggml, info) in &header.tensors {
        // Read with the configuration.
        if ROPE_FACTORS.contains(&ggml.as_str()) {
            continue;
        }
        let name = hugging_face_name(ggml);
        let rotary = [".self_attn.q_proj.", ".self_attn.k_proj."];
        let interleaved = architecture.is_interleaved() && rotary.iter().any(|p| name.contains(p));
        let stored = stored(header, info);
        let head = decoder.head_dim as usize;
        let rows: Box<dyn Rows> = match (interleaved, info.shape.len()) {
            (true, 2) => Box::new(Halves { stored, head }),
            (true, 1) => Box::new(HalvesOfVector { stored, head }),
            _ => Box::new(stored),
        };
        let entry = Entry {
            shape: info.shape.clone(),
            rows: Ok(rows),
        };
        entries.insert(name, entry);
    }
    Ok(Checkpoint::of(entries, &decoder.model_type).spelled(ggml_name))
}

/// A tensor as it lies in the file.
pub(super) fn stored(header: &Header, info: &TensorInfo) -> Stored<GgmlType> {
    Stored {
        file: header.file.clone(),
        start: info.start,
        row_bytes: info.row_bytes,
        encoding: info.kind,
    }
}

/// Where dimension `i` of heads of `head` elements is stored: ggml keeps the two that are rotated together side
/// by side, Hugging Face half a head apart.
fn interleaved(i: usize, head: usize) -> usize {
    let (first, within) = (i - i % head, i % head);
    first + 2 * (within % (head / 2)) + within / (head / 2)
}

/// q_proj or k_proj with its rows in Hugging Face's order.
struct Halves {
    stored: Stored<GgmlType>,
    head: usize,
}

impl Rows for Halves {
    fn row_bytes(&self) -> usize {
        self.stored.row_bytes()
    }

    fn read(&self, first: usize, raw: &mut [u8]) -> Result<(), LoadError> {
        let rows = raw.chunks_mut(self.row_bytes()).zip(first..);
        for (raw, row) in rows {
            self.stored.read(interleaved(row, self.head), raw)?;
        }
        Ok(())
    }

    fn decode(&self, row: usize, raw: &[u8], out: &mut [f32]) {
        self.stored.decode(row, raw, out);
    }
}

/// Its bias likewise.
struct HalvesOfVector {
    stored: Stored<GgmlType>,
    head: usize,
}

impl Rows for HalvesOfVector {
    fn row_bytes(&self) -> usize {
        self.stored.row_bytes()
    }

    fn read(&self, first: usize, raw: &mut [u8]) -> Result<(), LoadError> {
        self.stored.read(first, raw)
    }

    fn decode(&self, row: usize, raw: &[u8], out: &mut [f32]) {
        let mut values = vec![0.0; out.len()];
        self.stored.decode(row, raw, &mut values);
        for (i, out) in out.iter_mut().enumerate() {
            // The shape is a whole number of heads, or was refused before.
            *out = values
                .get(interleaved(i, self.head))
                .copied()
                .unwrap_or(f32::NAN);
        }
    }
}
