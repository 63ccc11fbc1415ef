//! Encrypted links between a CVM and its GPU hosts.

use std::future::Future;

use talaria_transport::link::{Callers, LinkKey, Secured, initiate, respond};
use talaria_wire::channel::HANDSHAKE_BYTES;
use talaria_wire::channel::noise::Drawn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Builder;

use crate::Seed;

/// What the CVM says, one record each.
const TEXTS: [&[u8]; 3] = [b"one", b"two", b"three"];

/// Bytes that a wire holds: more than any input has.
const WIRE_BYTES: usize = 1 << 21;

fn now<F: Future>(run: F) -> F::Output {
    let runtime = Builder::new_current_thread().build();
    runtime.expect("a runtime without threads").block_on(run)
}

fn drawn(byte: u8) -> Drawn {
    Drawn::new([byte; 32])
}

fn gpu_host() -> LinkKey {
    LinkKey::new(drawn(1))
}

/// The one on the list.
fn caller() -> LinkKey {
    LinkKey::new(drawn(4))
}

/// Both ends of a link, each with the other end of its wire.
type Ends = [(Secured<DuplexStream>, DuplexStream); 2];

/// CVM and GPU host after their handshake, always the same.
async fn ends() -> Ends {
    let (cvm, mut from_cvm) = duplex(WIRE_BYTES);
    let (host, mut to_host) = duplex(WIRE_BYTES);
    let key = gpu_host();
    let relayed = async {
        let mut message = [0; HANDSHAKE_BYTES];
        from_cvm.read_exact(&mut message).await?;
        to_host.write_all(&message).await?;
        to_host.read_exact(&mut message).await?;
        from_cvm.write_all(&message).await
    };
    let (cvm, host, relayed) = tokio::join!(
        initiate(cvm, key.public(), None, drawn(2)),
        respond(host, &key, None, drawn(3)),
        relayed
    );
    relayed.expect("wires of memory");
    let (cvm, host) = (cvm.expect("the key"), host.expect("the key"));
    [(cvm, from_cvm), (host, to_host)]
}

/// What is on the wire for [`TEXTS`].
async fn records((mut cvm, mut wire): (Secured<DuplexStream>, DuplexStream)) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for text in TEXTS {
        cvm.write_all(text).await.expect("room");
        cvm.flush().await.expect("room");
        let mut length = [0; 2];
        wire.read_exact(&mut length).await.expect("a record");
        let mut record = vec![0; u16::from_be_bytes(length).into()];
        wire.read_exact(&mut record).await.expect("all of it");
        records.push([&length[..], &record].concat());
    }
    records
}

/// A host's end reads what was said, as far as nothing was changed, and nothing else.
pub fn link(data: &[u8]) {
    if data.len() > WIRE_BYTES {
        return;
    }
    now(async {
        let [cvm, (mut host, mut wire)] = ends().await;
        let records = records(cvm).await;
        wire.write_all(data).await.expect("room");
        drop(wire);
        let mut heard = Vec::new();
        let ended = host.read_to_end(&mut heard).await;
        let opened = (0..=TEXTS.len()).find(|n| TEXTS[..*n].concat() == heard);
        let opened = opened.expect("whole records in their order");
        let said = records[..opened].concat();
        assert!(data.starts_with(&said));
        assert_eq!(ended.is_ok(), data == said);
    });
}

/// All records, and some that are short, out of order, or of no length.
pub fn seeds() -> Vec<Seed> {
    let records = now(async {
        let [cvm, _host] = ends().await;
        records(cvm).await
    });
    let all = records.concat();
    vec![
        Seed::new("cut", &all[..all.len() - 1]),
        Seed::new("empty", [&records[0][..], &[0, 0]].concat()),
        Seed::new("records", all.clone()),
        Seed::new("swapped", [&records[1][..], &records[0]].concat()),
    ]
}

/// A list of callers that is accepted has a key in each of its lines, or none.
pub fn callers(data: &[u8]) {
    if let Ok(callers) = Callers::parse(data) {
        let lines = data.split(|byte| *byte == b'\n').count();
        assert!((1..=lines).contains(&callers.count()));
    }
}

/// One key, two with comments, and what is no list.
pub fn callers_seeds() -> Vec<Seed> {
    let [one, two] = [gpu_host(), caller()].map(|key| hex::encode(key.public()));
    vec![
        Seed::new("one", one.clone()),
        Seed::new("two", format!("# CVMs\n{one}  # first\r\n\n{two}\n")),
        Seed::new("none", "# nobody\n"),
        Seed::new("short", &two[1..]),
    ]
}

/// What a CVM says first: with a key to show, or without.
async fn hello(own: Option<&LinkKey>) -> Vec<u8> {
    let (cvm, mut wire) = duplex(WIRE_BYTES);
    let mut said = Vec::new();
    let heard = async {
        let bytes = if own.is_some() { 128 } else { HANDSHAKE_BYTES };
        said.resize(bytes, 0);
        let read = wire.read_exact(&mut said).await.map(|_| ());
        drop(wire);
        read
    };
    let key = gpu_host();
    let (unanswered, heard) = tokio::join!(initiate(cvm, key.public(), own, drawn(2)), heard);
    heard.expect("a first message");
    assert!(unanswered.is_err());
    said
}

/// Of a caller on the list, of another, of one without a key.
async fn first_messages() -> [Vec<u8>; 3] {
    [
        hello(Some(&caller())).await,
        hello(Some(&gpu_host())).await,
        hello(None).await,
    ]
}

/// A host lets in whose first message was made with a key: of its own address, or on its list where it has one.
pub fn hellos(data: &[u8]) {
    if data.len() > WIRE_BYTES {
        return;
    }
    now(async {
        let [caller, stranger, anybody] = first_messages().await;
        let listed = hex::encode(self::caller().public());
        let list = Callers::parse(listed.as_bytes()).expect("a key");
        for list in [Some(&list), None] {
            let (stream, mut wire) = duplex(WIRE_BYTES);
            wire.write_all(data).await.expect("room");
            wire.shutdown().await.expect("a wire of memory");
            let is_in = respond(stream, &gpu_host(), list, drawn(3)).await.is_ok();
            let without_list = data.starts_with(&stranger) || data.starts_with(&anybody);
            let expected = data.starts_with(&caller) || (list.is_none() && without_list);
            assert_eq!(is_in, expected);
        }
    });
}

/// These, and some that are nearly one of them.
pub fn hello_seeds() -> Vec<Seed> {
    let [caller, stranger, anybody] = now(first_messages());
    vec![
        Seed::new("announced", [&caller[..32], &anybody].concat()),
        Seed::new("anybody", anybody),
        Seed::new("cut", &caller[..caller.len() - 1]),
        Seed::new("caller", caller),
        Seed::new("stranger", stranger),
    ]
}
