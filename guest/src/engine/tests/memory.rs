//! Keys and values of many sessions in one memory: who gets it, who gives it back, what is kept.

use super::*;
use crate::setup::Options;

const CONTEXT: u32 = 400;

/// An engine with a context of [`CONTEXT`] and memory for so many positions of one session. `windows`: as the test model
/// has them; else every layer keeps all.
fn engine_with(world: &mut TestWorld, positions: usize, windows: bool) -> Engine {
    world.manifest.decoder.max_position_embeddings = CONTEXT;
    if !windows {
        for layer in &mut world.manifest.layers {
            layer.sliding_window = None;
        }
    }
    let decoder = Decoder::new(&world.manifest);
    let options = Options {
        max_batch_rows: 8,
        kv_memory: decoder.state_bytes(positions, 8),
        ..options(Scheme::DangerousPlaintext)
    };
    Engine::new(Rc::new(world.try_ready(options).unwrap())).unwrap()
}

fn prompt(length: usize, salt: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|i| (i * 7 + i * i * salt + salt) % 39)
        .collect()
}

/// What a session gets with all memory for itself.
fn expected(prompt: &[u32], tokens: u32) -> (Vec<u32>, Option<Event>) {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, CONTEXT as usize, false);
    engine.open(request(prompt, tokens), &mut world).unwrap();
    run(&mut engine, &mut world).remove(&0).unwrap()
}

/// Without what says how much was found.
fn same(mut reply: (Vec<u32>, Option<Event>)) -> (Vec<u32>, Option<Event>) {
    if let Some(Event::Finished { usage, .. }) = &mut reply.1 {
        usage.cached_tokens = 0;
    }
    reply
}

fn cached(reply: &(Vec<u32>, Option<Event>)) -> u32 {
    match &reply.1 {
        Some(Event::Finished { usage, .. }) => usage.cached_tokens,
        other => panic!("no end: {other:?}"),
    }
}

fn ask(
    engine: &mut Engine,
    world: &mut TestWorld,
    connection: u64,
    prompt: &[u32],
    tokens: u32,
) -> u32 {
    let scope = Some(Scope::Connection(connection));
    engine
        .open_for(connection, scope, request(prompt, tokens), world)
        .unwrap()
        .0
}

/// It hid that default chats were refused: a session may come to all of a long context, and most never do.
#[test]
fn a_default_request_is_served_whatever_the_context() {
    for context in [40_960, 131_072, 1 << 24] {
        let mut world = TestWorld::new();
        world.manifest.decoder.max_position_embeddings = context;
        let options = Options {
            kv_memory: 1 << 20,
            ..options(Scheme::Shares)
        };
        let mut engine = Engine::new(Rc::new(world.try_ready(options).unwrap())).unwrap();
        for _ in 0..64 {
            let asked = Request {
                ignore_eos: false,
                ..request(&[1, 2, 3], u32::MAX)
            };
            engine.open(asked, &mut world).unwrap();
        }
        assert!(!engine.step(&mut world).unwrap().is_empty());
    }
}

#[test]
fn the_context_is_what_there_is_memory_for_and_longer_prompts_are_refused_with_it() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, 96, false);
    assert_eq!(engine.context(), 96);
    let refused = engine
        .open(request(&prompt(96, 1), 1), &mut world)
        .unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::TooLong {
                tokens: 96,
                context: 96
            }
        ),
        "{refused}"
    );
    // Alone it gets all of it, and ends when there is no more.
    engine
        .open(request(&prompt(90, 1), 1000), &mut world)
        .unwrap();
    let (tokens, end) = run(&mut engine, &mut world).remove(&0).unwrap();
    assert_eq!(tokens.len(), 6);
    let Some(Event::Finished { reason, .. }) = end else {
        panic!("{end:?}")
    };
    assert_eq!(reason, FinishReason::Length);
    assert_eq!(tokens, expected(&prompt(90, 1), 6).0);
}

#[test]
fn too_little_memory_for_anything_is_said_at_set_up() {
    let mut world = TestWorld::new();
    let options = Options {
        kv_memory: 100,
        ..options(Scheme::Shares)
    };
    let error = Engine::new(Rc::new(world.try_ready(options).unwrap()))
        .err()
        .unwrap();
    assert!(error.contains("--kv-memory"), "{error}");
    let too_much = Options {
        kv_memory: crate::setup::MAX_KV_MEMORY + 1,
        ..super::options(Scheme::Shares)
    };
    assert!(world.try_ready(too_much).is_err());
}

