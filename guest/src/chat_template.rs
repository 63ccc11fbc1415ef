//! Conversations to prompts, as the checkpoint's chat template says.
//!
//! A template is Jinja in the dialect of Hugging Face transformers' `apply_chat_template`: `trim_blocks`,
//! `lstrip_blocks`, `raise_exception`, `tojson` as Python writes JSON, `break` and `continue`, the methods of Python's
//! str, dict and list, `%` on texts, `{% generation %}`, and the checkpoint's special tokens as variables. `tools` and
//! `documents` are none.
//!
//! What Jinja2 has and is not there is an error, never another text: `tests/snippets.rs` holds some 1,500 constructs
//! side by side and lists the exceptions (a comparison that Python refuses goes through, `none` can be looped over).
//!
//! `strftime_now` writes the date that the request says, as a payload has no clock. Without one it is not defined: a
//! template that asks whether it is (Llama 3.2) uses its built-in date; one that does not ask is an error.
//!
//! A template comes from the GPU host (though it is part of the model digest), so its work, its depth and
//! its output are bounded. A template made to nest expressions or values many thousands deep still exhausts
//! the stack, which ends the instance: a host can refuse service in simpler ways.

mod arguments;
mod environment;
mod filters;
mod json;
mod methods;
mod objects;
mod order;
mod printf;
mod python;
mod source;
pub mod strftime;

use crate::tokenizer::merged_with_map;
use environment::Raised;
use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Deserialize;
use serde_json::Map;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use talaria_wire::channel::message::{DateTime, Message, ToolCall};
use thiserror::Error;

/// Where newer checkpoints keep the template.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";
/// Where older ones keep it, and all their special tokens.
pub const CONFIG_FILE: &str = "tokenizer_config.json";
/// Special tokens, where [`CONFIG_FILE`] has no `added_tokens_decoder`.
pub const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";
/// Most bytes of each of these files.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// Most bytes of a template: the largest in use have about 32 KiB.
pub const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Most bytes of a conversation, and of a rendered prompt.
pub const MAX_PROMPT_BYTES: usize = crate::tokenizer::MAX_TEXT_BYTES;

const NAME: &str = "chat_template";

/// Why a conversation could not be rendered. Goes to the client alone: a template may quote the messages.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChatTemplateError {
    /// A file that is not what it should be.
    #[error("{file} is broken, download or save it again: {reason}")]
    BrokenFile {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Something with too many bytes.
    #[error("the {what} has {found} bytes, at most {most} are possible")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its bytes.
        found: usize,
        /// What is possible.
        most: usize,
    },
    /// Several templates, and none of them for conversations.
    #[error("{CONFIG_FILE} has the chat templates {names:?}, but none named \"default\"")]
    NoDefault {
        /// What they are called.
        names: Vec<String>,
    },
    /// The template is no Jinja, or Jinja that is not supported.
    #[error("the chat template cannot be parsed: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// A conversation without a message.
    #[error("the conversation is empty: give at least one message")]
    NoMessages,
    /// The template refused the conversation with `raise_exception`.
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// In the template's words.
        message: String,
    },
    /// The template wants the date.
    #[error(
        "the chat template calls strftime_now, but the request says no date, and the payload has no clock: send one"
    )]
    NoDate,
    /// The template does not come to an end, or too late.
    #[error("the chat template takes too many steps for this conversation: shorten it")]
    TooManySteps,
    /// The prompt got longer than [`MAX_PROMPT_BYTES`].
    #[error("the rendered prompt has more than {MAX_PROMPT_BYTES} bytes: shorten the conversation")]
    PromptTooLong,
    /// Something else went wrong.
    #[error("the chat template failed: {reason}")]
    Render {
        /// What the template engine says.
        reason: String,
    },
}

/// A checkpoint's chat template, parsed.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token`, `eos_token`, ...
    special_tokens: Value,
}

