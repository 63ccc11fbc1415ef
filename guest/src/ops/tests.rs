//! Rules that hold for all operations together.

use super::self_test::Numbers;
use super::*;

/// The digest that every build must reproduce, Wasm included.
const DIGEST: &str = "b111d11023208004fb80517d5b81b682b590cdfcad372b680ea2ffa786ce5bde";

#[test]
fn digest_is_the_pinned_one() {
    let digest: String = self_test_digest()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(digest, DIGEST);
}

#[test]
fn rows_do_not_depend_on_their_batch() {
    let (rows, width) = (7, 2 * 53);
    let x = Numbers(9).take(rows * width, 6.0);
    let gain = Numbers(10).take(width / 2, 2.0);
    let head_norm = |x: &[f32]| {
        let mut x = x.to_vec();
        rms_norm_heads(&mut x, &gain, 1e-6);
        x
    };
    let alone = |op: &dyn Fn(&[f32]) -> Vec<f32>| x.chunks(width).flat_map(op).collect::<Vec<_>>();
    assert_eq!(
        rms_norm(&x, width, 1e-6),
        alone(&|x| rms_norm(x, width, 1e-6))
    );
    assert_eq!(swiglu(&x, width / 2), alone(&|x| swiglu(x, width / 2)));
    assert_eq!(head_norm(&x), alone(&head_norm));
}

#[test]
fn adds_rows_and_biases() {
    let mut x = [1.0, 2.0, 3.0, 4.0];
    add(&mut x, &[10.0, 20.0, 30.0, 40.0]);
    assert_eq!(x, [11.0, 22.0, 33.0, 44.0]);
    add_bias(&mut x, &[0.5, -0.5]);
    assert_eq!(x, [11.5, 21.5, 33.5, 43.5]);
    add_bias(&mut x, &[]);
    assert_eq!(x, [11.5, 21.5, 33.5, 43.5]);
}

#[test]
fn sums_follow_the_documented_order() {
    // 2^24 + 1 + ... in one chain would lose every 1; the tree pairs them first.
    let mut lanes = [1.0; LANES];
    lanes[0] = 16_777_216.0;
    assert_eq!(lanes::sum(lanes), 16_777_216.0 + 14.0);
    assert_eq!(lanes::sum_of_squares(&[2.0; 19]), 76.0);
    assert_eq!(lanes::max(&[[-3.0; LANES], [f32::NAN; LANES]]), -3.0);
    assert_eq!(lanes::max(&[]), f32::NEG_INFINITY);
}
