mod memory;

use super::*;
use crate::{
    setup::Scheme,
    testing::{TestWorld, options},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde_json::json;
use talaria_wire::channel::message::{FinishReason, Logprobs, Message, Sampling};
use talaria_wire::manifest::RopeFrequencies;

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
        sampling: Sampling {
            seed: Some(SEED),
            ..Sampling::default()
        },
        max_new_tokens,
        ignore_eos: true,
        logits_digest: true,
        ..Request::new(Prompt::Ids(ids.to_vec()))
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
    for scheme in Scheme::ALL {
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
        usage: Usage {
            prompt_tokens: 3,
            completion_tokens: tokens.len() as u32,
            cached_tokens: 0,
        },
        seed: SEED,
        logits_digest: None,
        receipt: None,
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

/// A model that is asked to guess: everything but the seed is the same.
fn drawn(seed: Option<u64>, entropy: u64) -> (Vec<u32>, Option<Event>) {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::Shares, 8);
    world.rng = ChaCha20Rng::seed_from_u64(entropy);
    let sampling = Sampling {
        temperature: 1.5,
        seed,
        ..Sampling::default()
    };
    let asked = Request {
        sampling,
        ..request(&[3, 1, 4], 30)
    };
    engine.open(asked, &mut world).unwrap();
    run(&mut engine, &mut world).remove(&0).unwrap()
}

#[test]
fn a_drawn_seed_is_told_and_gives_the_reply_again() {
    let reply = drawn(None, 1);
    let Some(Event::Finished { seed, .. }) = reply.1 else {
        panic!("{:?}", reply.1)
    };
    assert_eq!(drawn(Some(seed), 2), reply, "tokens and logits");
    let other = drawn(None, 2);
    assert_ne!(other.0, reply.0);
    assert!(!matches!(other.1, Some(Event::Finished { seed: s, .. }) if s == seed));
}

#[test]
fn bias_forbids_tokens_and_forces_them() {
    let biased = |logit_bias: Vec<(u32, f32)>| {
        let mut world = TestWorld::new();
        let mut engine = engine(&mut world, Scheme::DangerousPlaintext, 8);
        let sampling = Sampling {
            logit_bias,
            ..Sampling::default()
        };
        let asked = Request {
            sampling,
            ..request(&[3, 4, 5], 12)
        };
        engine.open(asked, &mut world).unwrap();
        run(&mut engine, &mut world).remove(&0).unwrap().0
    };
    let usual = biased(vec![]);
    for forbidden in &usual {
        assert!(!biased(vec![(*forbidden, -100.0)]).contains(forbidden));
    }
    for forced in 0..40 {
        assert_eq!(biased(vec![(forced, 100.0)]), [forced; 12]);
    }
}

/// Logits (vocab,) after these tokens, straight from the decoder.
fn logits_after(ids: &[u32]) -> Vec<f32> {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::DangerousPlaintext);
    let decoder = Decoder::new(&ready.manifest);
    let mut state = decoder.state(&KvMemory::default());
    let input = Input {
        tokens: ids,
        position: 0,
        length: ids.len(),
        state: &mut state,
        logits: 1,
    };
    let mut projector = Projector {
        ready: &ready,
        world: &mut world,
        counters: &mut Counters::default(),
        glimpse: &mut GlimpseSlot::default(),
    };
    decoder.forward(&mut [input], &mut projector).unwrap()
}

/// What is told of each token.
fn told(scheme: Scheme, rows: u32, asked: Request) -> Vec<Logprobs> {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, scheme, rows);
    engine.open(asked, &mut world).unwrap();
    let mut told = Vec::new();
    while !engine.is_idle() {
        for (_, event) in engine.step(&mut world).unwrap() {
            if let Event::Token { id, logprobs, .. } = event {
                let logprobs = logprobs.unwrap();
                assert_eq!(logprobs.chosen.id, id);
                told.push(logprobs);
            }
        }
    }
    told
}