impl ChatTemplate {
    /// From the files of a checkpoint, by name: `chat_template.jinja`, else `chat_template` in
    /// `tokenizer_config.json`, which is a template or a list of named ones with a "default". None if there is neither.
    ///
    /// # Errors
    /// A file is broken or too large, or the template cannot be parsed.
    pub fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Option<ChatTemplate>, ChatTemplateError> {
        let config = json_object(files, CONFIG_FILE)?;
        let source = match text_file(files, TEMPLATE_FILE)? {
            Some(template) => template.to_owned(),
            None => match config.get("chat_template") {
                None | Some(serde_json::Value::Null) => return Ok(None),
                Some(entry) => default_template(entry)?,
            },
        };
        bounded("chat template", source.len(), MAX_TEMPLATE_BYTES)?;
        let mut environment = environment::hugging_face();
        let source =
            source::prepared(&source).map_err(|reason| ChatTemplateError::Syntax { reason })?;
        environment
            .add_template_owned(NAME, source)
            .map_err(syntax)?;
        let special_tokens = special_tokens(&config, &json_object(files, SPECIAL_TOKENS_FILE)?)?;
        Ok(Some(ChatTemplate {
            environment,
            special_tokens,
        }))
    }

    /// The prompt for a conversation. `add_generation_prompt`: also begin the reply. `now`: what `strftime_now` writes.
    ///
    /// A message without content is one with `none` for the template, by which some know that there are only calls; a
    /// template that fails on that (it adds the content to a text without a look) gets an empty text.
    ///
    /// # Errors
    /// The template refuses the conversation, fails, or one of its bounds is reached.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        now: Option<DateTime>,
    ) -> Result<String, ChatTemplateError> {
        if messages.is_empty() {
            return Err(ChatTemplateError::NoMessages);
        }
        let bytes = messages.iter().map(Message::text_bytes).sum();
        bounded("conversation", bytes, MAX_PROMPT_BYTES)?;
        let clock = match now {
            Some(now) => context! { strftime_now => strftime::function(now) },
            None => context! {},
        };
        let render = |no_content: &Value| {
            let messages = messages.iter().map(|m| as_in_python(m, no_content));
            self.render_with(context! {
                messages => messages.collect::<Value>(),
                add_generation_prompt => add_generation_prompt,
                tools => (),
                documents => (),
                ..clock.clone()
            })
        };
        match render(&Value::from(())) {
            Err(ChatTemplateError::Render { .. })
                if messages.iter().any(|m| m.content.is_none()) =>
            {
                render(&Value::from(""))
            }
            rendered => rendered,
        }
    }

    /// With all variables but the special tokens given.
    fn render_with(&self, variables: Value) -> Result<String, ChatTemplateError> {
        let template = self.environment.get_template(NAME).map_err(syntax)?;
        let mut prompt = Bounded::default();
        template
            .render_captured_to(
                context! { ..variables, ..self.special_tokens.clone() },
                &mut prompt,
            )
            .map_err(|e| failure(&e, prompt.full))?;
        String::from_utf8(prompt.bytes).map_err(|e| ChatTemplateError::Render {
            reason: e.to_string(),
        })
    }
}

/// A message as transformers hands it to a template: a dict of what is there, `arguments` a dict too.
fn as_in_python(message: &Message, no_content: &Value) -> Value {
    let mut pairs = vec![
        ("role", Value::from(&*message.role)),
        (
            "content",
            message
                .content
                .as_deref()
                .map_or(no_content.clone(), Value::from),
        ),
    ];
    for (key, text) in [
        ("name", &message.name),
        ("tool_call_id", &message.tool_call_id),
    ] {
        pairs.extend(text.as_deref().map(|text| (key, Value::from(text))));
    }
    if !message.tool_calls.is_empty() {
        pairs.push((
            "tool_calls",
            message.tool_calls.iter().map(call_as_in_python).collect(),
        ));
    }
    Value::from_pairs(pairs)
}

/// What is no JSON object stays the text that the model wrote.
fn call_as_in_python(call: &ToolCall) -> Value {
    let object = serde_json::from_str(&call.arguments).ok();
    let arguments = object
        .filter(|value: &Value| value.kind() == ValueKind::Map)
        .unwrap_or_else(|| Value::from(&*call.arguments));
    let function = [("name", Value::from(&*call.name)), ("arguments", arguments)];
    Value::from_pairs([
        ("id", Value::from(&*call.id)),
        ("type", Value::from("function")),
        ("function", Value::from_pairs(function)),
    ])
}

