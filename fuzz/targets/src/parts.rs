//! Inputs of several parts: a u32le length before each, cut off where the input ends.

/// The parts of an input.
pub(crate) fn parts(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let (part, rest) = rest.split_at(length.min(rest.len()));
        parts.push(part);
        data = rest;
    }
    parts
}

/// The input with these parts.
pub(crate) fn join<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Vec<u8> {
    let mut data = Vec::new();
    for part in parts {
        let part = part.as_ref();
        data.extend((part.len() as u32).to_le_bytes());
        data.extend_from_slice(part);
    }
    data
}
