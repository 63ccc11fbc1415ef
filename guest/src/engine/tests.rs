use super::*;
use crate::{
    session::FinishReason,
    setup::Scheme,
    testing::{TestWorld, options},
};

const SCHEMES: [Scheme; 4] = [
    Scheme::Shares,
    Scheme::ModuleLwe,
    Scheme::Remo,
    Scheme::DangerousPlaintext,
];

/// Named, so that events are the same each time.
const SEED: u64 = 5;

fn engine(world: &mut TestWorld, scheme: Scheme, max_batch_rows: u32) -> Engine {
    let options = crate::setup::Options {
        max_batch_rows,
        ..options(scheme)
    };
    Engine::new(Rc::new(world.try_ready(options).unwrap())).unwrap()
}

fn request(ids: &[u32], max_new_tokens: u32) -> Request {
    Request {
        prompt: Prompt::Ids(ids.to_vec()),
        sampling: Sampling {
            seed: Some(SEED),
            ..Sampling::default()
        },
        max_new_tokens,
        stop: vec![],
        ignore_eos: true,
        logits_digest: true,
    }
}

/// Steps until all sessions are over; tokens and end of each by id.
fn run(engine: &mut Engine, world: &mut TestWorld) -> BTreeMap<u32, (Vec<u32>, Option<Event>)> {
    let mut replies: BTreeMap<u32, (Vec<u32>, Option<Event>)> = BTreeMap::new();
    for _ in 0..1000 {
        if engine.is_idle() {
            return replies;
        }
        for (session, event) in engine.step(world).unwrap() {
            let reply = replies.entry(session).or_default();
            match event {
                Event::Token { id, .. } => reply.0.push(id),
                finished => reply.1 = Some(finished),
            }
        }
    }
    panic!("the sessions do not end");
}

fn alone(
    scheme: Scheme,
    max_batch_rows: u32,
    ids: &[u32],
    tokens: u32,
) -> (Vec<u32>, Option<Event>) {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, scheme, max_batch_rows);
    engine.open(request(ids, tokens), &mut world).unwrap();
    run(&mut engine, &mut world).remove(&0).unwrap()
}

#[test]
fn every_scheme_and_every_chunking_gives_the_same_bits() {
    let prompt: Vec<u32> = (0..21).map(|i| i * 7 % 40).collect();
    let expected = alone(Scheme::DangerousPlaintext, 8, &prompt, 12);
    assert_eq!(expected.0.len(), 12);
    assert!(matches!(
        expected.1,
        Some(Event::Finished {
            reason: FinishReason::Length,
            logits_digest: Some(_),
            ..
        })
    ));
    for scheme in SCHEMES {
        for rows in [1, 3, 8, 64] {
            assert_eq!(
                alone(scheme, rows, &prompt, 12),
                expected,
                "{scheme:?}, {rows} rows"
            );
        }
    }
}

#[test]
fn many_sessions_give_each_what_it_gets_alone() {
    let prompts: Vec<Vec<u32>> = (1..8)
        .map(|n| (0..3 * n).map(|i| (i * n + n) % 40).collect())
        .collect();
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::Shares, 5);
    let mut replies = BTreeMap::new();
    for prompt in &prompts {
        engine.open(request(prompt, 9), &mut world).unwrap();
        // Sessions begin while others are under way.
        for (session, event) in engine.step(&mut world).unwrap() {
            let reply: &mut (Vec<u32>, Option<Event>) = replies.entry(session).or_default();
            match event {
                Event::Token { id, .. } => reply.0.push(id),
                finished => reply.1 = Some(finished),
            }
        }
    }
    for (session, (tokens, finished)) in run(&mut engine, &mut world) {
        let reply: &mut (Vec<u32>, Option<Event>) = replies.entry(session).or_default();
        reply.0.extend(tokens);
        reply.1 = reply.1.take().or(finished);
    }
    for (session, prompt) in (0..).zip(&prompts) {
        assert_eq!(
            replies[&session],
            alone(Scheme::DangerousPlaintext, 64, prompt, 9),
            "{session}"
        );
    }
}

#[test]
fn a_pass_holds_at_most_max_batch_rows() {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::Shares, 4);
    for n in 1..6 {
        engine
            .open(request(&vec![1; 3 * n], 5), &mut world)
            .unwrap();
    }
    world.seen.clear();
    let replies = run(&mut engine, &mut world);
    assert_eq!(replies.len(), 5);
    let k = |index: u32| world.manifest.projections[index as usize].k as usize;
    let rows = world
        .seen
        .iter()
        .map(|(index, hosts)| hosts[0].len() / (2 * k(*index)));
    assert_eq!(rows.max(), Some(4));
}