#[test]
fn logprobs_are_of_the_models_own_logits() {
    let sampling = Sampling {
        temperature: 2.0,
        logit_bias: vec![(7, 1.5), (8, -100.0)],
        repetition_penalty: 1.2,
        presence_penalty: 0.5,
        seed: Some(SEED),
        ..Sampling::default()
    };
    let asked = || Request {
        sampling: sampling.clone(),
        top_logprobs: Some(20),
        ..request(&[3, 4, 5], 12)
    };
    let replies = told(Scheme::DangerousPlaintext, 8, asked());
    assert_eq!(replies.len(), 12);
    let mut ids = vec![3, 4, 5];
    for logprobs in &replies {
        let logits = logits_after(&ids);
        let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        let mut before = None;
        for token in logprobs.top.iter().chain([&logprobs.chosen]) {
            let expected = f64::from(logits[token.id as usize]) - total.ln();
            // Half an ulp of a number below 16, and f64's rounding.
            assert!((f64::from(token.logprob) - expected).abs() < 5e-7);
            assert!(token.bytes.is_empty(), "no tokenizer");
        }
        for token in &logprobs.top {
            let rank = (-logits[token.id as usize], token.id);
            assert!(before.is_none_or(|before| before < rank));
            before = Some(rank);
        }
        ids.push(logprobs.chosen.id);
    }
    for scheme in Scheme::ALL {
        assert_eq!(told(scheme, 3, asked()), replies, "{scheme:?}: same bits");
    }
}

/// What is told of each token by a model with these frequencies, which the tiny one has 4 of.
fn told_with(frequencies: RopeFrequencies, rows: u32, ids: &[u32], tokens: u32) -> Vec<Logprobs> {
    let mut world = TestWorld::new();
    world.manifest.decoder.rope.frequencies = frequencies;
    let mut engine = engine(&mut world, Scheme::Shares, rows);
    let asked = Request {
        top_logprobs: Some(20),
        ..request(ids, tokens)
    };
    engine.open(asked, &mut world).unwrap();
    let mut told = Vec::new();
    while !engine.is_idle() {
        for (_, event) in engine.step(&mut world).unwrap() {
            if let Event::Token { logprobs, .. } = event {
                told.push(logprobs.unwrap());
            }
        }
    }
    told
}

#[test]
fn a_longrope_reply_that_outgrows_the_original_context_is_computed_again() {
    let (short, long) = (vec![1.0, 0.5, 0.2, 0.1], vec![0.3, 0.1, 0.04, 0.01]);
    let longrope = || RopeFrequencies::ByLength {
        short: short.clone(),
        long: long.clone(),
        original_max_position_embeddings: 10,
    };
    let prompt = [3, 4, 5, 6, 7, 8];
    let all = told_with(longrope(), 64, &prompt, 12);
    assert_eq!(all.len(), 12);
    // Token 5 of the reply is the first of a sequence of more than 10 tokens.
    let reply = all.iter().map(|l| l.chosen.id);
    let longer: Vec<u32> = prompt.into_iter().chain(reply).take(11).collect();
    for frequencies in [longrope(), RopeFrequencies::Fixed(long.clone())] {
        assert_eq!(told_with(frequencies, 64, &longer, 7), all[5..]);
    }
    let before = told_with(RopeFrequencies::Fixed(short.clone()), 64, &prompt, 12);
    assert_eq!(before[..5], all[..5]);
    assert_ne!(before[5], all[5], "the other factors matter");
    for rows in [1, 4] {
        assert_eq!(told_with(longrope(), rows, &prompt, 12), all, "{rows} rows");
    }
}

#[test]
fn dynamic_frequencies_go_by_the_sessions_own_length() {
    let dynamic = || RopeFrequencies::Dynamic {
        theta: 1e4,
        factor: 4.0,
        original_max_position_embeddings: 10,
    };
    let prompt: Vec<u32> = (0..17).map(|i| i * 5 % 40).collect();
    let all = told_with(dynamic(), 64, &prompt, 8);
    // The whole prompt's length counts from its first chunk on.
    for rows in [1, 4] {
        assert_eq!(told_with(dynamic(), rows, &prompt, 8), all, "{rows} rows");
    }
    let plain = TestWorld::new().manifest.decoder.rope.frequencies;
    assert_ne!(told_with(plain.clone(), 64, &prompt, 1), all[..1]);
    let short = told_with(dynamic(), 64, &prompt[..5], 6);
    assert_eq!(told_with(plain, 64, &prompt[..5], 6), short);
}

#[test]
fn the_greedy_token_is_the_likeliest() {
    for top in [0, 1, 20] {
        let asked = Request {
            top_logprobs: Some(top),
            ..request(&[3, 4, 5], 12)
        };
        for logprobs in told(Scheme::DangerousPlaintext, 8, asked) {
            assert_eq!(logprobs.top.len(), usize::from(top));
            let likeliest = logprobs.top.first().unwrap_or(&logprobs.chosen);
            assert_eq!(*likeliest, logprobs.chosen);
        }
    }
}

