//! Encrypted links between a CVM and its GPU hosts.

use std::future::Future;

use talaria_transport::link::{Secured, initiate, respond};
use talaria_wire::channel::HANDSHAKE_BYTES;
use talaria_wire::channel::noise::{Drawn, StaticKey};
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

/// Both ends of a link, each with the other end of its wire.
type Ends = [(Secured<DuplexStream>, DuplexStream); 2];

/// CVM and GPU host after their handshake, always the same.
async fn ends() -> Ends {
    let (cvm, mut from_cvm) = duplex(WIRE_BYTES);
    let (host, mut to_host) = duplex(WIRE_BYTES);
    let key = StaticKey::new(drawn(1));
    let relayed = async {
        let mut message = [0; HANDSHAKE_BYTES];
        from_cvm.read_exact(&mut message).await?;
        to_host.write_all(&message).await?;
        to_host.read_exact(&mut message).await?;
        from_cvm.write_all(&message).await
    };
    let (cvm, host, relayed) = tokio::join!(
        initiate(cvm, key.public(), drawn(2)),
        respond(host, &key, drawn(3)),
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
