//! Every parameter that is known by its name, and what becomes of it. What would change a reply is honoured or refused,
//! never dropped; so a name that is not known is refused too, as OpenAI does: nobody can tell what it would have changed.
//!
//! To support one, make its row `read` and read it in [`request`](super::request).

use serde_json::Value;

use super::request::Endpoint;

/// A row of the table.
pub(super) struct Parameter {
    /// As in the body; inside an object `object.name`, inside a list `list[].name`. A `*` at its end stands for anything.
    name: &'static str,
    endpoints: &'static [Endpoint],
    fate: Fate,
}

/// What becomes of a parameter that is there, and not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Read, and honoured.
    Read,
    /// Not looked at: it changes nothing of a reply.
    Ignored,
    /// It would change the reply.
    Refused {
        /// Values in JSON that ask for nothing, and are accepted.
        unless: &'static [&'static str],
        /// What the caller can do.
        instead: &'static str,
    },
}

impl Fate {
    /// Whether it is one of the values that ask for nothing.
    pub(super) fn is_neutral(unless: &[&str], value: &Value) -> bool {
        let neutral = |json: &&str| match (serde_json::from_str(json), value.as_f64()) {
            (Ok(Value::Number(neutral)), Some(number)) => neutral.as_f64() == Some(number),
            (Ok(neutral), _) => neutral == *value,
            (Err(_), _) => false,
        };
        unless.iter().any(neutral)
    }
}

/// What becomes of a parameter of this name; none: it is not known.
pub(super) fn fate(endpoint: Endpoint, name: &str) -> Option<Fate> {
    let is_meant = |row: &&Parameter| {
        row.endpoints.contains(&endpoint)
            && match row.name.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => name == row.name,
            }
    };
    PARAMETERS.iter().find(is_meant).map(|row| row.fate)
}

const BOTH: &[Endpoint] = &[Endpoint::Chat, Endpoint::Completions];
const CHAT: &[Endpoint] = &[Endpoint::Chat];
const COMPLETIONS: &[Endpoint] = &[Endpoint::Completions];

const fn read(endpoints: &'static [Endpoint], name: &'static str) -> Parameter {
    Parameter {
        name,
        endpoints,
        fate: Fate::Read,
    }
}

const fn ignored(endpoints: &'static [Endpoint], name: &'static str) -> Parameter {
    Parameter {
        name,
        endpoints,
        fate: Fate::Ignored,
    }
}

const fn refused(
    endpoints: &'static [Endpoint],
    name: &'static str,
    unless: &'static [&'static str],
    instead: &'static str,
) -> Parameter {
    let fate = Fate::Refused { unless, instead };
    Parameter {
        name,
        endpoints,
        fate,
    }
}

const LEAVE_OUT: &str = "leave it out";
const NO_TOOLS: &str = "describe tools in a message, and read calls from the text";
const NO_GRAMMAR: &str = "ask for the form in the prompt";
const ONLY_TEXT: &str = "only text is possible";
const AS_TEMPLATE: &str = "render the prompt yourself and send it to /v1/completions";
const USE_STOP: &str = "use stop";
const USE_LOGIT_BIAS: &str = "use logit_bias";
const OTHER_SAMPLER: &str = "use temperature, top_k, top_p or min_p";

