//! Leaks on purpose. Each returns as if it were none: only memcheck can tell.

use crate::valgrind::{declare, hide};
use core::hint::black_box;

/// Branches on a secret.
pub(crate) fn branch() -> bool {
    let mut secret = [black_box(7u32)];
    hide(&mut secret);
    let mut found = [0];
    each(&secret, |secret| match secret == 7 {
        true => found[0] += black_box(1),
        false => drop(black_box(vec![secret])),
    });
    declare(&found);
    found[0] > 0
}

/// Looks a secret up.
pub(crate) fn index() -> bool {
    let table: Vec<u32> = (1..=256).collect();
    let mut secret = [black_box(200u8)];
    hide(&mut secret);
    let mut found = [0];
    each(&secret, |secret| found[0] = table[usize::from(secret)]);
    declare(&found);
    found[0] > 0
}

#[inline(never)]
fn each<T: Copy>(secrets: &[T], of: impl FnMut(T)) {
    secrets.iter().copied().for_each(of);
}
