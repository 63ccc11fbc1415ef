use super::*;

/// A one-layer model of the smallest shapes, valid as it is.
fn manifest() -> Manifest {
    let decoder = Decoder {
        model_type: "qwen3".into(),
        hidden_size: 4,
        intermediate_size: 6,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 2,
        vocab_size: 8,
        max_position_embeddings: 16,
        rms_norm_eps: 1e-6,
        rope: Rope {
            theta: 1e4,
            scaling: RopeScaling::None,
        },
    };
    let projections = decoder
        .shapes(1)
        .into_iter()
        .map(|(role, layer, k, n)| Projection {
            role,
            layer,
            k,
            n,
            exponents: vec![3; n as usize],
            bias: vec![],
        })
        .collect();
    Manifest {
        format: FORMAT,
        decoder,
        weights: WeightFormat::Int16,
        projections,
        layers: vec![LayerExtras {
            q_norm: vec![1.0; 2],
            k_norm: vec![1.0; 2],
            sliding_window: Some(4),
        }],
        generation: Generation {
            eos_token_ids: vec![7],
            ..Generation::default()
        },
        text_files: BTreeMap::from([("tokenizer.json".into(), b"{}".to_vec())]),
    }
}

#[test]
fn round_trip() {
    let manifest = manifest();
    assert_eq!(
        Manifest::from_bytes(&manifest.to_bytes()).unwrap(),
        manifest
    );
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let bytes = manifest().to_bytes();
    for end in 0..bytes.len() {
        assert!(
            Manifest::from_bytes(&bytes[..end]).is_err(),
            "prefix of {end} bytes"
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(
        Manifest::from_bytes(&longer),
        Err(ManifestError::Trailing(1))
    ));
}

#[test]
fn every_byte_change_is_refused_or_parses_without_panic() {
    let bytes = manifest().to_bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Ok(parsed) = Manifest::from_bytes(&changed) {
                parsed.validate().unwrap();
            }
        }
    }
}

#[test]
fn contradictions_are_named() {
    let refuse = |expected: &str, change: &dyn Fn(&mut Manifest)| {
        let mut changed = manifest();
        change(&mut changed);
        let error = Manifest::from_bytes(&changed.to_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
    };
    refuse("format 2", &|m| m.format = 2);
    refuse("head_dim = 3 is odd", &|m| m.decoder.head_dim = 3);
    refuse("hidden_size = 0", &|m| m.decoder.hidden_size = 0);
    refuse("cannot share", &|m| m.decoder.num_key_value_heads = 3);
    refuse("Embedding of layer 0 expected", &|m| {
        m.decoder.hidden_size = 6
    });
    refuse("exponents for 4 outputs", &|m| {
        m.projections[0].exponents.truncate(3)
    });
    refuse("biases for 8 outputs", &|m| {
        m.projections[1].bias = vec![0.0; 3]
    });
    refuse("bias not finite", &|m| {
        m.projections[1].bias = vec![f32::NAN; 8]
    });
    refuse("projections for 1 layers", &|m| m.projections.truncate(5));
    refuse("q_norm has 1 elements", &|m| m.layers[0].q_norm.truncate(1));
    refuse("outside the vocabulary", &|m| {
        m.generation.eos_token_ids.push(8)
    });
    refuse("rope theta = 0", &|m| m.decoder.rope.theta = 0.0);
}
