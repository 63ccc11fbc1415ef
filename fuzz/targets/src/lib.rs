//! One [`Target`] for each parser of bytes from outside: a function that feeds it bytes and asserts, besides that it
//! does not panic, what must hold of whatever it accepts.
//!
//! cargo-fuzz runs them (`fuzz/`, nightly); `tests/smoke` runs each on its corpus and on a bounded number of mutations
//! of it, as part of `cargo test`. [`Target::seeds`] makes the corpus, `examples/corpus.rs` writes it.
//!
//! host-cvm has no target here, because building it builds the payload: what it reads from GPU hosts are the messages
//! of [`service`], and what it reads from clients goes unread into the payload ([`payload`]).

#![forbid(unsafe_code)]

pub mod answer;
pub mod channel;
pub mod chat_template;
pub mod checkpoint;
pub mod evidence;
pub mod link;
pub mod manifest;
pub mod message;
mod parts;
pub mod payload;
pub mod policy;
pub mod proxy;
pub mod quantised;
pub mod record;
pub mod service;
pub mod setup;
pub mod tokenizer;
pub mod verify;

/// A parser under test.
pub struct Target {
    /// As in `cargo +nightly fuzz run NAME`, and the directory of its corpus.
    pub name: &'static str,
    /// Parses; panics where something does not hold that must.
    pub run: fn(&[u8]),
    /// Valid and nearly valid inputs, small, the same at every call.
    pub seeds: fn() -> Vec<Seed>,
}

/// An input of a corpus.
pub struct Seed {
    /// File name.
    pub name: &'static str,
    /// The input.
    pub bytes: Vec<u8>,
}

impl Seed {
    /// An input.
    pub fn new(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            bytes: bytes.into(),
        }
    }
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Seed>) -> Target {
    Target { name, run, seeds }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("answer", answer::answer, answer::seeds),
    target("assembler", channel::assembler, channel::assembler_seeds),
    target("callers", link::callers, link::callers_seeds),
    target(
        "certificate_table",
        evidence::certificate_table,
        evidence::table_seeds,
    ),
    target(
        "chat_template",
        chat_template::template,
        chat_template::template_seeds,
    ),
    target(
        "checkpoint",
        checkpoint::checkpoint,
        checkpoint::checkpoint_seeds,
    ),
    target("config_json", checkpoint::config, checkpoint::config_seeds),
    target("event", message::event, message::event_seeds),
    target("evidence", evidence::evidence, evidence::evidence_seeds),
    target("fragment", channel::fragment, channel::fragment_seeds),
    target("frames", channel::frames, channel::frame_seeds),
    target(
        "generation_config",
        checkpoint::generation,
        checkpoint::generation_seeds,
    ),
    target("gguf", checkpoint::gguf, checkpoint::gguf_seeds),
    target("handshake", channel::handshake, channel::handshake_seeds),
    target("handshake_answer", channel::answer, channel::answer_seeds),
    target("ingest", setup::ingest, setup::ingest_seeds),
    target("link", link::link, link::seeds),
    target("link_hello", link::hellos, link::hello_seeds),
    target("manifest", manifest::manifest, manifest::seeds),
    target("openai_chat", proxy::chat, proxy::chat_seeds),
    target(
        "openai_completions",
        proxy::completions,
        proxy::completion_seeds,
    ),
    target("payload", payload::payload, payload::seeds),
    target("policy", policy::policy, policy::seeds),
    target("project_request", service::request, service::request_seeds),
    target(
        "project_response",
        service::response,
        service::response_seeds,
    ),
    target(
        "python_json",
        checkpoint::python_json,
        checkpoint::json_seeds,
    ),
    target("quantised", quantised::quantised, quantised::seeds),
    target("record", record::record, record::seeds),
    target(
        "safetensors",
        checkpoint::safetensors,
        checkpoint::safetensors_seeds,
    ),
    target("service_address", policy::address, policy::address_seeds),
    target("shards", checkpoint::shards, checkpoint::shard_seeds),
    target("snapshot", setup::snapshot, setup::snapshot_seeds),
    target(
        "strftime",
        chat_template::strftime,
        chat_template::strftime_seeds,
    ),
    target(
        "tdx_collateral",
        evidence::collateral,
        evidence::collateral_seeds,
    ),
    target("to_payload", message::to_payload, message::to_payload_seeds),
    target("tokenizer", tokenizer::tokenizer, tokenizer::seeds),
    target(
        "tokenizer_config",
        chat_template::config,
        chat_template::config_seeds,
    ),
    target(
        "verify_evidence",
        verify::evidence,
        evidence::evidence_seeds,
    ),
    target("verify_snp", verify::snp, verify::snp_seeds),
    target(
        "verify_tdx_collateral",
        verify::collateral,
        evidence::collateral_seeds,
    ),
    target("verify_tdx_quote", verify::quote, verify::quote_seeds),
];

/// Runs a target by name, for `fuzz_targets/`.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}
