//! Nothing of a prompt or a reply is anywhere in the CVM's process but in the payload's own memory, nor in what
//! crosses the payload's boundary: all of the process' writable memory is searched, and all that passed between client
//! and CVM, that GPU hosts recorded, and that was printed.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use talaria_tests::processes::{Service, relay};
use talaria_wire::channel::message::{Event, Prompt, Request};

/// A part of a text that is no accident.
const WINDOW: usize = 12;

/// In no reply.
const STOP: &str = "a jabberwock that stops nothing but can be found";

/// Linear memories are at the begin of a reservation of 4 GiB and more, so whatever borders on that much address
/// space without access belongs to the payload.
const RESERVATION: u64 = 1 << 31;

struct Mapping {
    from: u64,
    to: u64,
    readable: bool,
    writable: bool,
    name: String,
}

fn mappings(process: u32) -> Vec<Mapping> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("maps");
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let access = words.next()?;
        Some(Mapping {
            from: u64::from_str_radix(from, 16).ok()?,
            to: u64::from_str_radix(to, 16).ok()?,
            readable: access.starts_with('r'),
            writable: access.as_bytes().get(1) == Some(&b'w'),
            name: words.nth(3).unwrap_or("").to_owned(),
        })
    };
    maps.lines()
        .map(|line| parse(line).expect("a mapping"))
        .collect()
}

/// The payload's memories and all else that can be written.
fn memory(process: u32) -> (Vec<Mapping>, Vec<Mapping>) {
    let all = mappings(process);
    let payload: Vec<bool> = (0..all.len())
        .map(|i| {
            all.get(i + 1).is_some_and(|next| {
                next.from == all[i].to && !next.readable && next.to - next.from >= RESERVATION
            })
        })
        .collect();
    let writable = all
        .into_iter()
        .zip(payload)
        .filter(|(m, _)| m.readable && m.writable);
    let (payload, rest): (Vec<_>, Vec<_>) = writable.partition(|(_, payload)| *payload);
    let mappings = |list: Vec<(Mapping, bool)>| list.into_iter().map(|(m, _)| m).collect();
    (mappings(payload), mappings(rest))
}

/// What of `needles` is in these mappings.
fn search(process: u32, mappings: &[Mapping], needles: &[Vec<u8>]) -> Vec<String> {
    let mut memory = File::open(format!("/proc/{process}/mem")).expect("a child's memory");
    let mut found = Vec::new();
    for mapping in mappings {
        let mut bytes = vec![0; (mapping.to - mapping.from) as usize];
        if memory.seek(SeekFrom::Start(mapping.from)).is_err()
            || memory.read_exact(&mut bytes).is_err()
        {
            // Special mappings of the kernel.
            assert!(
                mapping.name.starts_with('['),
                "{} cannot be read",
                mapping.name
            );
            continue;
        }
        found.extend(occurrences(&bytes, needles, &mapping.name));
    }
    found
}

fn occurrences(bytes: &[u8], needles: &[Vec<u8>], place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for needle in needles {
        let first = needle[0];
        let mut from = 0;
        while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
            let at = from + at;
            if bytes[at..].starts_with(needle) {
                found.push(format!(
                    "{:?} in {place:?}",
                    String::from_utf8_lossy(needle)
                ));
                break;
            }
            from = at + 1;
        }
    }
    found
}

/// All parts of a text of the window's length, and its tokens as the payload has them.
fn needles(text: &str, ids: &[u32]) -> Vec<Vec<u8>> {
    let windows = text.as_bytes().chunks_exact(WINDOW).map(<[u8]>::to_vec);
    let tokens = ids
        .chunks_exact(4)
        .map(|ids| ids.iter().flat_map(|id| id.to_le_bytes()).collect());
    // Repeated tokens, such as spaces, are anywhere.
    let tokens =
        tokens.filter(|needle: &Vec<u8>| needle.iter().filter(|byte| **byte != 0).count() >= 6);
    windows.chain(tokens).collect()
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prompt_and_reply_are_in_the_payloads_memory_and_nowhere_else() {
    let service = Service::start("demo-qwen3", &[]);
    let (relay, passed) = relay(service.address);
    let session = service.connect_by(relay).await.expect("connected");
    let prompt = "Zanzibar quartz judge vexed my fjord glyphs while borrowing mutable sphinxes";
    let request = Request {
        max_new_tokens: 192,
        // Kept by the payload as long as it replies, where most else is wiped at once.
        stop: vec![STOP.into()],
        ignore_eos: true,
        logits_digest: true,
        top_logprobs: Some(3),
        receipt: true,
        ..Request::new(Prompt::Text(prompt.into()))
    };
    let mut reply = session.request(request).await.expect("taken");
    let (mut text, mut ids) = (String::new(), Vec::new());
    // Looked through while the reply is being made, and after it.
    let mut searched = 0;
    loop {
        let event = reply.next().await.expect("no error").expect("an end");
        let over = match event {
            Event::Token {
                id, text: piece, ..
            } => {
                ids.push(id);
                text.push_str(&piece);
                false
            }
            Event::Finished { .. } => true,
            Event::Failed { message, .. } => panic!("{message}"),
        };
        // So early that the payload, which is at most two windows ahead, is not done.
        if ids.len() == 24 && searched == 0 || over {
            searched += 1;
            let stop = needles(STOP, &[]);
            let wanted = [needles(prompt, &[]), needles(&text, &ids), stop.clone()].concat();
            // So that no memory comes or goes meanwhile.
            service.cvm.pause();
            let (payload, rest) = memory(service.cvm.id());
            assert!(
                !payload.is_empty() && rest.len() > 10,
                "both kinds of memory are there"
            );
            let inside = search(service.cvm.id(), &payload, &stop);
            assert!(over || !inside.is_empty(), "the search finds what is there");
            let outside = search(service.cvm.id(), &rest, &wanted);
            assert!(outside.is_empty(), "outside the payload: {outside:?}");
            service.cvm.resume();
        }
        if over {
            break;
        }
    }
    assert_eq!(searched, 2);
    assert!(
        text.len() > 8 * WINDOW,
        "{text:?} is long enough to be found"
    );

    let wanted = [
        needles(prompt, &[]),
        needles(&text, &ids),
        needles(STOP, &[]),
    ]
    .concat();
    let passed = passed.lock().expect("no panic");
    assert!(passed.len() > 192 * 256, "a frame for each token");
    assert_eq!(occurrences(&passed, &wanted, "channel"), [""; 0]);
    let printed = service.cvm.printed();
    assert_eq!(occurrences(printed.as_bytes(), &wanted, "log"), [""; 0]);
    let records = files(service.records.path());
    let bytes: usize = records
        .iter()
        .map(|file| {
            let bytes = std::fs::read(file).expect("a record");
            let found = occurrences(&bytes, &wanted, &file.display().to_string());
            assert!(found.is_empty(), "{found:?}");
            bytes.len()
        })
        .sum();
    assert!(bytes > 1 << 20, "the hosts recorded {bytes} bytes");
}
