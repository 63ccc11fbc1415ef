//! Text in, text out, through sockets and Wasm, against Hugging Face transformers.

use talaria_host_cvm::{FinishReason, Message, Prompt, Request};
use talaria_local::generate::greedy;
use talaria_tests::{
    golden::{MODELS, golden, model_dir},
    system::{Setup, ids_request},
};

#[tokio::test(flavor = "multi_thread")]
async fn greedy_tokens_of_every_prompt_of_every_model() {
    for model in MODELS {
        let system = Setup::default().start(&model_dir(model)).await;
        let prompts = golden(model).prompts;
        let requests = prompts
            .iter()
            .map(|p| ids_request(&p.ids, p.greedy_ids.len() as u32));
        let outcomes = system.ask_all(requests.collect()).await;
        for (prompt, outcome) in prompts.iter().zip(outcomes) {
            assert_eq!(
                outcome.token_ids, prompt.greedy_ids,
                "{model} {}",
                prompt.name
            );
            assert_eq!(outcome.finish_reason, FinishReason::Length);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_stop_where_transformers_stops_with_the_same_text() {
    let system = Setup::default().start(&model_dir("demo-qwen3")).await;
    let mut chats = 0;
    for prompt in golden("demo-qwen3").prompts {
        let (Some(messages), Some(ids), Some(text)) =
            (prompt.messages, prompt.stopped_ids, prompt.stopped_text)
        else {
            continue;
        };
        let messages = messages
            .into_iter()
            .map(|m| Message::new(m.role, m.content));
        let outcome = system
            .ask(greedy(Prompt::Chat(messages.collect()), 200))
            .await;
        let outcome = outcome.unwrap_or_else(|e| panic!("{}: {e}", prompt.name));
        assert_eq!(outcome.prompt_ids, prompt.ids, "{}", prompt.name);
        assert_eq!(outcome.token_ids, ids, "{}", prompt.name);
        assert_eq!(outcome.text, text, "{}", prompt.name);
        assert_eq!(outcome.finish_reason, FinishReason::Stop);
        chats += 1;
    }
    assert_eq!(chats, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_strings_cut_the_text_before_them() {
    let system = Setup::default().start(&model_dir("demo-qwen3")).await;
    let prompt = golden("demo-qwen3")
        .prompts
        .into_iter()
        .find(|p| p.name == "p4")
        .expect("p4");
    let text = prompt.stopped_text.expect("a chat");
    let (before, stop) = (&text[..20], &text[20..27]);
    let request = Request {
        stop: vec![stop.into()],
        ..greedy(Prompt::Ids(prompt.ids), 200)
    };
    let outcome = system.ask(request).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome.text, before);
    assert_eq!(outcome.finish_reason, FinishReason::Stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_tokens_alone_and_among_others() {
    let system = Setup::default().start(&model_dir("demo-qwen3")).await;
    let request = |seed| {
        let sampling = talaria_host_cvm::Sampling {
            temperature: 0.9,
            top_p: 0.95,
            seed,
            ..Default::default()
        };
        Request {
            sampling,
            ignore_eos: true,
            ..greedy(Prompt::Text("The borrow checker".into()), 24)
        }
    };
    let alone = system
        .ask(request(Some(7)))
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let many = system
        .ask_all((0..6).map(|i| request(Some(5 + i))).collect())
        .await;
    assert_eq!(many[2].token_ids, alone.token_ids);
    assert_ne!(many[3].token_ids, alone.token_ids);
    let fresh = system.ask_all(vec![request(None), request(None)]).await;
    assert_ne!(fresh[0].token_ids, fresh[1].token_ids);
}
