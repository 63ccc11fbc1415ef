//! Every quantised type, against gguf-py: `tests/fixtures/gguf/types.gguf`.

use std::path::Path;

use crate::weights::gguf::header::{Header, TensorInfo};
use crate::weights::gguf::tensors::stored;
use crate::weights::rows::Rows;

const TYPES: [&str; 12] = [
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16",
];

fn header() -> Header {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf");
    Header::read(&fixtures.join("types.gguf")).unwrap()
}

fn rows(header: &Header, info: &TensorInfo) -> Vec<Vec<f32>> {
    let stored = stored(header, info);
    let rows = 0..info.shape[0];
    rows.map(|row| {
        let (mut raw, mut values) = (vec![0; stored.row_bytes()], vec![0.0; info.shape[1]]);
        stored.read(row, &mut raw).unwrap();
        stored.decode(row, &raw, &mut values);
        values
    })
    .collect()
}

#[test]
fn values_are_those_of_gguf_py_to_the_last_bit() {
    let header = header();
    for name in TYPES {
        let info = &header.tensors[name];
        assert_eq!(info.kind.name(), name);
        let expected = rows(&header, &header.tensors[&format!("{name}.f32")]);
        let found = rows(&header, info);
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert_eq!(found, expected, "{name}");
        }
    }
}
