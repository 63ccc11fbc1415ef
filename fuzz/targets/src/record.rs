//! Records of GPU hosts.

use talaria_guest::testing;
use talaria_host_gpu::record::{FORMAT, Reader};
use talaria_host_gpu::scheduler::rows::ClaimBody;

use crate::Seed;

/// [`Reader`]: entries in their order, no more of them than there are bytes for, none after an error.
pub fn record(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else {
        return;
    };
    let projections = reader.manifest().projections.len();
    let mut bytes = 0;
    let whole = reader.by_ref().map_while(Result::ok);
    for (expected, entry) in (0..).zip(whole) {
        assert_eq!(entry.index, expected);
        assert!((entry.seen.projection as usize) < projections && entry.seen.rows > 0);
        bytes += match entry.seen.body {
            ClaimBody::Residues(residues) => residues.len(),
            ClaimBody::Seed(seed) => seed.len(),
        };
    }
    assert!(bytes < data.len());
    assert!(reader.next().is_none());
}

/// A record without entries, with two, and one that was cut short.
pub fn seeds() -> Vec<Seed> {
    let header = header();
    // k = 16 of projection 1.
    let residues = entry(0, 1, 2, 1, &[0; 2 * 2 * 16 * 4]);
    let seed = entry(1, 4, 9, 2, &[5; 32]);
    let two = [&header[..], &residues, &seed].concat();
    vec![
        Seed::new("empty", header),
        Seed::new("cut", &two[..two.len() - 7]),
        Seed::new("two", two),
    ]
}

fn header() -> Vec<u8> {
    let manifest = testing::manifest().to_bytes();
    let mut header = b"TALREC\r\n".to_vec();
    header.extend(FORMAT.to_le_bytes());
    header.extend([7; 32]);
    header.extend((manifest.len() as u64).to_le_bytes());
    header.extend(manifest);
    header
}

fn entry(index: u64, projection: u32, rows: u32, kind: u32, body: &[u8]) -> Vec<u8> {
    let (stream, micros, planes) = (3_u64, 1000_u64, 0_u32);
    let longs = [index, stream, micros].map(u64::to_le_bytes);
    let shorts = [projection, rows, planes, kind].map(u32::to_le_bytes);
    let length = (body.len() as u64).to_le_bytes();
    [longs.as_flattened(), shorts.as_flattened(), &length, body].concat()
}