/// Takes at most [`MAX_PROMPT_BYTES`].
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.full |= bytes.len() > MAX_PROMPT_BYTES - self.bytes.len();
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn syntax(e: minijinja::Error) -> ChatTemplateError {
    ChatTemplateError::Syntax {
        reason: e.to_string(),
    }
}

fn failure(e: &minijinja::Error, prompt_full: bool) -> ChatTemplateError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(e);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return ChatTemplateError::Refused {
                message: message.clone(),
            };
        }
        cause = error.source();
    }
    let asks_for = |function: &str| e.detail().is_some_and(|detail| detail.contains(function));
    match e.kind() {
        _ if prompt_full => ChatTemplateError::PromptTooLong,
        ErrorKind::OutOfFuel => ChatTemplateError::TooManySteps,
        ErrorKind::UnknownFunction if asks_for("strftime_now") => ChatTemplateError::NoDate,
        _ => ChatTemplateError::Render {
            reason: e.to_string(),
        },
    }
}

fn bounded(what: &'static str, found: usize, most: usize) -> Result<(), ChatTemplateError> {
    match found <= most {
        true => Ok(()),
        false => Err(ChatTemplateError::TooLarge { what, found, most }),
    }
}

fn text_file<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    file: &'static str,
) -> Result<Option<&'a str>, ChatTemplateError> {
    let Some(bytes) = files.get(file) else {
        return Ok(None);
    };
    bounded(file, bytes.len(), MAX_FILE_BYTES)?;
    let text = std::str::from_utf8(bytes);
    text.map(Some).map_err(|e| ChatTemplateError::BrokenFile {
        file,
        reason: e.to_string(),
    })
}

/// An empty object if there is no such file.
fn json_object(
    files: &BTreeMap<String, Vec<u8>>,
    file: &'static str,
) -> Result<Map<String, serde_json::Value>, ChatTemplateError> {
    let Some(text) = text_file(files, file)? else {
        return Ok(Map::new());
    };
    serde_json::from_str(text).map_err(|e| ChatTemplateError::BrokenFile {
        file,
        reason: e.to_string(),
    })
}

/// `chat_template` of `tokenizer_config.json`.
fn default_template(entry: &serde_json::Value) -> Result<String, ChatTemplateError> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
        template: String,
    }
    if let Some(template) = entry.as_str() {
        return Ok(template.to_owned());
    }
    let templates: Vec<Named> = serde_json::from_value(entry.clone()).map_err(|e| {
        let reason = format!("chat_template is neither a text nor a list of named ones: {e}");
        ChatTemplateError::BrokenFile {
            file: CONFIG_FILE,
            reason,
        }
    })?;
    let names = templates.iter().map(|named| named.name.clone()).collect();
    let default = templates.into_iter().find(|named| named.name == "default");
    default
        .map(|named| named.template)
        .ok_or(ChatTemplateError::NoDefault { names })
}

/// The variables that a template can use for special tokens: those with a name, as transformers merges both files.
fn special_tokens(
    config: &Map<String, serde_json::Value>,
    map: &Map<String, serde_json::Value>,
) -> Result<Value, ChatTemplateError> {
    let mut tokens = merged_with_map(config, map);
    if let Some(serde_json::Value::Object(more)) = tokens.remove("extra_special_tokens") {
        tokens.extend(more);
    }
    let tokens: Map<_, _> = tokens
        .into_iter()
        .filter(|(name, _)| name.ends_with("_token"))
        .filter_map(|(name, token)| Some((name, token_content(&token)?)))
        .collect();
    Value::deserialize(serde_json::Value::Object(tokens)).map_err(|e| {
        ChatTemplateError::BrokenFile {
            file: CONFIG_FILE,
            reason: e.to_string(),
        }
    })
}

/// A token is its content or an object with it.
fn token_content(token: &serde_json::Value) -> Option<serde_json::Value> {
    use serde_json::Value;
    match token {
        Value::String(_) => Some(token.clone()),
        Value::Object(fields) => fields.get("content").filter(|c| c.is_string()).cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