#[test]
fn logprobs_are_told_when_asked_for_and_change_nothing() {
    let asked = |top_logprobs| {
        let mut world = TestWorld::new();
        let mut engine = engine(&mut world, Scheme::Shares, 8);
        let asked = Request {
            top_logprobs,
            ..request(&[3, 4, 5], 12)
        };
        engine.open(asked, &mut world).unwrap();
        let mut events = Vec::new();
        while !engine.is_idle() {
            events.extend(engine.step(&mut world).unwrap());
        }
        let told = |e: &(u32, Event)| {
            matches!(
                e.1,
                Event::Token {
                    logprobs: Some(_),
                    ..
                }
            )
        };
        let count = events.iter().filter(|e| told(e)).count();
        for (_, event) in &mut events {
            if let Event::Token { logprobs, .. } = event {
                *logprobs = None;
            }
        }
        (count, events)
    };
    let ((none, silent), (all, telling)) = (asked(None), asked(Some(3)));
    assert_eq!((none, all), (0, 12));
    assert_eq!(silent, telling);
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
    refused(
        "top_logprobs is 21, at most 20 are possible",
        Request {
            top_logprobs: Some(21),
            ..request(&[1], 1)
        },
    );
    let sampling = Sampling {
        logit_bias: vec![(40, 1.0)],
        ..Sampling::default()
    };
    refused(
        "logit_bias of token id 40, which is outside the vocabulary of 40",
        Request {
            sampling,
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

/// A tokenizer whose post-processor begins every text with `<|system|>` (38), as those of Llama do with a token of theirs.
fn with_first_token() -> TestWorld {
    let mut world = TestWorld::with_text();
    let file = world.manifest.text_files.get_mut("tokenizer.json").unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_slice(file).unwrap();
    let first = json!({ "SpecialToken": { "id": "<|system|>", "type_id": 0 } });
    let text = |id| json!({ "Sequence": { "id": id, "type_id": 0 } });
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [first, text("A")],
        "pair": [first, text("A"), first, text("B")],
        "special_tokens": {
            "<|system|>": { "id": "<|system|>", "ids": [38], "tokens": ["<|system|>"] },
        },
    });
    *file = tokenizer.to_string().into_bytes();
    world
}

#[test]
fn plain_text_gets_the_tokenizers_special_tokens_and_a_rendered_chat_does_not() {
    let mut world = with_first_token();
    let mut engine = engine(&mut world, Scheme::DangerousPlaintext, 8);
    let mut ids = |prompt| {
        let (_, ids) = engine
            .open(
                Request {
                    prompt,
                    ..request(&[], 1)
                },
                &mut world,
            )
            .unwrap();
        ids.to_vec()
    };
    assert_eq!(ids(Prompt::Text("ab".into())), [38, 0, 1]);
    let messages = vec![Message::new("user", "ab")];
    // <|user|>ab<|end|><|assistant|>
    assert_eq!(ids(Prompt::Chat(messages)), [36, 0, 1, 39, 37]);
}

/// Not all of them are special tokens, whose text is never shown.
#[test]
fn text_of_a_stop_token_is_not_shown() {
    let text = |eos: u32, stop_token: u32| {
        let mut world = TestWorld::with_text();
        world.manifest.generation.eos_token_ids = vec![eos];
        let mut engine = engine(&mut world, Scheme::DangerousPlaintext, 8);
        let sampling = Sampling {
            logit_bias: vec![(stop_token, 100.0)],
            ..Sampling::default()
        };
        let asked = Request {
            sampling,
            ignore_eos: false,
            ..request(&[3, 4], 3)
        };
        engine.open(asked, &mut world).unwrap();
        let mut shown = String::new();
        while !engine.is_idle() {
            for (_, event) in engine.step(&mut world).unwrap() {
                if let Event::Token { text, .. } = event {
                    shown.push_str(&text);
                }
            }
        }
        shown
    };
    // Token 7 is "h".
    assert_eq!(text(39, 7), "hhh");
    assert_eq!(text(7, 7), "");
}

/// What every norm, rotation and addition of the decoder does to the logits, gains that differ included.
#[test]
fn logits_of_a_small_model_are_pinned() {
    let mut world = TestWorld::new();
    let gains = |from: f32, step: f32| (0..8).map(|i| from + step * i as f32).collect();
    for (layer, extras) in (0..).zip(&mut world.manifest.layers) {
        extras.q_norm = gains(0.5 + layer as f32, 0.25);
        extras.k_norm = gains(1.75, -0.125);
    }
    let mut engine = engine(&mut world, Scheme::DangerousPlaintext, 8);
    engine
        .open(request(&[3, 1, 4, 1, 5, 9, 2, 6, 5], 6), &mut world)
        .unwrap();
    let (_, finished) = run(&mut engine, &mut world).remove(&0).unwrap();
    let Some(Event::Finished {
        logits_digest: Some(digest),
        ..
    }) = finished
    else {
        panic!("{finished:?}")
    };
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = "83775938a609af622a575fd921ac3830d761e08a55ad3b87a72d0c86b27300ca";
    assert_eq!(hex, expected);
}

#[test]
fn a_lie_ends_everything_for_good_and_releases_nothing() {
    for scheme in Scheme::ALL {
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

/// Killed, frozen, restarted or cut off: whatever call it was, sessions go on as if nothing had been.
#[test]
fn a_step_that_a_host_failed_is_repeated_from_its_beginning_under_fresh_masks() {
    let prompts = [vec![3, 1, 4, 1, 5], vec![9]];
    let expected = prompts
        .each_ref()
        .map(|ids| alone(Scheme::DangerousPlaintext, 64, ids, 6));
    for scheme in Scheme::ALL {
        // Embedding, four for each of the layers, LM head; of the prompt's step and of one after it.
        for (steps, call) in (0..3).flat_map(|steps| (0..10).map(move |call| (steps, call))) {
            let mut world = TestWorld::new();
            let mut engine = engine(&mut world, scheme, 4);
            for ids in &prompts {
                engine.open(request(ids, 6), &mut world).unwrap();
            }
            let mut replies = BTreeMap::<u32, (Vec<u32>, Option<Event>)>::new();
            let mut keep = |events: Vec<(u32, Event)>| {
                for (session, event) in events {
                    let reply = replies.entry(session).or_default();
                    match event {
                        Event::Token { id, .. } => reply.0.push(id),
                        finished => reply.1 = Some(finished),
                    }
                }
            };
            for _ in 0..steps {
                keep(engine.step(&mut world).unwrap());
            }
            world.seen.clear();
            world.failing = Some(call);
            match engine.step(&mut world) {
                Err(StepError::Host(message)) => assert!(message.contains("host 2"), "{message}"),
                other => panic!("{other:?}"),
            }
            let first = std::mem::take(&mut world.seen);
            keep(engine.step(&mut world).unwrap());
            if scheme != Scheme::DangerousPlaintext {
                for (index, hosts) in &first {
                    assert!(!world.seen.contains(&(*index, hosts.clone())), "{scheme:?}");
                }
            }
            for (session, (tokens, finished)) in run(&mut engine, &mut world) {
                let reply = replies.entry(session).or_default();
                reply.0.extend(tokens);
                reply.1 = reply.1.take().or(finished);
            }
            for (session, expected) in (0..).zip(&expected) {
                assert_eq!(&replies[&session], expected, "{scheme:?}, call {call}");
            }
        }
    }
}

#[test]
fn sessions_of_hosts_that_stay_away_are_given_up() {
    let mut world = TestWorld::new();
    let mut engine = engine(&mut world, Scheme::Shares, 4);
    engine.open(request(&[1, 2], 6), &mut world).unwrap();
    world.failing = Some(2);
    assert!(matches!(engine.step(&mut world), Err(StepError::Host(_))));
    assert!(engine.is_busy());
    engine.give_up();
    assert!(engine.is_idle());
}

#[test]
fn a_row_that_is_not_finite_ends_its_own_session_only() {
    let prompts = [vec![3, 1, 4], vec![1, 5], vec![9, 2]];
    for poisoned in 0..3 {
        let mut world = TestWorld::new();
        let mut engine = engine(&mut world, Scheme::Shares, 16);
        for ids in &prompts {
            engine.open(request(ids, 5), &mut world).unwrap();
        }
        let begun = engine.step(&mut world).unwrap();
        assert_eq!(begun.len(), 3);
        engine.sessions.get_mut(&poisoned).unwrap().state.poison();
        let events = engine.step(&mut world).unwrap();
        let [(session, Event::Failed { failure, message })] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((*session, *failure), (poisoned, Failure::Internal));
        assert!(message.contains("not finite"), "{message}");
        let replies = run(&mut engine, &mut world);
        assert_eq!(replies.len(), 2);
        for (session, (tokens, finished)) in replies {
            let (all, end) = alone(Scheme::Shares, 16, &prompts[session as usize], 5);
            assert_eq!((&tokens[..], finished), (&all[1..], end));
        }
    }
}

/// Whoever asks learns nothing of how much others have: he waits, or is refused for what he asks alone.
#[test]
fn a_refusal_for_want_of_room_is_the_same_however_much_others_hold() {
    let refusal = |others: usize| {
        let mut world = TestWorld::new();
        let mut engine = engine(&mut world, Scheme::Shares, 4);
        for _ in 0..others {
            engine.open(request(&[1; 60], 3), &mut world).unwrap();
            engine.step(&mut world).unwrap();
        }
        engine
            .open(request(&[1; 64], 3), &mut world)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refusal(0), refusal(5));
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
