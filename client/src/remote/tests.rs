//! Against a CVM over a real socket: nothing is sent before everything passed, and replies are whole or errors.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use talaria_evidence::{Attestation, Claims, Evidence};
use talaria_wire::channel::message::{Event, Prompt, Request};
use talaria_wire::channel::noise::StaticKey;
use talaria_wire::channel::{HANDSHAKE_BYTES, WINDOW};

use super::cvm::{Cvm, Script, development};
use super::*;
use crate::policy::Policy;
use crate::time::UnixTime;
use crate::verify::snp::test_ca::{Case, NOW};

/// Trusts the test CA, and the claims of [`Script::default`] but for keys and nonce.
fn trust() -> Trust {
    let case = Case::new();
    Trust::new(Policy::from_toml(&case.policy).unwrap()).dangerous_roots(vec![case.root()])
}

/// Evidence of the test CA's hardware.
fn hardware(claims: &Claims) -> Evidence {
    let mut case = Case::new();
    case.claims = claims.clone();
    case.evidence()
}

fn script() -> Script {
    Script {
        attest: Arc::new(hardware),
        ..Script::default()
    }
}

async fn enter(cvm: &Cvm, trust: &Trust) -> Result<Session, RemoteError> {
    let address = cvm.url.parse().unwrap();
    Opened::open(&address).await?.enter(trust, NOW).await
}

fn request(text: &str) -> Request {
    Request {
        max_new_tokens: 10_000,
        ..Request::new(Prompt::Text(text.into()))
    }
}

async fn read(reply: &mut Reply) -> Result<String, RemoteError> {
    let mut all = String::new();
    while let Some(event) = reply.next().await? {
        if let Event::Token { text, .. } = event {
            all += &text;
        }
    }
    Ok(all)
}

fn counted(n: u32) -> String {
    (0..n).map(|i| format!("{i} ")).collect()
}

#[tokio::test]
async fn a_payload_that_passes_answers() {
    let cvm = Cvm::start(script()).await;
    let session = enter(&cvm, &trust()).await.unwrap();
    for n in [0, 1, 3 * WINDOW] {
        let mut reply = session
            .request(request(&format!("count {n}")))
            .await
            .unwrap();
        assert_eq!(read(&mut reply).await.unwrap(), counted(n));
        assert_eq!(reply.next().await.unwrap(), None, "still over");
    }
    assert_eq!(cvm.binary()[0], HANDSHAKE_BYTES);
    drop(session);
    cvm.until(|seen| &seen.closed, 1).await;
    assert_eq!(cvm.seen.cancelled.load(Ordering::SeqCst), 0);
}

