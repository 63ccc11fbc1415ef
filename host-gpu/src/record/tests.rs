use super::*;
use crate::scheduler::rows::to_little_endian;
use crate::testing::{some_rows, tiny_manifest};
use bytes::Bytes;
use talaria_wire::digest::ModelDigest;

const DIGEST: ModelDigest = ModelDigest([7; 32]);

/// Two requests of 2 x 16 residues and of a seed, recorded; the bytes of the file.
fn record() -> (Vec<Seen>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let manifest = tiny_manifest().to_bytes();
    let recorder = Recorder::create(directory.path(), DIGEST, &manifest).unwrap();
    let residues = Seen {
        stream: 3,
        projection: 1,
        rows: 2,
        planes: Planes::Joined,
        body: ClaimBody::Residues(to_little_endian(some_rows(2, 8, 1))),
    };
    let seed = Seen {
        stream: 4,
        projection: 4,
        rows: 9,
        planes: Planes::Apart,
        body: ClaimBody::Seed([5; 32]),
    };
    let seen = vec![residues, seed];
    seen.iter().for_each(|seen| recorder.saw(seen));
    let path = recorder.path().to_owned();
    drop(recorder);
    (seen, std::fs::read(path).unwrap())
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, RecordError> {
    Reader::new(bytes)?.collect()
}

#[test]
fn what_was_seen_is_read_back() {
    let (seen, bytes) = record();
    let reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.digest(), DIGEST);
    assert_eq!(*reader.manifest(), tiny_manifest());
    let entries: Vec<Entry> = reader.collect::<Result<_, _>>().unwrap();
    assert_eq!(entries.len(), seen.len());
    for (i, (entry, seen)) in entries.iter().zip(&seen).enumerate() {
        assert_eq!(entry.index, i as u64);
        assert_eq!(entry.seen.stream, seen.stream);
        assert_eq!(
            (entry.seen.projection, entry.seen.rows),
            (seen.projection, seen.rows)
        );
        assert_eq!(
            (entry.seen.planes, &entry.seen.body),
            (seen.planes, &seen.body)
        );
    }
    assert!(entries[0].micros <= entries[1].micros);
}

#[test]
fn a_record_that_is_cut_anywhere_ends_with_an_error_after_its_whole_entries() {
    let (_, bytes) = record();
    let last = bytes.len() - ENTRY_BYTES - 32;
    let first = last - ENTRY_BYTES - 2 * 16 * 4;
    for end in 0..bytes.len() {
        let cut = &bytes[..end];
        if end == first || end == last {
            assert_eq!(read(cut).unwrap().len(), usize::from(end == last));
            continue;
        }
        let error = read(cut).unwrap_err();
        assert!(matches!(error, RecordError::Truncated { .. }), "{error}");
        if end > first {
            let entries: Vec<_> = Reader::new(cut).unwrap().collect();
            assert_eq!(entries.len(), 1 + usize::from(end > last), "at {end}");
            assert!(entries.last().unwrap().is_err());
        }
    }
}

#[test]
fn any_other_file_and_any_other_format_are_refused() {
    let (_, bytes) = record();
    let changed = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80;
        read(&changed).unwrap_err()
    };
    assert!(matches!(changed(0), RecordError::Magic(_)));
    assert!(matches!(changed(8), RecordError::Format(0x82)));
    assert!(matches!(changed(51), RecordError::ManifestLength(_)));
    assert!(matches!(changed(52), RecordError::Manifest(_)));
}

#[test]
fn fields_that_contradict_the_manifest_are_refused() {
    let (_, bytes) = record();
    let last = bytes.len() - ENTRY_BYTES - 32;
    for (field, expected) in [
        (0, "index 129, expected 1"),
        (24, "projection 132 of 6"),
        (32, "planes 129"),
        (36, "kind 130"),
        (40, "160 bytes, expected 32"),
    ] {
        let mut changed = bytes.clone();
        changed[last + field] ^= 0x80;
        let error = read(&changed).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_announced_length_takes_no_memory() {
    let (_, mut bytes) = record();
    let first = bytes.len() - 2 * ENTRY_BYTES - 32 - 2 * 16 * 4;
    let rows = u32::MAX.to_le_bytes();
    let length = (u64::from(u32::MAX) * 16 * 4).to_le_bytes();
    bytes[first + 28..first + 32].copy_from_slice(&rows);
    bytes[first + 40..first + 48].copy_from_slice(&length);
    let error = read(&bytes).unwrap_err();
    assert!(matches!(error, RecordError::Truncated { .. }), "{error}");
}

#[test]
fn records_of_one_directory_have_their_own_files() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = tiny_manifest().to_bytes();
    let open = || Recorder::create(directory.path(), DIGEST, &manifest).unwrap();
    let (one, other) = (open(), open());
    assert_ne!(one.path(), other.path());
    other.saw(&Seen {
        stream: 0,
        projection: 0,
        rows: 1,
        planes: Planes::Joined,
        body: ClaimBody::Residues(Bytes::from(vec![0; 128])),
    });
    let path = other.path().to_owned();
    drop(other);
    assert_eq!(Reader::open(&path).unwrap().count(), 1);
    assert_eq!(Reader::open(one.path()).unwrap().count(), 0);
}
