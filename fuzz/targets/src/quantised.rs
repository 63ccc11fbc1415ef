//! Quantised checkpoints: what quantization_config says, and tensors that may contradict it or each other.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;
use talaria_host_gpu::weights::checkpoint::Checkpoint;
use talaria_host_gpu::weights::quantised::scheme;
use tempfile::TempDir;

use crate::Seed;
use crate::parts::{join, parts};

/// quantization_config, then a safetensors file, as parts: every weight that is found can be read, row by row.
pub fn quantised(data: &[u8]) {
    let parts = parts(data);
    let (Some(config), Some(weights)) = (parts.first(), parts.get(1)) else {
        return;
    };
    let Ok(config) = serde_json::from_slice::<Value>(config) else {
        return;
    };
    let Ok(scheme) = scheme::describe(&config) else {
        return;
    };
    let dir = TempDir::new().expect("a temporary directory");
    fs::write(dir.path().join("model.safetensors"), weights).expect("a temporary file");
    let Ok(checkpoint) = Checkpoint::open(dir.path(), "llama", scheme.as_ref()) else {
        return;
    };
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).expect("its name is listed");
        // A byte holds two elements at most.
        let elements: usize = shape.iter().product();
        assert!(elements <= 2 * weights.len());
        if let Ok(tensor) = checkpoint.tensor(name, shape)
            && let Ok(values) = tensor.read_all()
        {
            assert_eq!(values.len(), elements);
        }
    }
}

/// Goldens of the loader, one of each scheme.
pub fn seeds() -> Vec<Seed> {
    macro_rules! golden {
        ($name:literal) => {
            seed(
                $name,
                include_bytes!(concat!(
                    "../../../host-gpu/src/weights/quantised/tests/",
                    $name,
                    ".safetensors"
                )),
            )
        };
    }
    vec![
        golden!("awq"),
        golden!("fp8-block-ragged"),
        golden!("gptq-4-desc-act"),
        golden!("naive-quantized-group"),
        golden!("pack-quantized-4-zeros"),
        golden!("pack-quantized-4-actorder"),
    ]
}

fn seed(name: &'static str, file: &[u8]) -> Seed {
    let (_, metadata) = SafeTensors::read_metadata(file).expect("a golden file");
    let metadata = metadata.metadata().as_ref();
    let config = &metadata.expect("it has metadata")["quantization_config"];
    Seed::new(name, join([config.as_bytes(), file]))
}
