//! A real model from its GGUF file, SmolLM2-135M-Instruct: tokens and loss of an independent forward pass, natively
//! and through the whole system, with the same bits for the maskings that mint nothing (module-lwe would take 12 GB).

use sha2::{Digest, Sha256};
use talaria_guest::{setup::Scheme, tokenizer::Tokenizer};
use talaria_host_cvm::{Masking, Message, Prompt, Request};
use talaria_host_gpu::weights::gguf::pre_tokenizer::PreTokenizer;
use talaria_local::generate::greedy;
use talaria_tests::{golden::model_dir, native::Native, smollm2, system::Setup};
use talaria_wire::manifest::WeightFormat;

const PLAIN: Scheme = Scheme::DangerousPlaintext;

#[test]
fn the_file_is_the_one_of_the_golden_values() {
    let Some(file) = smollm2::file() else { return };
    let digest = Sha256::digest(std::fs::read(file).expect("it was there"));
    assert_eq!(hex::encode(digest), smollm2::golden().source.sha256);
}

#[test]
fn greedy_tokens_and_loss_are_those_of_an_independent_forward_pass() {
    let Some(file) = smollm2::file() else { return };
    let golden = smollm2::golden();
    let native = Native::load_path(&file, WeightFormat::Int16, PLAIN);
    let clear = |p: &&smollm2::Prompt| p.min_margin > smollm2::MIN_MARGIN;
    let prompts: Vec<_> = golden.prompts.iter().filter(clear).collect();
    assert_eq!(prompts.len(), 8);
    for prompt in prompts {
        let found = native.greedy(&prompt.ids, prompt.greedy_ids.len());
        assert_eq!(found, prompt.greedy_ids, "{}", prompt.name);
    }
    let ids = &golden.eval.ids;
    let logits = native.logits(&mut native.state(), ids, 0, ids.len());
    let loss = smollm2::mean_loss(&logits, ids);
    eprintln!("int16: {loss:.6} nats, float {:.6}", golden.eval.loss);
    assert!((loss - golden.eval.loss).abs() <= 1e-3, "{loss}");
}

/// A golden prompt as a client would send it.
fn request(prompt: &smollm2::Prompt, max_new_tokens: u32) -> Request {
    let messages = prompt.chat.iter().flatten();
    let messages = messages.map(|m| Message::new(m.role.clone(), m.content.clone()));
    let asked = match &prompt.prompt {
        Some(text) => Prompt::Text(text.clone()),
        None => Prompt::Chat(messages.collect()),
    };
    Request {
        ignore_eos: true,
        logits_digest: true,
        ..greedy(asked, max_new_tokens)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_have_the_golden_ids_tokens_and_text_through_the_whole_system() {
    let Some(file) = smollm2::file() else { return };
    let golden = smollm2::golden();
    let system = Setup::default().start(&file).await;
    let requests = golden.prompts.iter().map(|p| request(p, 48)).collect();
    let outcomes = system.ask_all(requests).await;
    for (prompt, outcome) in golden.prompts.iter().zip(outcomes) {
        assert_eq!(outcome.prompt_ids, prompt.ids, "{}", prompt.name);
        if prompt.min_margin > smollm2::MIN_MARGIN {
            assert_eq!(outcome.token_ids, prompt.greedy_ids, "{}", prompt.name);
            assert_eq!(outcome.text, prompt.text, "{}", prompt.name);
        }
    }
    let text = Prompt::Text(golden.eval.text.clone());
    let outcome = system.ask(greedy(text, 1)).await;
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome.prompt_ids, golden.eval.ids);
}

/// The payload's regular expressions are not those of the library that the published tokenizers are made for.
#[test]
fn the_payload_reads_every_pre_tokenizer_that_a_gguf_file_can_name() {
    let bytes = tokenizers_of_bytes();
    for name in PreTokenizer::names().split(", ") {
        let pre_tokenizer = PreTokenizer::named(name).expect("it is listed");
        let mut tokenizer = bytes.clone();
        tokenizer["pre_tokenizer"] = pre_tokenizer.json;
        tokenizer["normalizer"] = pre_tokenizer.normalizer;
        let files = [("tokenizer.json".into(), tokenizer.to_string().into_bytes())];
        let tokenizer = Tokenizer::from_files(&files.into());
        let tokenizer = tokenizer.unwrap_or_else(|e| panic!("{name}: {e}"));
        for text in [
            "It's 12345 o'clock,\r\n\n  isn't it?  ",
            "né 漢字かな !?… 👋🏼\tfn main() {}",
        ] {
            let ids = tokenizer.encode(text, false);
            let ids = ids.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(ids.len(), text.len(), "{name}");
            assert_eq!(
                tokenizer.decode(&ids, false).expect("bytes"),
                text,
                "{name}"
            );
        }
    }
}

/// The demo's tokenizer with bytes for tokens: no word is joined, so a text has as many tokens as bytes.
fn tokenizers_of_bytes() -> serde_json::Value {
    let file = model_dir("demo-qwen3").join("tokenizer.json");
    let file = std::fs::read(file).expect("fixture");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&file).expect("fixture");
    tokenizer["model"]["merges"] = serde_json::json!([]);
    tokenizer
}

/// Few tokens: what could differ would differ in the first.
#[tokio::test(flavor = "multi_thread")]
async fn maskings_that_mint_nothing_give_the_same_bits() {
    let Some(file) = smollm2::file() else { return };
    let golden = smollm2::golden();
    let prompt = golden.prompts.iter().find(|p| p.name == "chat");
    let prompt = prompt.expect("a golden prompt");
    let mut digests = Vec::new();
    for masking in [Masking::DangerousPlaintext, Masking::Shares, Masking::Remo] {
        let system = Setup::masked(masking).start(&file).await;
        let outcome = system.ask(request(prompt, 4)).await;
        let outcome = outcome.unwrap_or_else(|e| panic!("{masking:?}: {e}"));
        assert_eq!(outcome.token_ids, prompt.greedy_ids[..4], "{masking:?}");
        let digest = outcome.logits_digest.expect("asked for");
        digests.push((masking, digest));
    }
    for (masking, digest) in &digests {
        assert_eq!(*digest, digests[0].1, "{masking:?}");
    }
}
