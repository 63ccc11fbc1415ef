//! Where a checkpoint keeps the decoder: the same tensors stand under several prefixes.
//!
//! The canonical names are those of `LlamaForCausalLM` and its kin: `model.embed_tokens.weight`,
//! `model.layers.0.mlp.up_proj.weight`, `model.norm.weight`, `lm_head.weight`.

/// Prefixes of decoder and lm_head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    decoder: &'static str,
    lm_head: &'static str,
}

/// In the order in which they are looked for.
const SPELLINGS: [Spelling; 6] = [
    Spelling::CANONICAL,
    // Multimodal checkpoints of transformers from 4.52 on, and before.
    spelling("model.language_model.", "lm_head."),
    spelling("language_model.model.", "language_model.lm_head."),
    spelling("model.text_model.", "lm_head."),
    spelling("language_model.", "lm_head."),
    // The decoder saved without its head (`LlamaModel`).
    spelling("", "lm_head."),
];

/// Beginnings of names within a decoder, for the spelling without a prefix.
const PARTS: [&str; 3] = ["embed_tokens.", "layers.", "norm."];

const fn spelling(decoder: &'static str, lm_head: &'static str) -> Spelling {
    Spelling { decoder, lm_head }
}

impl Spelling {
    /// Of canonical names.
    pub(super) const CANONICAL: Self = spelling("model.", "lm_head.");

    /// That of a checkpoint with tensors of these names; the canonical one if it has no decoder at all.
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Self {
        let marks = ["embed_tokens.", "layers.0."];
        let spells = |spelling: &&Spelling| {
            names.clone().any(|name| {
                let inner = name.strip_prefix(spelling.decoder);
                inner.is_some_and(|inner| marks.iter().any(|mark| inner.starts_with(mark)))
            })
        };
        *SPELLINGS
            .iter()
            .find(spells)
            .unwrap_or(&Spelling::CANONICAL)
    }

    /// The canonical name of a tensor; none if it is outside decoder and lm_head.
    pub(super) fn canonical(&self, name: &str) -> Option<String> {
        if let Some(rest) = name.strip_prefix(self.lm_head) {
            return Some(format!("{}{rest}", Spelling::CANONICAL.lm_head));
        }
        let inner = name.strip_prefix(self.decoder)?;
        let within = !self.decoder.is_empty() || PARTS.iter().any(|part| inner.starts_with(part));
        within.then(|| format!("{}{inner}", Spelling::CANONICAL.decoder))
    }

    /// The name in the file of a tensor with this canonical name.
    pub(super) fn stored(&self, canonical: &str) -> String {
        let prefixes = [
            (Self::CANONICAL.decoder, self.decoder),
            (Self::CANONICAL.lm_head, self.lm_head),
        ];
        let stored = |(canonical_prefix, prefix)| {
            let inner = canonical.strip_prefix(canonical_prefix)?;
            Some(format!("{prefix}{inner}"))
        };
        let found = prefixes.into_iter().find_map(stored);
        found.unwrap_or_else(|| canonical.into())
    }
}

/// Whether a tensor of this canonical name changes what a decoder of so many layers computes: leaving it out would
/// compute another model.
pub(super) fn takes_part(name: &str, layers: usize) -> bool {
    let Some(inner) = name.strip_prefix(Spelling::CANONICAL.decoder) else {
        return false;
    };
    if is_derived(inner) || is_of_cache(inner) {
        return false;
    }
    let layer = inner
        .strip_prefix("layers.")
        .and_then(|l| l.split_once('.'));
    layer.is_none_or(|(layer, _)| layer.parse().is_ok_and(|l: usize| l < layers))
}

/// Rotary frequencies, which older checkpoints store: config.json gives them.
fn is_derived(name: &str) -> bool {
    name.split('.')
        .any(|part| matches!(part, "rotary_emb" | "rotary_pos_emb" | "inv_freq"))
}

/// Scales for a quantised KV cache. Ours is not quantised, which is nearer to the model than the scales are.
fn is_of_cache(name: &str) -> bool {
    let (parent, last) = name.rsplit_once('.').unwrap_or(("", name));
    match last {
        "k_scale" | "v_scale" | "q_scale" | "kv_scale" | "prob_scale" | "prob_output_scale"
        | "k_zero_point" | "v_zero_point" => true,
        "output_scale" => parent.ends_with("k_proj") || parent.ends_with("v_proj"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_told_by_its_tensors() {
        for (names, lm_head) in [
            (
                ["model.embed_tokens.weight", "model.layers.0.x"],
                "lm_head.weight",
            ),
            (
                [
                    "model.language_model.embed_tokens.weight",
                    "model.language_model.layers.0.x",
                ],
                "lm_head.weight",
            ),
            (
                [
                    "language_model.model.embed_tokens.weight",
                    "language_model.model.layers.0.x",
                ],
                "language_model.lm_head.weight",
            ),
            (
                [
                    "model.text_model.embed_tokens.weight",
                    "model.text_model.layers.0.x",
                ],
                "lm_head.weight",
            ),
            (
                [
                    "language_model.embed_tokens.weight",
                    "language_model.layers.0.x",
                ],
                "lm_head.weight",
            ),
            (["embed_tokens.weight", "layers.0.x"], "lm_head.weight"),
        ] {
            let spelling = Spelling::of(names.into_iter());
            let canonical = names.map(|name| spelling.canonical(name).unwrap());
            assert_eq!(canonical, ["model.embed_tokens.weight", "model.layers.0.x"]);
            assert_eq!(canonical.map(|name| spelling.stored(&name)), names);
            assert_eq!(spelling.canonical(lm_head).unwrap(), "lm_head.weight");
            assert_eq!(spelling.canonical("vision_tower.layers.0.x"), None);
        }
        assert_eq!(Spelling::of([].into_iter()).decoder, "model.");
    }

    #[test]
    fn what_takes_no_part() {
        for name in [
            "lm_head.weight",
            "model.rotary_emb.inv_freq",
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.1.self_attn.rotary_emb.cos_cached",
            "model.layers.0.self_attn.k_scale",
            "model.layers.0.self_attn.attn.v_scale",
            "model.layers.0.self_attn.k_proj.output_scale",
            "model.layers.2.mlp.up_proj.weight",
        ] {
            assert!(!takes_part(name, 2), "{name}");
        }
        for name in [
            "model.layers.1.mlp.up_proj.weight",
            "model.layers.1.mlp.up_proj.output_scale",
            "model.layers.0.self_attn.k_norm.weight",
            "model.something.weight",
        ] {
            assert!(takes_part(name, 2), "{name}");
        }
    }
}
