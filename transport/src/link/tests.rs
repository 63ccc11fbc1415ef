use proptest::prelude::*;
use talaria_wire::channel::noise;
use tokio::io::{DuplexStream, duplex};
use tokio::runtime::Builder;

use super::*;

type End = Secured<DuplexStream>;

fn key() -> LinkKey {
    LinkKey::new(drawn(1))
}

fn drawn(byte: u8) -> Drawn {
    Drawn::new([byte; KEY_BYTES])
}

/// Both ends over a stream that holds so many bytes.
async fn linked(capacity: usize) -> (End, End) {
    let (near, far) = duplex(capacity);
    let key = key();
    let (near, far) = tokio::join!(
        initiate(near, key.public(), None, drawn(2)),
        respond(far, &key, None, drawn(3))
    );
    (near.unwrap(), far.unwrap())
}

/// Both ends of a link that was cut: what the near one says is read from the first wire, what the far one hears is
/// written to the second.
async fn cut() -> (End, DuplexStream, DuplexStream, End) {
    let (mut near, mut far) = linked(1 << 10).await;
    let (stream, from_near) = duplex(1 << 20);
    near.stream = stream;
    let (to_far, stream) = duplex(1 << 20);
    far.stream = stream;
    (near, from_near, to_far, far)
}

/// What is on the wire for these texts, one record each.
async fn records(near: &mut End, wire: &mut DuplexStream, texts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for text in texts {
        near.write_all(text).await.unwrap();
        near.flush().await.unwrap();
        let mut record = vec![0; LENGTH_BYTES + text.len() + TAG_BYTES];
        wire.read_exact(&mut record).await.unwrap();
        records.push(record);
    }
    records
}

/// What the far end makes of bytes, after which the wire ends.
async fn heard(mut wire: DuplexStream, mut far: End, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    wire.write_all(bytes).await.unwrap();
    drop(wire);
    let mut text = Vec::new();
    let ended = far.read_to_end(&mut text).await.map(|_| ());
    (text, ended)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bytes_arrive_as_they_were_sent(
        lengths in prop::collection::vec(prop_oneof![0..40usize, 60_000..140_000usize], 1..5),
        capacity in prop_oneof![1..20usize, Just(1usize << 16)],
        seed in any::<u8>(),
    ) {
        let texts: Vec<Vec<u8>> = lengths
            .iter()
            .map(|length| (0..*length).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect())
            .collect();
        let expected = texts.concat();
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut far) = linked(capacity).await;
            let said = async {
                for text in &texts {
                    near.write_all(text).await.unwrap();
                }
                near.shutdown().await.unwrap();
                let mut back = Vec::new();
                near.read_to_end(&mut back).await.unwrap();
                back
            };
            let echoed = async {
                let mut text = Vec::new();
                far.read_to_end(&mut text).await.unwrap();
                far.write_all(&text).await.unwrap();
                far.shutdown().await.unwrap();
                text
            };
            let (back, there) = tokio::join!(said, echoed);
            assert!(there == expected && back == expected);
        });
    }
}

#[tokio::test]
async fn nothing_on_the_wire_is_what_was_said() {
    let (mut near, mut wire, to_far, far) = cut().await;
    let text = b"a key of thirty-two uniform bytes";
    let records = records(&mut near, &mut wire, &[text, text]).await;
    assert_ne!(records[0][LENGTH_BYTES..], records[1][LENGTH_BYTES..]);
    for record in &records {
        assert!(
            !record
                .windows(4)
                .any(|four| text.windows(4).any(|said| said == four))
        );
    }
    let (heard, ended) = heard(to_far, far, &records.concat()).await;
    assert_eq!(heard, [&text[..], text].concat());
    ended.unwrap();
}

