//! For tests: flips every bit of signed bytes, one at a time.

use std::thread;

/// Asserts that `accepts` takes `bytes` as they are, and refuses them with any one bit flipped in any of the
/// bytes at `places`. Spread over all cores.
pub(super) fn assert_every_flip_refused(
    bytes: &[u8],
    places: &[usize],
    accepts: impl Fn(&[u8]) -> bool + Sync,
) {
    assert!(accepts(bytes), "the original is refused");
    assert!(!places.is_empty());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let accepts = &accepts;
    thread::scope(|scope| {
        for places in places.chunks(places.len().div_ceil(cores)) {
            scope.spawn(move || {
                let mut bytes = bytes.to_vec();
                for &at in places {
                    for bit in 0..8 {
                        bytes[at] ^= 1 << bit;
                        assert!(!accepts(&bytes), "byte {at:#x} bit {bit}");
                        bytes[at] ^= 1 << bit;
                    }
                }
            });
        }
    });
}
