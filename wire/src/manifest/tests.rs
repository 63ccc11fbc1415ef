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
            frequencies: RopeFrequencies::Fixed(vec![1.0]),
            attention_factor: 1.0,
        },
    };
    let structure = Structure::PreNorm;
    let projections = structure
        .shapes(&decoder, 1)
        .into_iter()
        .map(|(place, k, n)| Projection {
            place,
            k,
            n,
            scales: vec![0.125; n as usize],
            bias: vec![],
        })
        .collect();
    Manifest {
        format: FORMAT,
        structure,
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
    refuse("format 1, expected 2", &|m| m.format = 1);
    refuse("head_dim = 3 is odd", &|m| m.decoder.head_dim = 3);
    refuse("hidden_size = 0", &|m| m.decoder.hidden_size = 0);
    refuse("cannot share", &|m| m.decoder.num_key_value_heads = 3);
    refuse("embedding expected", &|m| m.decoder.hidden_size = 6);
    refuse("scales for 4 outputs", &|m| {
        m.projections[0].scales.truncate(3)
    });
    for scale in [0.0, -1.0, f32::INFINITY, f32::NAN, f32::from_bits(1)] {
        refuse("scale is not a positive normal float", &|m| {
            m.projections[2].scales[1] = scale
        });
    }
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
    refuse("k_norm has 3 elements", &|m| m.layers[0].k_norm.push(1.0));
    for bad in [f32::NAN, f32::INFINITY] {
        refuse("q_norm not finite", &|m| m.layers[0].q_norm[1] = bad);
        refuse("k_norm not finite", &|m| m.layers[0].k_norm[1] = bad);
    }
    refuse("sliding window of 0", &|m| {
        m.layers[0].sliding_window = Some(0)
    });
    refuse("vocab_size = 16777217, expected 1..=16777216", &|m| {
        m.decoder.vocab_size = (1 << 24) + 1
    });
    refuse("head_dim = 4098, expected 1..=4096", &|m| {
        m.decoder.head_dim = 4098
    });
    refuse("heads of 8388608 elements are too wide", &|m| {
        (m.decoder.num_attention_heads, m.decoder.head_dim) = (1 << 11, 1 << 12)
    });
    for bad in [-1e-6, f32::NAN, f32::INFINITY] {
        refuse("rms_norm_eps", &|m| m.decoder.rms_norm_eps = bad);
    }
    refuse("rope attention_factor = 0", &|m| {
        m.decoder.rope.attention_factor = 0.0
    });
}

#[test]
fn a_manifest_longer_than_any_is_refused_unread() {
    let long = vec![0; MAX_MANIFEST_BYTES + 1];
    let refused = Manifest::from_bytes(&long);
    assert!(matches!(refused, Err(ManifestError::TooLong(_))));
    let refused = Manifest::from_bytes(&long[1..]);
    assert!(matches!(refused, Err(ManifestError::Format(0))));
}

#[test]
fn rope_is_validated() {
    let by_length = |short, long, original_max_position_embeddings| RopeFrequencies::ByLength {
        short,
        long,
        original_max_position_embeddings,
    };
    let dynamic = |theta, factor, original_max_position_embeddings| RopeFrequencies::Dynamic {
        theta,
        factor,
        original_max_position_embeddings,
    };
    let with = |head_dim, frequencies, attention_factor| {
        let rope = Rope {
            frequencies,
            attention_factor,
        };
        rope.validate(head_dim)
    };
    for good in [
        RopeFrequencies::Fixed(vec![0.5, 0.0]),
        by_length(vec![1.0, 0.5], vec![0.1, 0.0], 1),
        dynamic(1e4, 1.0, 16),
    ] {
        assert_eq!(with(4, good, 1.19), Ok(()));
    }
    let refuse = |expected: &str, frequencies, attention_factor| {
        let error = with(4, frequencies, attention_factor).unwrap_err();
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
    };
    let fixed = RopeFrequencies::Fixed;
    refuse("1 rope frequencies", fixed(vec![1.0]), 1.0);
    for bad in [-1.0, f32::NAN, f32::INFINITY, 1e5] {
        refuse("radians a position", fixed(vec![1.0, bad]), 1.0);
        let (good, bad) = (vec![1.0; 2], vec![bad; 2]);
        refuse("short", by_length(bad.clone(), good.clone(), 8), 1.0);
        refuse("long", by_length(good, bad, 8), 1.0);
    }
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refuse("attention_factor", fixed(vec![1.0; 2]), bad);
    }
    refuse("= 0", by_length(vec![1.0; 2], vec![1.0; 2], 0), 1.0);
    refuse("= 0", dynamic(1e4, 2.0, 0), 1.0);
    for bad in [0.5, f32::NAN, f32::INFINITY] {
        refuse("theta", dynamic(bad, 2.0, 8), 1.0);
    }
    for bad in [0.5, f64::NAN, f64::INFINITY] {
        refuse("factor", dynamic(1e4, bad, 8), 1.0);
    }
    let error = with(2, dynamic(1e4, 2.0, 8), 1.0).unwrap_err();
    assert!(error.contains("more than 2 elements"), "{error}");
}

#[test]
fn a_structure_that_is_not_known_is_named() {
    let bytes = manifest().to_bytes();
    let known = Structure::PreNorm.name();
    let changed = |name: &str| {
        let head = postcard::to_allocvec(&(FORMAT, name)).unwrap();
        let rest = &bytes[postcard::to_allocvec(&(FORMAT, known)).unwrap().len()..];
        Manifest::from_bytes(&[&head[..], rest].concat())
    };
    assert_eq!(changed(known).unwrap(), manifest());
    let error = changed("sandwich").unwrap_err();
    assert!(matches!(&error, ManifestError::Structure(name) if name == "sandwich"));
    assert!(error.to_string().contains(known), "{error}");
    let long = changed(&"\u{e9}".repeat(1 << 20)).unwrap_err().to_string();
    assert!(long.len() < 1000, "{} bytes", long.len());
}

#[test]
fn every_projection_is_found_by_its_place() {
    let manifest = manifest();
    for (index, projection) in manifest.projections.iter().enumerate() {
        assert_eq!(manifest.index_of(projection.place), Some(index));
    }
    assert_eq!(manifest.index_of(Role::Qkv.of(1)), None);
    let names = manifest.projections.iter().map(|p| p.place.to_string());
    let names: Vec<_> = names.collect();
    let expected = [
        "embedding",
        "layer 0 qkv",
        "layer 0 o",
        "layer 0 gate_up",
        "layer 0 down",
        "lm_head",
    ];
    assert_eq!(names, expected);
}