/// The first row with a name is meant.
#[rustfmt::skip] // A row a line.
const PARAMETERS: &[Parameter] = &[
    // Honoured; docs/client.md has their ranges.
    read(CHAT, "messages"),
    read(CHAT, "messages[].role"),
    read(CHAT, "messages[].content"),
    read(CHAT, "messages[].content[].type"),
    read(CHAT, "messages[].content[].text"),
    read(CHAT, "messages[].name"),
    read(CHAT, "messages[].tool_call_id"),
    read(CHAT, "messages[].tool_calls"),
    read(CHAT, "messages[].tool_calls[].id"),
    read(CHAT, "messages[].tool_calls[].type"),
    read(CHAT, "messages[].tool_calls[].function"),
    read(CHAT, "messages[].tool_calls[].function.name"),
    read(CHAT, "messages[].tool_calls[].function.arguments"),
    read(COMPLETIONS, "prompt"),
    read(BOTH, "prompt_cache_key"),
    read(BOTH, "model"),
    read(BOTH, "max_tokens"),
    read(BOTH, "max_completion_tokens"),
    read(BOTH, "temperature"),
    read(BOTH, "top_p"),
    read(BOTH, "top_k"),
    read(BOTH, "min_p"),
    read(BOTH, "repetition_penalty"),
    read(BOTH, "presence_penalty"),
    read(BOTH, "frequency_penalty"),
    read(BOTH, "logit_bias"),
    read(BOTH, "seed"),
    read(BOTH, "n"),
    read(BOTH, "stop"),
    read(BOTH, "logprobs"),
    read(CHAT, "top_logprobs"),
    read(BOTH, "stream"),
    read(BOTH, "stream_options"),
    read(BOTH, "stream_options.include_usage"),
    read(BOTH, "ignore_eos"),
    read(BOTH, "talaria_receipt"),
    read(CHAT, "talaria_date"),
    //
    // Of OpenAI, and nothing of a reply: who asks, what is kept, what it costs, how fast it is.
    ignored(BOTH, "user"),
    ignored(BOTH, "safety_identifier"),
    ignored(BOTH, "metadata"),
    ignored(BOTH, "store"),
    ignored(BOTH, "service_tier"),
    ignored(BOTH, "prompt_cache_retention"),
    ignored(BOTH, "stream_options.include_obfuscation"),
    ignored(CHAT, "messages[].content[].cache_control"),
    // Of streamed calls, which some clients put together and send back with it.
    ignored(CHAT, "messages[].tool_calls[].index"),
    // Says how many tools are called at a time, and none can be.
    ignored(CHAT, "parallel_tool_calls"),
    // Of vLLM, SGLang and llama.cpp, likewise.
    ignored(BOTH, "request_id"),
    ignored(BOTH, "rid"),
    ignored(BOTH, "priority"),
    ignored(BOTH, "cache_salt"),
    ignored(BOTH, "cache_prompt"),
    ignored(BOTH, "id_slot"),
    // Settings of what is refused below unless it is off.
    ignored(BOTH, "mirostat_tau"),
    ignored(BOTH, "mirostat_eta"),
    ignored(BOTH, "dry_base"),
    ignored(BOTH, "dry_allowed_length"),
    ignored(BOTH, "dry_penalty_last_n"),
    ignored(BOTH, "dry_sequence_breakers"),
    ignored(BOTH, "xtc_threshold"),
    ignored(BOTH, "dynatemp_exponent"),
    //
    // Tools.
    refused(CHAT, "tools", &["[]"], NO_TOOLS),
    refused(CHAT, "tool_choice", &["\"none\"", "\"auto\""], NO_TOOLS),
    refused(CHAT, "functions", &["[]"], NO_TOOLS),
    refused(CHAT, "function_call", &["\"none\"", "\"auto\""], NO_TOOLS),
    refused(CHAT, "web_search_options", &[], NO_TOOLS),
    refused(CHAT, "messages[].function_call", &[], NO_TOOLS),
    // The form of a reply.
    refused(CHAT, "response_format", &["{\"type\":\"text\"}"], NO_GRAMMAR),
    refused(BOTH, "structured_outputs", &[], NO_GRAMMAR),
    refused(BOTH, "guided_*", &[], NO_GRAMMAR),
    refused(BOTH, "grammar", &["\"\""], NO_GRAMMAR),
    refused(BOTH, "json_schema", &[], NO_GRAMMAR),
    refused(BOTH, "regex", &[], NO_GRAMMAR),
    refused(BOTH, "ebnf", &[], NO_GRAMMAR),
    refused(CHAT, "verbosity", &["\"medium\""], NO_GRAMMAR),
    refused(CHAT, "modalities", &["[\"text\"]"], ONLY_TEXT),
    refused(CHAT, "audio", &[], ONLY_TEXT),
    refused(CHAT, "messages[].audio", &[], ONLY_TEXT),
    refused(CHAT, "messages[].content[].*", &[], ONLY_TEXT),
    // How the prompt is made.
    refused(CHAT, "messages[].refusal", &[], "put it into the content"),
    refused(CHAT, "messages[].reasoning_content", &[], "put it into the content"),
    refused(CHAT, "messages[].annotations", &["[]"], LEAVE_OUT),
    refused(CHAT, "chat_template", &[], AS_TEMPLATE),
    refused(CHAT, "chat_template_kwargs", &["{}"], AS_TEMPLATE),
    refused(CHAT, "documents", &["[]"], "put them into a message"),
    refused(CHAT, "add_generation_prompt", &["true"], AS_TEMPLATE),
    refused(CHAT, "continue_final_message", &["false"], AS_TEMPLATE),
    refused(CHAT, "add_special_tokens", &["false"], AS_TEMPLATE),
    refused(COMPLETIONS, "add_special_tokens", &["true"], "send token ids"),
    refused(BOTH, "mm_processor_kwargs", &["{}"], ONLY_TEXT),
    refused(BOTH, "truncate_prompt_tokens", &[], "shorten the prompt"),
    refused(COMPLETIONS, "suffix", &["\"\""], "text cannot be inserted: use the model's own tokens for it in the prompt"),
    refused(COMPLETIONS, "prompt_embeds", &[], "send text or token ids"),
    // How much a model thinks.
    refused(CHAT, "reasoning_effort", &[], "say it in a message, in the words that the model knows"),
    refused(CHAT, "thinking", &[], "say it in a message, in the words that the model knows"),
    refused(CHAT, "thinking_*", &[], "use max_tokens"),
    refused(CHAT, "enable_thinking", &[], "say it in a message, in the words that the model knows"),
    refused(CHAT, "include_reasoning", &["true"], "read the reply's own tags"),
    refused(CHAT, "separate_reasoning", &["false"], "read the reply's own tags"),
    // Where a reply ends.
    refused(BOTH, "min_tokens", &["0"], "use ignore_eos with max_tokens"),
    refused(BOTH, "stop_token_ids", &["[]"], USE_STOP),
    refused(BOTH, "stop_regex", &[], USE_STOP),
    refused(BOTH, "include_stop_str_in_output", &["false"], "append the stop string yourself"),
    refused(BOTH, "no_stop_trim", &["false"], "append the stop string yourself"),
    refused(BOTH, "n_predict", &["-1"], "use max_tokens"),
    refused(BOTH, "t_max_predict_ms", &["0", "-1"], "use max_tokens"),
    // Which tokens.
    refused(BOTH, "bad_words", &["[]"], USE_LOGIT_BIAS),
    refused(BOTH, "allowed_token_ids", &[], USE_LOGIT_BIAS),
    refused(BOTH, "logits_processors", &["[]"], USE_LOGIT_BIAS),
    refused(BOTH, "repeat_penalty", &["1"], "use repetition_penalty"),
    refused(BOTH, "repeat_last_n", &["-1"], "penalties are of the whole reply"),
    refused(BOTH, "penalize_nl", &["true"], "penalties are of every token"),
    refused(BOTH, "no_repeat_ngram_size", &["0"], "use repetition_penalty"),
    refused(BOTH, "dry_multiplier", &["0"], "use repetition_penalty"),
    refused(BOTH, "typical_p", &["1"], OTHER_SAMPLER),
    refused(BOTH, "tfs_z", &["1"], OTHER_SAMPLER),
    refused(BOTH, "top_a", &["0"], OTHER_SAMPLER),
    refused(BOTH, "top_n_sigma", &["-1"], OTHER_SAMPLER),
    refused(BOTH, "min_keep", &["0"], OTHER_SAMPLER),
    refused(BOTH, "mirostat", &["0"], OTHER_SAMPLER),
    refused(BOTH, "mirostat_*", &[], OTHER_SAMPLER),
    refused(BOTH, "dry_*", &[], OTHER_SAMPLER),
    refused(BOTH, "xtc_probability", &["0"], OTHER_SAMPLER),
    refused(BOTH, "xtc_*", &[], OTHER_SAMPLER),
    refused(BOTH, "dynatemp_range", &["0"], OTHER_SAMPLER),
    refused(BOTH, "samplers", &[], OTHER_SAMPLER),
    refused(BOTH, "best_of", &["1"], "use n, and choose by logprobs"),
    refused(BOTH, "use_beam_search", &["false"], "use n, and choose by logprobs"),
    refused(BOTH, "length_penalty", &["1"], "beams are not searched"),
    refused(BOTH, "early_stopping", &["false"], "beams are not searched"),
    refused(CHAT, "prediction", &[], "it would save nothing: leave it out"),
    // What is told.
    refused(BOTH, "echo", &["false"], "put the prompt before the reply yourself"),
    refused(BOTH, "prompt_logprobs", &[], LEAVE_OUT),
    refused(BOTH, "n_probs", &["0"], "use logprobs"),
    refused(BOTH, "skip_special_tokens", &["true"], "use logprobs: they tell every token's bytes"),
    refused(BOTH, "spaces_between_special_tokens", &["true"], LEAVE_OUT),
    refused(BOTH, "return_token_ids", &["false"], "ask for talaria_receipt: the answers have them"),
    refused(BOTH, "return_tokens_as_token_ids", &["false"], "ask for talaria_receipt: the answers have them"),
    refused(BOTH, "stream_options.continuous_usage_stats", &["false"], "use include_usage"),
    // Another model.
    refused(BOTH, "lora*", &[], "ask a service that has the model"),
    refused(BOTH, "vllm_xargs", &["{}"], LEAVE_OUT),
    refused(BOTH, "kv_transfer_params", &["{}"], LEAVE_OUT),
];

/// What is read of a body itself.
#[cfg(test)]
pub(super) fn read_of_body(endpoint: Endpoint) -> std::collections::BTreeSet<&'static str> {
    let rows = PARAMETERS.iter();
    let read = rows.filter(|row| row.fate == Fate::Read && row.endpoints.contains(&endpoint));
    let names = read.map(|row| row.name);
    names.filter(|name| !name.contains(['.', '['])).collect()
}

#[cfg(test)]
mod tests;