#[tokio::test]
async fn what_was_changed_left_out_repeated_or_reordered_is_an_error() {
    let texts: [&[u8]; 3] = [b"one", b"two", b"three"];
    let flips = 8 * (LENGTH_BYTES + 3 + TAG_BYTES);
    type Change = Box<dyn Fn(&[Vec<u8>]) -> Vec<u8>>;
    let mut changes: Vec<(Change, &[u8])> = vec![
        (Box::new(|r| [&r[1][..], &r[2]].concat()), b""),
        (Box::new(|r| [&r[0][..], &r[2]].concat()), b"one"),
        (Box::new(|r| [&r[0][..], &r[0]].concat()), b"one"),
        (Box::new(|r| [&r[1][..], &r[0]].concat()), b""),
        // After a record that does not open nothing does.
        (Box::new(|r| [&[0, 0], &r[0][..]].concat()), b""),
        (Box::new(|r| [&r[0][..], &r[1][..9]].concat()), b"one"),
        (Box::new(|r| r[0][..1].to_vec()), b""),
    ];
    for bit in 0..flips {
        let flip = move |r: &[Vec<u8>]| {
            let mut bytes = r.concat();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        changes.push((Box::new(flip), b""));
    }
    for (change, expected) in changes {
        let (mut near, mut wire, to_far, far) = cut().await;
        let records = records(&mut near, &mut wire, &texts).await;
        let (text, ended) = heard(to_far, far, &change(&records)).await;
        assert_eq!(text, expected);
        let kind = ended.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_stream_stays_broken() {
    let (mut near, mut wire, mut to_far, mut far) = cut().await;
    let records = records(&mut near, &mut wire, &[b"one", b"two"]).await;
    let mut bad = records[0].clone();
    bad[5] ^= 1;
    to_far
        .write_all(&[bad, records.concat()].concat())
        .await
        .unwrap();
    for _ in 0..3 {
        let refused = far.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn only_the_holder_of_the_key_can_answer() {
    let (near, far) = duplex(1 << 10);
    let (expected, other) = (key(), LinkKey::new(drawn(9)));
    let (near, far) = tokio::join!(
        initiate(near, expected.public(), None, drawn(2)),
        respond(far, &other, None, drawn(3))
    );
    let kind = |ended: io::Result<End>| ended.err().map(|error| error.kind());
    assert_eq!(kind(far), Some(ErrorKind::PermissionDenied));
    assert_eq!(kind(near), Some(ErrorKind::UnexpectedEof));
    // Nor is 48 bytes of anything an answer.
    let (near, mut far) = duplex(1 << 10);
    far.write_all(&[7; HANDSHAKE_BYTES]).await.unwrap();
    let near = initiate(near, expected.public(), None, drawn(2)).await;
    assert_eq!(kind(near), Some(ErrorKind::PermissionDenied));
}

#[tokio::test]
async fn a_channel_is_no_link() {
    let (mut near, far) = duplex(1 << 10);
    let (_, hello) = noise::Initiating::begin(key().public(), drawn(2)).unwrap();
    near.write_all(&hello).await.unwrap();
    let refused = respond(far, &key(), None, drawn(3)).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
}

fn listed(keys: &[&LinkKey]) -> Callers {
    let lines: Vec<_> = keys.iter().map(|key| hex::encode(key.public())).collect();
    Callers::parse(lines.join("\n").as_bytes()).unwrap()
}

/// What both ends make of a caller with this key, if any, at a host with this list, if any.
async fn met(
    own: Option<&LinkKey>,
    callers: Option<&Callers>,
) -> (io::Result<End>, io::Result<End>) {
    let (near, far) = duplex(1 << 10);
    let host = key();
    tokio::join!(
        initiate(near, host.public(), own, drawn(2)),
        respond(far, &host, callers, drawn(3))
    )
}

#[tokio::test]
async fn a_list_of_callers_lets_in_who_is_on_it_and_nobody_else() {
    let (caller, stranger) = (LinkKey::new(drawn(5)), LinkKey::new(drawn(6)));
    let callers = listed(&[&LinkKey::new(drawn(7)), &caller]);
    // Without a list, a key is shown for nothing.
    for (own, list) in [(&caller, Some(&callers)), (&stranger, None)] {
        let (near, far) = met(Some(own), list).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        for (from, to) in [(&mut near, &mut far)] {
            from.write_all(b"rows").await.unwrap();
            from.flush().await.unwrap();
            let mut heard = [0; 4];
            to.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"rows");
            to.write_all(b"products").await.unwrap();
            to.flush().await.unwrap();
            let mut heard = [0; 8];
            from.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"products");
        }
    }
    for own in [Some(&stranger), None] {
        let (near, far) = met(own, Some(&callers)).await;
        assert_eq!(near.err().unwrap().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(far.err().unwrap().kind(), ErrorKind::PermissionDenied);
    }
}

#[tokio::test]
async fn a_caller_finds_out_who_is_not_its_host() {
    let caller = LinkKey::new(drawn(5));
    let (near, far) = duplex(1 << 10);
    let (expected, other) = (key(), LinkKey::new(drawn(9)));
    let (near, far) = tokio::join!(
        initiate(near, expected.public(), Some(&caller), drawn(2)),
        respond(far, &other, None, drawn(3))
    );
    assert_eq!(far.err().unwrap().kind(), ErrorKind::PermissionDenied);
    assert_eq!(near.err().unwrap().kind(), ErrorKind::UnexpectedEof);
    let (near, mut far) = duplex(1 << 10);
    far.write_all(&[7; HANDSHAKE_BYTES]).await.unwrap();
    let near = initiate(near, expected.public(), Some(&caller), drawn(2)).await;
    assert_eq!(near.err().unwrap().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn no_byte_of_a_callers_first_message_can_be_changed() {
    let (caller, host) = (LinkKey::new(drawn(5)), key());
    let callers = listed(&[&caller]);
    let (_, hello) = Calling::begin(host.public(), &caller, drawn(2)).unwrap();
    let answered = |hello: &[u8; caller::FIRST_BYTES]| {
        caller::answer(&host, Some(&callers), drawn(3), hello).is_ok()
    };
    assert!(answered(&hello));
    for bit in 0..8 * hello.len() {
        let mut changed = hello;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!answered(&changed), "bit {bit}");
    }
    // Keys of low order.
    for ephemeral in [
        [0; KEY_BYTES],
        [1; 1]
            .into_iter()
            .chain([0; 31])
            .collect::<Vec<_>>()
            .try_into()
            .unwrap(),
    ] {
        let mut low = hello;
        low[..KEY_BYTES].copy_from_slice(&ephemeral);
        assert!(!answered(&low));
    }
    assert!(Calling::begin(&[0; KEY_BYTES], &caller, drawn(2)).is_err());
}