/// Each refusal of evidence comes before anything but the HTTP request was sent.
#[tokio::test]
async fn evidence_that_does_not_pass_gets_nothing() {
    type Change = fn(&mut Script);
    let changes: [(Change, &str); 9] = [
        (
            |s| s.claims.payload_sha256 = [9; 32],
            "claims.payload_sha256",
        ),
        (|s| s.claims.model_digest = [9; 32], "claims.model_digest"),
        (
            |s| s.claims.masking = "module-lwe 512x5".into(),
            "claims.masking",
        ),
        (
            |s| s.claims.host_configuration_digest = [9; 32],
            "host configuration",
        ),
        (|s| s.old_nonce = true, "a replay"),
        (
            |s| s.attest = Arc::new(development),
            "development evidence proves nothing",
        ),
        (|s| s.attest = Arc::new(measured), "sev_snp.measurements"),
        (
            |s| s.attest = Arc::new(tampered),
            "report's signature is wrong",
        ),
        (|s| s.attest = Arc::new(other_key), "made for other claims"),
    ];
    for (change, expected) in changes {
        let mut script = script();
        change(&mut script);
        let cvm = Cvm::start(script).await;
        let error = enter(&cvm, &trust()).await.err().unwrap();
        assert!(matches!(error, RemoteError::Refused(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        cvm.until(|seen| &seen.closed, 1).await;
        assert_eq!(cvm.binary(), [0; 0], "{expected}");
    }
}

fn measured(claims: &Claims) -> Evidence {
    let mut case = Case::new();
    case.claims = claims.clone();
    case.set(0x090, &[0xab; 48]);
    case.evidence()
}

fn tampered(claims: &Claims) -> Evidence {
    let mut evidence = hardware(claims);
    if let Attestation::SevSnp(snp) = &mut evidence.attestation {
        snp.report[0x090] ^= 1;
    }
    evidence
}

/// Another's evidence with a key of its own put in.
fn other_key(claims: &Claims) -> Evidence {
    let mut evidence = hardware(claims);
    evidence.claims.channel_public_key = *StaticKey::new([5; 32].into()).public();
    evidence
}

#[tokio::test]
async fn who_relays_evidence_without_the_key_gets_48_bytes() {
    let man_in_the_middle = Script {
        secret: [5; 32],
        ..script()
    };
    let cvm = Cvm::start(man_in_the_middle).await;
    let error = enter(&cvm, &trust()).await.err().unwrap();
    assert!(error.to_string().contains("nothing was sent"), "{error}");
    cvm.until(|seen| &seen.closed, 1).await;
    assert_eq!(cvm.binary(), [HANDSHAKE_BYTES]);
}

#[tokio::test]
async fn a_time_at_which_nothing_is_valid_is_refused() {
    let cvm = Cvm::start(script()).await;
    let address = cvm.url.parse().unwrap();
    let opened = Opened::open(&address).await.unwrap();
    let error = opened.enter(&trust(), UnixTime(0)).await.err().unwrap();
    assert!(error.to_string().contains("valid from"), "{error}");
}

#[tokio::test]
async fn a_connection_that_ends_is_an_error_of_every_stream_and_never_an_end() {
    for cut_after in [0, 1, 7, 20] {
        let cut = Script {
            cut_after: Some(cut_after),
            ..script()
        };
        let cvm = Cvm::start(cut).await;
        let session = enter(&cvm, &trust()).await.unwrap();
        let mut replies = Vec::new();
        for _ in 0..4 {
            replies.push(session.request(request("count 30")).await.unwrap());
        }
        for reply in &mut replies {
            let error = read(reply).await.unwrap_err();
            assert!(matches!(error, RemoteError::CutOff(_)), "{error}");
            assert!(error.to_string().contains("shuts down"), "{error}");
            assert!(reply.next().await.is_err(), "asked again");
        }
        assert!(!session.is_on());
        assert!(session.request(request("a")).await.is_err());
    }
}

#[tokio::test]
async fn many_streams_at_a_time() {
    let cvm = Cvm::start(script()).await;
    let session = enter(&cvm, &trust()).await.unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|i| {
            let session = session.clone();
            tokio::spawn(async move {
                let n = 50 + 5 * i;
                let mut reply = session
                    .request(request(&format!("count {n}")))
                    .await
                    .unwrap();
                assert_eq!(read(&mut reply).await.unwrap(), counted(n));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_reader_stalls_only_itself() {
    let cvm = Cvm::start(script()).await;
    let session = enter(&cvm, &trust()).await.unwrap();
    let n = 4 * WINDOW;
    let mut slow = session
        .request(request(&format!("count {n}")))
        .await
        .unwrap();
    let mut fast = session
        .request(request(&format!("count {n}")))
        .await
        .unwrap();
    assert_eq!(read(&mut fast).await.unwrap(), counted(n));
    // Of the slow one came no more than its window.
    let events = cvm.seen.events.load(Ordering::SeqCst);
    assert_eq!(events, (n + 1 + WINDOW) as usize);
    assert_eq!(read(&mut slow).await.unwrap(), counted(n));
}

#[tokio::test]
async fn a_dropped_reply_is_cancelled_and_others_go_on() {
    let slow = Script {
        pace: Duration::from_millis(1),
        ..script()
    };
    let cvm = Cvm::start(slow).await;
    let session = enter(&cvm, &trust()).await.unwrap();
    let mut first = session.request(request("count 9000")).await.unwrap();
    let mut second = session.request(request("count 100")).await.unwrap();
    first.next().await.unwrap();
    drop(first);
    cvm.until(|seen| &seen.cancelled, 1).await;
    assert_eq!(read(&mut second).await.unwrap(), counted(100));
}

#[tokio::test]
async fn what_is_no_service_is_said() {
    let cvm = Cvm::start(Script {
        status: Some(503),
        ..script()
    })
    .await;
    let error = enter(&cvm, &trust()).await.err().unwrap().to_string();
    assert!(error.contains("503 (no instance is ready)"), "{error}");
    assert!(error.contains("try again later"), "{error}");

    let nowhere: Address = format!("{}/nowhere", cvm.url).parse().unwrap();
    let error = Opened::open(&nowhere).await.err().unwrap().to_string();
    assert!(error.contains("404"), "{error}");
    let closed: Address = "http://127.0.0.1:1".parse().unwrap();
    let error = Opened::open(&closed).await.err().unwrap().to_string();
    assert!(error.contains("cannot reach http://127.0.0.1:1"), "{error}");
}
