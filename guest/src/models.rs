//! Structural decoding: everything of a forward pass that needs no weights.
//!
//! One file for each structure that the manifest can name. Families of one structure differ in what else the manifest
//! says (biases, q/k norms, rope scaling, windows). A decoder sees products with weights as [`Products`] only: the
//! payload's go out masked, the adversary lab's are plain.

mod pre_norm;

use crate::ops::{KvCache, KvMemory};
use pre_norm::PreNorm;
use talaria_wire::manifest::{Manifest, Place, Structure};

/// Products with a model's weights.
pub trait Products {
    /// Why one cannot be had.
    type Error;

    /// y (rows,n) of x (rows,k), bias included. The structure has such a projection.
    fn project(&mut self, place: Place, x: &[f32]) -> Result<Vec<f32>, Self::Error>;

    /// Rows of the embedding table (tokens,hidden).
    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Self::Error>;
}

/// What a decoder keeps of the positions that a session has behind it. A clone shares it, until one of the two goes on.
#[derive(Clone)]
pub struct State {
    /// Keys and values of each layer.
    caches: Vec<KvCache>,
}

impl State {
    /// All that is behind it is no number.
    #[cfg(test)]
    pub(crate) fn poison(&mut self) {
        self.caches.iter_mut().for_each(KvCache::poison);
    }

    /// Forgets what a pass added that did not come to its end; `positions` were behind the session before it.
    pub fn rewind(&mut self, positions: usize) {
        self.caches
            .iter_mut()
            .for_each(|cache| cache.truncate(positions));
    }

    /// Bytes of all blocks, those that others share included.
    pub fn bytes(&self) -> u64 {
        self.caches.iter().map(KvCache::bytes).sum()
    }

    /// Whether a session can go on from so many positions, after [`State::rewind`] to there.
    pub fn reaches(&self, positions: usize) -> bool {
        self.caches.iter().all(|cache| cache.reaches(positions))
    }

    /// Bytes that a pass over so many rows adds, less those that windows give up before.
    pub fn bytes_to_append(&self, rows: usize) -> u64 {
        let caches = self.caches.iter();
        caches.map(|cache| cache.bytes_to_append(rows)).sum()
    }
}

/// Consecutive rows of one session in a forward pass.
pub struct Input<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Position of the first.
    pub position: usize,
    /// Tokens of the session so far, those of its prompt that wait for a later pass included: rotary frequencies may
    /// depend on it.
    pub length: usize,
    /// Of the positions before.
    pub state: &'a mut State,
    /// How many of the last rows need logits.
    pub logits: usize,
}

/// The decoder of one model, by the structure that its manifest names.
pub enum Decoder {
    /// [`Structure::PreNorm`].
    PreNorm(PreNorm),
}

impl Decoder {
    /// Of a valid manifest.
    pub fn new(manifest: &Manifest) -> Self {
        match manifest.structure {
            Structure::PreNorm => Self::PreNorm(PreNorm::new(manifest)),
        }
    }

    /// Of a session that has nothing behind it; what it comes to goes to the account of `memory`.
    pub fn state(&self, memory: &KvMemory) -> State {
        match self {
            Self::PreNorm(decoder) => decoder.state(memory),
        }
    }

    /// Bytes that a session's state may come to by so many positions, if no pass has more than `batch_rows` of them.
    pub fn state_bytes(&self, positions: usize, batch_rows: usize) -> u64 {
        match self {
            Self::PreNorm(decoder) => decoder.state_bytes(positions, batch_rows),
        }
    }

    /// Whether the state of a session of `from` tokens cannot serve it once it has `to`: all of it has to be computed
    /// again.
    pub fn outgrows(&self, from: usize, to: usize) -> bool {
        match self {
            Self::PreNorm(decoder) => decoder.outgrows(from, to),
        }
    }

    /// One forward pass over rows of any number of sessions: logits (sum of `logits`, vocab), in order.
    ///
    /// No row's result depends on which other rows are in the pass.
    pub fn forward<P: Products>(
        &self,
        inputs: &mut [Input<'_>],
        products: &mut P,
    ) -> Result<Vec<f32>, P::Error> {
        match self {
            Self::PreNorm(decoder) => decoder.forward(inputs, products),
        }
    }

    /// The residual stream after the final norm, without its gain (rows,h). `watch` sees the stream
    /// before the first layer (0) and after each.
    pub fn hidden_states<P: Products>(
        &self,
        inputs: &mut [Input<'_>],
        products: &mut P,
        watch: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<f32>, P::Error> {
        match self {
            Self::PreNorm(decoder) => decoder.hidden_states(inputs, products, watch),
        }
    }
}

/// Of the rows (rows,h) of a pass those whose logits are wanted.
fn wanted_rows(inputs: &[Input<'_>], rows: &[f32], h: usize) -> Vec<f32> {
    let mut wanted = Vec::new();
    let mut end = 0;
    for input in inputs {
        end += input.tokens.len();
        wanted.extend_from_slice(&rows[(end - input.logits) * h..end * h]);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::convert::Infallible;

    /// Products of zeros, and which were asked for.
    struct Zeros<'m> {
        manifest: &'m Manifest,
        asked: Vec<(Place, u32, u32)>,
        rows: usize,
    }

    impl Products for Zeros<'_> {
        type Error = Infallible;

        fn project(&mut self, place: Place, x: &[f32]) -> Result<Vec<f32>, Infallible> {
            let index = self.manifest.index_of(place).unwrap();
            let n = self.manifest.projections[index].n;
            let rows = if place == Place::LM_HEAD {
                1
            } else {
                self.rows
            };
            self.asked.push((place, (x.len() / rows) as u32, n));
            Ok(vec![0.0; rows * n as usize])
        }

        fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Infallible> {
            self.rows = tokens.len();
            let d = &self.manifest.decoder;
            let place = Place::EMBEDDING;
            self.asked.push((place, d.vocab_size, d.hidden_size));
            Ok(vec![0.0; tokens.len() * d.hidden_size as usize])
        }
    }

    /// A host sees the same calls whatever the tokens are, and they are what the manifest lists.
    #[test]
    fn every_decoder_asks_for_each_projection_of_its_structure_once_and_in_order() {
        for structure in Structure::ALL {
            let manifest = Manifest {
                structure,
                ..testing::manifest()
            };
            let decoder = Decoder::new(&manifest);
            let mut state = decoder.state(&KvMemory::default());
            let mut products = Zeros {
                manifest: &manifest,
                asked: Vec::new(),
                rows: 0,
            };
            let input = Input {
                tokens: &[3, 1, 4],
                position: 0,
                length: 3,
                state: &mut state,
                logits: 1,
            };
            let Ok(logits) = decoder.forward(&mut [input], &mut products);
            assert_eq!(logits.len(), manifest.decoder.vocab_size as usize);
            let expected = structure.shapes(&manifest.decoder, manifest.layers.len());
            assert_eq!(products.asked, expected);
        }
    }
}
