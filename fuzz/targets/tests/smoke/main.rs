//! Every target on its whole corpus and on mutations of it: a bounded run on stable, the same each time.
//!
//! `TALARIA_FUZZ_SECONDS=600` goes on for so long for each target, `TALARIA_FUZZ_TARGET=NAME` takes one of them,
//! `TALARIA_FUZZ_KEEP=1` writes each input to `tmp/fuzz-NAME` of the build before it is tried.

mod corpus;
mod mutate;
mod registered;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use talaria_fuzz_targets::{TARGETS, Target};

use corpus::Input;

/// Mutations of a target's corpus, where they do not take longer than [`BUDGET`].
const MUTATIONS: u64 = 4000;
/// For the mutations of a target.
const BUDGET: Duration = Duration::from_millis(1000);
/// For one input: none should take a hundredth.
const HANG: Duration = Duration::from_secs(20);
/// As the main thread of cargo-fuzz.
const STACK_BYTES: usize = 8 << 20;

/// What a target did with an input.
struct Failure {
    target: &'static str,
    what: String,
    input: Vec<u8>,
}

#[test]
fn no_target_fails_on_its_corpus_or_near_it() {
    let only = env::var("TALARIA_FUZZ_TARGET").ok();
    let chosen = TARGETS
        .iter()
        .filter(|target| only.as_deref().is_none_or(|only| only == target.name));
    let failures: Vec<Failure> = chosen.filter_map(|target| smoke(target).err()).collect();
    for failure in &failures {
        let Failure {
            target,
            what,
            input,
        } = failure;
        eprintln!("{target}: {what}\n  input: {}", hex::encode(input));
    }
    assert!(failures.is_empty(), "{} targets failed", failures.len());
}

fn smoke(target: &'static Target) -> Result<(), Failure> {
    let thread = thread::Builder::new()
        .name(target.name.into())
        .stack_size(STACK_BYTES);
    let run = thread.spawn(move || run(target)).expect("a thread");
    run.join().expect("failures are caught")
}

fn run(target: &'static Target) -> Result<(), Failure> {
    let start = Instant::now();
    let corpus = corpus::read(target);
    for Input { name, bytes } in &corpus {
        once(target, bytes, || format!("on {name}"))?;
    }
    let (most, budget) = match env::var("TALARIA_FUZZ_SECONDS") {
        Ok(seconds) => (
            u64::MAX,
            Duration::from_secs(seconds.parse().expect("seconds")),
        ),
        Err(_) => (MUTATIONS, BUDGET),
    };
    let mutating = Instant::now();
    let mut done = 0;
    while done < most && mutating.elapsed() < budget {
        // A generator for each, so that one can be made again without those before it.
        let mut rng = ChaCha20Rng::seed_from_u64(done);
        let input = mutate::mutant(&corpus, &mut rng);
        once(target, &input, || format!("on mutation {done}"))?;
        done += 1;
    }
    let files = corpus.len();
    eprintln!(
        "{}: {files} files, {done} mutations, {:.1?}",
        target.name,
        start.elapsed()
    );
    Ok(())
}

/// Runs a target on an input.
fn once(target: &Target, input: &[u8], which: impl Fn() -> String) -> Result<(), Failure> {
    if env::var_os("TALARIA_FUZZ_KEEP").is_some() {
        keep(target, input);
    }
    let start = Instant::now();
    let panic = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).err();
    let what = match panic {
        Some(panic) => Some(message(&*panic)),
        None => (start.elapsed() > HANG).then(|| format!("took {:?}", start.elapsed())),
    };
    match what {
        None => Ok(()),
        Some(what) => Err(Failure {
            target: target.name,
            what: format!("{} {what}", which()),
            input: input.to_vec(),
        }),
    }
}

/// So that what ends the process (an abort, no more stack) can be found.
fn keep(target: &Target, input: &[u8]) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    fs::write(file, input).expect("a file for the input");
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a text".into())
}