/// Ten sessions in the memory of less than two: all end with the bits that they have alone, and nothing is left.
#[test]
fn sessions_that_do_not_fit_together_take_turns() {
    for windows in [false, true] {
        let mut world = TestWorld::new();
        let mut engine = engine_with(&mut world, 120, windows);
        let asked: Vec<_> = (0..10)
            .map(|i| (prompt(20 + 7 * i, i as u32), 25))
            .collect();
        for (prompt, tokens) in &asked {
            engine.open(request(prompt, *tokens), &mut world).unwrap();
        }
        let budget = engine.ready.options.kv_memory;
        let mut replies: BTreeMap<u32, (Vec<u32>, Option<Event>)> = BTreeMap::new();
        for steps in 0.. {
            if engine.is_idle() {
                break;
            }
            assert!(steps < 5000, "nobody goes on");
            for (session, event) in engine.step(&mut world).unwrap() {
                let reply = replies.entry(session).or_default();
                match event {
                    Event::Token { id, .. } => reply.0.push(id),
                    finished => reply.1 = Some(finished),
                }
            }
            assert!(engine.kv_bytes() <= budget);
        }
        assert!(engine.counters().restarts > 0 || windows);
        assert_eq!(engine.kv_bytes(), 0);
        if !windows {
            for (reply, (prompt, tokens)) in replies.into_values().zip(&asked) {
                assert_eq!(reply, expected(prompt, *tokens));
            }
        }
    }
}

/// A client with many long sessions does not keep another from its first.
#[test]
fn the_first_reply_of_every_connection_comes_before_the_second_of_any() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, 300, false);
    for i in 0..6 {
        ask(&mut engine, &mut world, 1, &prompt(100, i), 90);
    }
    for _ in 0..60 {
        engine.step(&mut world).unwrap();
    }
    let late = ask(&mut engine, &mut world, 2, &prompt(60, 9), 5);
    let mut steps = 0;
    while engine.sessions.contains_key(&late) {
        engine.step(&mut world).unwrap();
        steps += 1;
        assert!(steps < 40, "it waits for all others");
    }
}

#[test]
fn a_session_whose_client_takes_nothing_gives_back_what_others_need() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, 160, false);
    let slow = ask(&mut engine, &mut world, 1, &prompt(100, 1), 50);
    for _ in 0..30 {
        engine.step(&mut world).unwrap();
    }
    engine.hold(slow, true);
    let held = engine.sessions[&slow].state.bytes();
    assert!(held > 0);
    ask(&mut engine, &mut world, 2, &prompt(100, 2), 30);
    while engine.is_busy() {
        engine.step(&mut world).unwrap();
    }
    assert_eq!(engine.sessions[&slow].state.bytes(), 0);
    // It goes on as if nothing had been.
    engine.hold(slow, false);
    let mut rest = run(&mut engine, &mut world).remove(&slow).unwrap();
    let all = expected(&prompt(100, 1), 50);
    let begin = all.0.len() - rest.0.len();
    rest.0 = [&all.0[..begin], &rest.0[..]].concat();
    assert_eq!(same(rest), all);
}

/// The next turn of a conversation computes what is new, and has the bits of one that computes all.
#[test]
fn a_prompt_goes_on_from_a_reply_of_its_own_connection() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, CONTEXT as usize, false);
    let mut conversation = prompt(50, 3);
    for turn in 0..5 {
        let before = engine.counters().prompt_rows;
        let id = ask(&mut engine, &mut world, 7, &conversation, 20);
        let reply = run(&mut engine, &mut world).remove(&id).unwrap();
        let rows = engine.counters().prompt_rows - before;
        match turn {
            0 => assert_eq!((cached(&reply), rows), (0, 50)),
            // The last token of a reply was never computed.
            _ => assert_eq!(
                (cached(&reply) as usize, rows),
                (conversation.len() - 11, 11)
            ),
        }
        assert_eq!(
            same(reply.clone()),
            expected(&conversation, 20),
            "turn {turn}"
        );
        conversation.extend(&reply.0);
        conversation.extend(prompt(10, turn));
    }
    // Another connection finds nothing.
    let id = ask(&mut engine, &mut world, 8, &conversation, 1);
    assert_eq!(cached(&run(&mut engine, &mut world)[&id]), 0);
    // Once the first is closed, nobody does.
    engine.forget(8);
    let id = ask(&mut engine, &mut world, 7, &conversation, 1);
    assert!(cached(&run(&mut engine, &mut world)[&id]) > 0);
    engine.forget(7);
    assert_eq!(engine.kv_bytes(), 0);
    let id = ask(&mut engine, &mut world, 7, &conversation, 1);
    assert_eq!(cached(&run(&mut engine, &mut world)[&id]), 0);
}

