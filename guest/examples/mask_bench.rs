//! Minting as a bare Wasm module, for host-cvm's example of the same name to check and to time.
//!
//! No component: numbers in, numbers out, buffers in this module's memory. One instance is one
//! experiment, so its state is a thread-local.
#![allow(
    unsafe_code,
    reason = "exported names; what they export is safe, the caller reads memory from outside"
)]

use std::cell::RefCell;

use talaria_arithmetic::module_lwe::{Noise, PARAMETERS, Parameters, Secret, mint_block};

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::default());
}

#[derive(Default)]
struct State {
    secrets: Vec<Secret>,
    block: Vec<i32>,
    masks: Vec<u32>,
    row: Vec<i16>,
    weights: Vec<i8>,
}

/// Draws `secrets` secrets of set number `set`, secret i from the seed `[i; 32]`. 0, or 1 if there is no
/// such set.
#[unsafe(no_mangle)]
pub extern "C" fn prepare(set: u32, secrets: u32) -> u32 {
    const SETS: &[Parameters] = &PARAMETERS;
    let Some(set) = SETS.get(set as usize) else {
        return 1;
    };
    STATE.with_borrow_mut(|state| {
        state.secrets = (0..secrets)
            .map(|i| Secret::draw(set, &[i as u8; 32]))
            .collect();
        state.block = vec![0; set.block_words()];
        state.masks = vec![0; set.mask_words() * secrets as usize];
    });
    0
}

/// Where the block is written to.
#[unsafe(no_mangle)]
pub extern "C" fn block() -> *mut i32 {
    STATE.with_borrow_mut(|state| state.block.as_mut_ptr())
}

/// Where the masks are read from, one secret's after the other's.
#[unsafe(no_mangle)]
pub extern "C" fn masks() -> *const u32 {
    STATE.with_borrow(|state| state.masks.as_ptr())
}

/// Mints the block's masks under each secret, with noise of the seed `[number; 32]` if `noise` is not 0.
/// 0, or 1 if refused.
#[unsafe(no_mangle)]
pub extern "C" fn mint(noise: u32, number: u32) -> u32 {
    let seed = [number as u8; 32];
    let noise: Option<Noise<'_>> = (noise != 0).then_some((&seed, u64::from(number)));
    STATE.with_borrow_mut(|state| {
        let each = state.masks.len() / state.secrets.len().max(1);
        let masks = state.masks.chunks_exact_mut(each.max(1));
        let minted = state
            .secrets
            .iter()
            .zip(masks)
            .map(|(secret, masks)| mint_block(secret, noise, &state.block, masks));
        u32::from(minted.fold(false, |refused, result| refused | result.is_err()))
    })
}

/// A row of `k` int16, a multiple of 32, and `n` columns of `k` int8 weights.
#[unsafe(no_mangle)]
pub extern "C" fn prepare_product(k: u32, n: u32) {
    STATE.with_borrow_mut(|state| {
        state.row = (0..k).map(|j| (j * 40503) as i16).collect();
        state.weights = (0..k * n).map(|j| (j * 167) as i8).collect();
    });
}

/// Outputs `first..first + n` of the row's product with the weights; their sum.
#[unsafe(no_mangle)]
pub extern "C" fn product(first: u32, n: u32) -> i64 {
    STATE.with_borrow(|state| {
        let columns = state.weights.chunks_exact(state.row.len().max(1));
        let columns = columns.skip(first as usize).take(n as usize);
        columns.map(|column| dot(&state.row, column)).sum()
    })
}

/// int16 times int8: a partial sum of 32 bits holds `2 * 32 * 2^15 * 2^7 = 2^28`, then it is widened.
#[cfg(target_arch = "wasm32")]
fn dot(row: &[i16], column: &[i8]) -> i64 {
    use std::arch::wasm32::*;
    /// Elements in four vectors of products.
    const WIDTH: usize = 32;
    const STEPS: usize = 32;
    let mut total = i64x2_splat(0);
    let runs = row.chunks(WIDTH * STEPS);
    for (row, column) in runs.zip(column.chunks(WIDTH * STEPS)) {
        let mut sums = [i32x4_splat(0); 4];
        let ((rows, _), (columns, _)) = (row.as_chunks::<WIDTH>(), column.as_chunks::<WIDTH>());
        for (x, w) in rows.iter().zip(columns) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: i < 4, so 8 elements from 8 i on lie within the 32 of x and of w.
                let (x, w) = unsafe {
                    let x = v128_load(x.as_ptr().add(8 * i).cast());
                    (x, i16x8_load_extend_i8x8(w.as_ptr().add(8 * i)))
                };
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(x, w));
            }
        }
        for sum in sums {
            total = i64x2_add(total, i64x2_extend_low_i32x4(sum));
            total = i64x2_add(total, i64x2_extend_high_i32x4(sum));
        }
    }
    i64x2_extract_lane::<0>(total) + i64x2_extract_lane::<1>(total)
}

#[cfg(not(target_arch = "wasm32"))]
fn dot(row: &[i16], column: &[i8]) -> i64 {
    let terms = row.iter().zip(column);
    terms.map(|(x, w)| i64::from(*x) * i64::from(*w)).sum()
}
