//! The public polynomials of a matrix's columns: a_j of its features or R_c of its outputs.
//!
//! They are public and large (16 bytes times N r for each pair of columns), so they are kept outside
//! the payload, as int32 in the order in which minting reads them.

use alloc::{vec, vec::Vec};

use super::field::FIELDS;
use super::{LANES, Parameters, ShapeError};

/// All public polynomials of some columns, in NTT form, in blocks of [`LANES`] columns.
///
/// A block is (prime, value i, component l, lane) of centred residues, `|a| <= (p-1)/2`. Lanes behind
/// the last column hold zeros.
pub struct PublicPolynomials {
    parameters: &'static Parameters,
    columns: usize,
    words: Vec<i32>,
}

impl PublicPolynomials {
    /// Memory of the polynomials of `columns` columns.
    pub fn bytes_for(parameters: &Parameters, columns: usize) -> u64 {
        let blocks = columns.div_ceil(LANES) as u64;
        blocks * parameters.block_words() as u64 * size_of::<i32>() as u64
    }

    /// Zeros, to be filled by [`Self::set_row`].
    pub fn new(parameters: &'static Parameters, columns: usize) -> Self {
        let words = columns.div_ceil(LANES) * parameters.block_words();
        Self {
            parameters,
            columns,
            words: vec![0; words],
        }
    }

    /// Sets public row `row` (of `public_rows`): value `i = row / r` of component `l = row % r` of
    /// every column.
    ///
    /// `residues`: (columns) modulo P1, then (columns) modulo P2, as rows travel. Nothing is set if
    /// there is an error.
    pub fn set_row(&mut self, row: usize, residues: &[u32]) -> Result<(), ShapeError> {
        let rows = self.parameters.public_rows();
        if row >= rows {
            return Err(ShapeError::Row { row, rows });
        }
        ShapeError::check("residues of a public row", 2 * self.columns, residues.len())?;
        let (first, second) = residues.split_at(self.columns);
        for (i, half) in [first, second].into_iter().enumerate() {
            let p = FIELDS[i].p;
            if let Some(residue) = half.iter().find(|residue| **residue >= p) {
                let residue = *residue;
                return Err(ShapeError::Residue { residue, p });
            }
        }
        let block_words = self.parameters.block_words();
        for (i, half) in [first, second].into_iter().enumerate() {
            let at = (i * rows + row) * LANES;
            let blocks = self.words.chunks_exact_mut(block_words);
            for (block, residues) in blocks.zip(half.chunks(LANES)) {
                for (word, residue) in block[at..at + LANES].iter_mut().zip(residues) {
                    *word = FIELDS[i].centre(*residue);
                }
            }
        }
        Ok(())
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(LANES)
    }

    /// Block b: columns from `b * LANES`.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block(&self, b: usize) -> &[i32] {
        let words = self.parameters.block_words();
        &self.words[b * words..(b + 1) * words]
    }

    /// How many columns there are, padding not counted.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The parameters they are for.
    pub fn parameters(&self) -> &'static Parameters {
        self.parameters
    }
}

#[cfg(test)]
mod tests {
    use super::super::PARAMETERS;
    use super::*;
    use crate::{P1, P2, residue};

    #[test]
    fn a_row_lands_where_minting_reads_it() {
        let (parameters, columns) = (&PARAMETERS[1], 21);
        let mut public = PublicPolynomials::new(parameters, columns);
        assert_eq!((public.blocks(), public.columns()), (2, columns));
        let bytes = PublicPolynomials::bytes_for(parameters, columns);
        assert_eq!(bytes as usize, 2 * 4 * parameters.block_words());
        let residues: Vec<u32> = (0..2 * columns as u32).map(|j| P1 / 50 * j).collect();
        let (i, l) = (7, 3);
        public.set_row(i * parameters.rank + l, &residues).unwrap();
        let mut set = 0;
        for j in 0..2 * LANES {
            for (prime, p) in [P1, P2].into_iter().enumerate() {
                let at = ((prime * parameters.degree + i) * parameters.rank + l) * LANES;
                let word = public.block(j / LANES)[at + j % LANES];
                let expected = if j < columns {
                    residues[prime * columns + j]
                } else {
                    0
                };
                assert_eq!(residue::from_small(word, p), expected);
                assert!(word.unsigned_abs() <= (p - 1) / 2);
                set += usize::from(word != 0);
            }
        }
        let all = (0..2).flat_map(|b| public.block(b));
        assert_eq!(all.filter(|word| **word != 0).count(), set);
    }

    #[test]
    fn refusals() {
        let parameters = &PARAMETERS[0];
        let mut public = PublicPolynomials::new(parameters, 2);
        let rows = parameters.public_rows();
        let refused = [
            (rows, vec![0; 4], ShapeError::Row { row: rows, rows }),
            (
                0,
                vec![0, 0, P2, 0],
                ShapeError::Residue { residue: P2, p: P2 },
            ),
            (
                0,
                vec![0, P1, 0, 0],
                ShapeError::Residue { residue: P1, p: P1 },
            ),
            (
                rows - 1,
                vec![0; 3],
                ShapeError::Length {
                    what: "residues of a public row",
                    expected: 4,
                    found: 3,
                },
            ),
        ];
        for (row, residues, expected) in refused {
            assert_eq!(public.set_row(row, &residues), Err(expected));
        }
        assert!(public.block(0).iter().all(|word| *word == 0));
        public.set_row(rows - 1, &[P1 - 1, 1, 1, P2 - 1]).unwrap();
    }
}