#[test]
fn a_key_is_shared_by_whoever_knows_it_and_by_nobody_else() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, CONTEXT as usize, false);
    let ids = prompt(40, 2);
    let mut ask = |connection: u64, key: Option<u8>| {
        let scope = match key {
            Some(key) => Scope::Key(Zeroizing::new([key; 32])),
            None => Scope::Connection(connection),
        };
        let asked = request(&ids, 3);
        let (id, _) = engine
            .open_for(connection, Some(scope), asked, &mut world)
            .unwrap();
        let reply = run(&mut engine, &mut world).remove(&id).unwrap();
        engine.forget(connection);
        assert_eq!(same(reply.clone()), expected(&ids, 3));
        cached(&reply)
    };
    assert_eq!(ask(1, Some(5)), 0);
    assert_eq!(ask(2, Some(5)), 39);
    assert_eq!(ask(3, Some(6)), 0);
    assert_eq!(ask(4, None), 0);
}

/// What is kept never costs a session anything.
#[test]
fn what_is_kept_makes_room_for_sessions() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, 130, false);
    for i in 0..5 {
        ask(&mut engine, &mut world, 1, &prompt(60, i), 10);
        run(&mut engine, &mut world);
    }
    assert!(engine.kv_bytes() > 0);
    assert_eq!(engine.counters().restarts, 0);
    // The latest is still there, the first is not.
    let mut found = |salt| {
        let id = ask(&mut engine, &mut world, 1, &prompt(60, salt), 1);
        cached(&run(&mut engine, &mut world)[&id])
    };
    assert_eq!(found(4), 59);
    assert_eq!(found(0), 0);
}

#[test]
fn nothing_is_kept_where_that_is_off_or_a_session_came_by_no_connection() {
    let mut world = TestWorld::new();
    let off = Options {
        prefix_cache: false,
        ..options(Scheme::Shares)
    };
    let mut engine = Engine::new(Rc::new(world.try_ready(off).unwrap())).unwrap();
    ask(&mut engine, &mut world, 1, &prompt(40, 1), 3);
    run(&mut engine, &mut world);
    assert_eq!(engine.kv_bytes(), 0);
    let mut engine = super::engine(&mut world, Scheme::Shares, 8);
    engine.open(request(&prompt(40, 1), 3), &mut world).unwrap();
    run(&mut engine, &mut world);
    assert_eq!(engine.kv_bytes(), 0);
}

/// Layers with a window forget what no later position sees: a prompt that leaves the reply before its end cannot go on
/// from it, one that goes beyond it can.
#[test]
fn windows_allow_only_what_they_still_see() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, CONTEXT as usize, true);
    let mut uncached = TestWorld::new();
    let mut fresh = engine_with(&mut uncached, CONTEXT as usize, true);
    let first = prompt(60, 3);
    let id = ask(&mut engine, &mut world, 1, &first, 40);
    let reply = run(&mut engine, &mut world).remove(&id).unwrap();
    let longer = [&first[..], &reply.0, &prompt(9, 1)].concat();
    let id = ask(&mut engine, &mut world, 1, &longer, 5);
    let found = run(&mut engine, &mut world).remove(&id).unwrap();
    assert_eq!(cached(&found), 99);
    let id = ask(&mut fresh, &mut uncached, 1, &longer, 5);
    assert_eq!(
        same(found),
        run(&mut fresh, &mut uncached).remove(&id).unwrap()
    );
    let shorter = [&first[..30], &prompt(9, 2)].concat();
    let id = ask(&mut engine, &mut world, 1, &shorter, 5);
    assert_eq!(cached(&run(&mut engine, &mut world)[&id]), 0);
}

/// Whoever decodes is not held up by a long prompt for longer than is asked for.
#[test]
fn prompts_come_in_parts_beside_replies_and_whole_without() {
    let mut world = TestWorld::new();
    let mut engine = engine_with(&mut world, CONTEXT as usize, false);
    engine.pace(3);
    ask(&mut engine, &mut world, 1, &[1], 100);
    ask(&mut engine, &mut world, 2, &prompt(30, 1), 1);
    assert_eq!(engine.plan(), Plan::from([(0, 1), (1, 3)]));
    engine.close(0);
    assert_eq!(engine.plan(), Plan::from([(1, 8)]));
    // Several prompts share what there is; none is left out however many replies there are.
    ask(&mut engine, &mut world, 3, &prompt(30, 2), 1);
    assert_eq!(engine.plan(), Plan::from([(1, 4), (2, 4)]));
    for id in 0..20 {
        ask(&mut engine, &mut world, 4 + id, &[1], 100);
    }
    let plan = engine.plan();
    let prompts: usize = [1, 2].iter().filter_map(|id| plan.get(id)).sum();
    assert_eq!((plan.values().sum::<usize>(), prompts), (8, 2));
}