#[test]
fn with_more_sessions_than_rows_all_advance() {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::DangerousPlaintext, 2);
    for id in 0..5 {
        engine.open(request(&[id], 40), &mut world).unwrap();
    }
    let mut tokens = [0; 5];
    for _ in 0..20 {
        for (session, _) in engine.step(&mut world).unwrap() {
            tokens[session as usize] += 1;
        }
    }
    assert_eq!(tokens, [8; 5]);
}

#[test]
fn stop_tokens_end_a_reply_unless_ignored() {
    let mut world = TestWorld::new();
    let greedy = alone(Scheme::DangerousPlaintext, 8, &[3, 4, 5], 12).0;
    world.manifest.generation.eos_token_ids = vec![greedy[4]];
    let first = greedy.iter().position(|id| *id == greedy[4]).unwrap();
    let mut engine = engine(&mut world, Scheme::DangerousPlaintext, 8);
    let asked = Request {
        ignore_eos: false,
        logits_digest: false,
        ..request(&[3, 4, 5], 12)
    };
    engine.open(asked, &mut world).unwrap();
    let (tokens, finished) = run(&mut engine, &mut world).remove(&0).unwrap();
    assert_eq!(tokens, greedy[..=first]);
    let expected = Event::Finished {
        reason: FinishReason::Stop,
        seed: SEED,
        logits_digest: None,
    };
    assert_eq!(finished, Some(expected));
}

#[test]
fn the_context_is_filled_and_not_exceeded() {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::DangerousPlaintext, 64);
    engine.open(request(&[1; 60], 100), &mut world).unwrap();
    let (tokens, finished) = run(&mut engine, &mut world).remove(&0).unwrap();
    assert_eq!(tokens.len(), 4);
    assert!(matches!(
        finished,
        Some(Event::Finished {
            reason: FinishReason::Length,
            ..
        })
    ));
}

#[test]
fn bad_requests_say_what_to_do() {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::Shares, 8);
    let mut refused = |expected: &str, request: Request| {
        let error = engine.open(request, &mut world).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
    };
    refused("prompt is empty", request(&[], 1));
    refused("token id 40 at position 1", request(&[1, 40], 1));
    refused("the prompt has 64 tokens", request(&[1; 64], 1));
    refused("max-new-tokens is 0", request(&[1], 0));
    refused(
        "no tokenizer.json",
        Request {
            stop: vec!["x".into()],
            ..request(&[1], 1)
        },
    );
    refused(
        "no tokenizer.json",
        Request {
            prompt: Prompt::Text("x".into()),
            ..request(&[1], 1)
        },
    );
    let sampling = Sampling {
        temperature: -1.0,
        ..Sampling::default()
    };
    refused(
        "temperature",
        Request {
            sampling,
            ..request(&[1], 1)
        },
    );
    assert!(engine.is_idle());
}

#[test]
fn a_lie_ends_everything_for_good_and_releases_nothing() {
    for scheme in SCHEMES {
        let mut world = TestWorld::new();
        let mut engine = engine(&mut world, scheme, 8);
        engine.open(request(&[1, 2], 50), &mut world).unwrap();
        assert_eq!(engine.step(&mut world).unwrap().len(), 1);
        world.tamper = Box::new(|answers| answers[0][3] ^= 4);
        let checks = engine.counters().checks;
        assert!(
            matches!(engine.step(&mut world), Err(StepError::Integrity)),
            "{scheme:?}"
        );
        assert_eq!(engine.counters().checks, checks);
        assert_eq!(world.quarantined, [0]);
        world.tamper = Box::new(|_| {});
        engine.open(request(&[1, 2], 5), &mut world).unwrap();
        assert!(matches!(engine.step(&mut world), Err(StepError::Integrity)));
    }
}

#[test]
fn a_glimpse_shows_a_row_and_what_each_host_saw_of_it() {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::Shares, 8);
    engine.glimpse().arm(4);
    assert_eq!(engine.glimpse().take(), None);
    world.seen.clear();
    engine.open(request(&[7], 1), &mut world).unwrap();
    engine.step(&mut world).unwrap();
    let glimpse = engine.glimpse().take().unwrap();
    assert_eq!(glimpse.projection, "layer 0 qkv");
    assert_eq!(glimpse.plain.len(), 4);
    let (_, seen) = world.seen.iter().find(|(index, _)| *index == 1).unwrap();
    assert_eq!(glimpse.hosts, [&seen[0][..4], &seen[1][..4]]);
}
