//! What int8 weights cost a real model, SmolLM2-135M-Instruct: error of the weights, and loss on texts against an
//! independent forward pass in float32 (fixtures/smollm2/losses.json).

use serde::Deserialize;
use talaria_guest::setup::Scheme;
use talaria_tests::{golden::model_dir, native::Native, smollm2};
use talaria_wire::manifest::{Place, WeightFormat};

/// A text of losses.json.
#[derive(Deserialize)]
struct Text {
    /// Where it is from.
    text: String,
    ids: Vec<u32>,
    /// Mean nats a token, of all but the first, with float32 weights.
    loss: f64,
}

fn load(format: WeightFormat) -> Option<Native> {
    let file = smollm2::file()?;
    let scheme = Scheme::DangerousPlaintext;
    Some(Native::load_path(&file, format, scheme))
}

#[test]
fn int8_costs_little_loss_on_the_mean_of_several_texts() {
    let Some(native) = load(WeightFormat::Int8) else {
        return;
    };
    let bytes = std::fs::read(model_dir("smollm2").join("losses.json")).expect("fixture");
    let texts: Vec<Text> = serde_json::from_slice(&bytes).expect("losses.json");
    assert_eq!(texts.len(), 8);
    let mut sum = 0.0;
    for Text { text, ids, loss } in &texts {
        let logits = native.logits(&mut native.state(), ids, 0, ids.len());
        let found = smollm2::mean_loss(&logits, ids);
        eprintln!(
            "{text}: {found:.4} nats, float32 {loss:.4}, {:+.4}",
            found - loss
        );
        sum += found - loss;
    }
    let mean = sum / texts.len() as f64;
    eprintln!("int8: {mean:+.4} nats on the mean of {} texts", texts.len());
    assert!(mean <= 0.015, "{mean}");
}

#[test]
fn relative_error_of_int8_weights() {
    // int16 stands for the weights: its own error is a hundredth of what is looked for.
    let (Some(int8), Some(int16)) = (load(WeightFormat::Int8), load(WeightFormat::Int16)) else {
        return;
    };
    let [mut in_layers, mut in_all] = [[0.0; 2]; 2];
    for (i, projection) in int8.ready.manifest.projections.iter().enumerate() {
        let mut sums = [0.0; 2];
        for first in 0..projection.n as usize {
            let [coarse, fine] = [&int8, &int16].map(|native| column(native, i, first));
            for (coarse, fine) in coarse.iter().zip(&fine) {
                sums[0] += (coarse - fine).powi(2);
                sums[1] += fine.powi(2);
            }
        }
        for (total, sum) in in_all.iter_mut().zip(sums) {
            *total += sum;
        }
        if ![Place::EMBEDDING, Place::LM_HEAD].contains(&projection.place) {
            for (total, sum) in in_layers.iter_mut().zip(sums) {
                *total += sum;
            }
        }
    }
    let relative = |[error, weights]: [f64; 2]| (error / weights).sqrt();
    let (in_layers, in_all) = (relative(in_layers), relative(in_all));
    eprintln!("relative rms error: layers {in_layers:.3e}, all weights {in_all:.3e}");
    assert!(in_layers <= 0.95e-2, "{in_layers}");
    assert!(in_all <= 1.3e-2, "{in_all}");
}

/// The weights of one output (k,).
fn column(native: &Native, projection: usize, output: usize) -> Vec<f64> {
    let scale = f64::from(native.ready.manifest.projections[projection].scales[output]);
    let planes = native.ready.manifest.weights.planes();
    let mut column = Vec::new();
    for plane in 0..planes {
        let read = native.model.backend.read(projection, plane, output, 1);
        let read = read.expect("the CPU's memory");
        column.resize(read.len(), 0.0);
        for (w, digit) in column.iter_mut().zip(read) {
            *w = 256.0 * *w + f64::from(digit);
        }
    }
    column.iter_mut().for_each(|w| *w *= scale);
    column
}
