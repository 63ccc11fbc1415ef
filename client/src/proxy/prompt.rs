//! What a request says: prompts and conversations in their many forms.

use serde_json::Value;
use talaria_wire::channel::message::{
    MAX_CHAT_MESSAGES, MAX_TOOL_CALLS, Message, Prompt, ToolCall,
};

use super::error::ApiError;
use super::fields::{Fields, wrong};

/// `messages` of a chat.
pub(super) fn messages(fields: &mut Fields) -> Result<Prompt, ApiError> {
    let messages = fields.require("messages")?;
    let expected = format!("a list of 1 to {MAX_CHAT_MESSAGES} messages");
    let wrong = |code| wrong("messages", &expected, &messages).code(code);
    match &messages {
        Value::Array(items) if items.is_empty() => return Err(wrong("empty_array")),
        Value::Array(items) if items.len() <= MAX_CHAT_MESSAGES => {}
        Value::Array(_) => return Err(wrong("array_above_max_length")),
        _ => return Err(wrong("invalid_type")),
    }
    let messages = fields.list("messages", messages)?.into_iter();
    let messages = messages.map(message);
    Ok(Prompt::Chat(messages.collect::<Result<_, _>>()?))
}

fn message(mut fields: Fields) -> Result<Message, ApiError> {
    let mut role = fields.require_text("role")?;
    if role == "developer" {
        // What OpenAI calls the system message of newer models.
        role = "system".into();
    }
    let tool_calls = tool_calls(&mut fields)?;
    // As at OpenAI: an assistant that calls tools may say nothing besides.
    let content = match fields.take("content") {
        None if tool_calls.is_empty() => Err(fields.missing("content")),
        None => Ok(None),
        Some(Value::String(content)) => Ok(Some(content)),
        Some(parts @ Value::Array(_)) => {
            let parts = fields.list("content", parts)?.into_iter().map(part);
            parts.collect::<Result<_, _>>().map(Some)
        }
        Some(other) => {
            let expected = "a string or a list of text parts";
            Err(wrong(&fields.at("content"), expected, &other).code("invalid_type"))
        }
    }?;
    let message = Message {
        role,
        content,
        name: fields.text("name")?,
        tool_calls,
        tool_call_id: fields.text("tool_call_id")?,
    };
    fields.finish().map(|()| message)
}

/// What an assistant called.
fn tool_calls(fields: &mut Fields) -> Result<Vec<ToolCall>, ApiError> {
    let Some(calls) = fields.take("tool_calls") else {
        return Ok(Vec::new());
    };
    if calls.as_array().is_some_and(|c| c.len() > MAX_TOOL_CALLS) {
        let expected = format!("a list of at most {MAX_TOOL_CALLS} calls");
        let error = wrong(&fields.at("tool_calls"), &expected, &calls);
        return Err(error.code("array_above_max_length"));
    }
    let calls = fields.list("tool_calls", calls)?.into_iter();
    calls.map(tool_call).collect()
}

fn tool_call(mut fields: Fields) -> Result<ToolCall, ApiError> {
    match fields.text("type")?.as_deref() {
        Some("function") => {}
        _ => {
            let message = "Invalid value: only calls of type \"function\" are possible here.";
            return Err(ApiError::param(&fields.at("type"), message).code("invalid_value"));
        }
    }
    let Some(mut function) = fields.object("function")? else {
        return Err(fields.missing("function"));
    };
    let call = ToolCall {
        id: fields.require_text("id")?,
        name: function.require_text("name")?,
        arguments: function.require_text("arguments")?,
    };
    function.finish()?;
    fields.finish().map(|()| call)
}

fn part(mut fields: Fields) -> Result<String, ApiError> {
    match fields.text("type")?.as_deref() {
        Some("text") => {}
        _ => {
            let message = "Invalid value: only parts of type \"text\" are possible here.";
            return Err(ApiError::param(&fields.at("type"), message).code("invalid_value"));
        }
    }
    let text = fields.require_text("text")?;
    fields.finish().map(|()| text)
}

/// `prompt` of a completion: a text, several, token ids, or several lists of them.
pub(super) fn prompts(fields: &mut Fields, most: usize) -> Result<Vec<Prompt>, ApiError> {
    let expected = "a string, a list of strings, a list of token ids, or a list of such lists";
    let found = fields.require("prompt")?;
    let prompts = match &found {
        Value::String(text) => Some(vec![Prompt::Text(text.clone())]),
        Value::Array(items) => match items.first() {
            None => return Err(wrong("prompt", expected, &found).code("empty_array")),
            Some(Value::Number(_)) => ids(items).map(|ids| vec![ids]),
            Some(_) if items.len() > most => {
                let expected = format!("at most {most} prompts at a time");
                let error = wrong("prompt", &expected, &found);
                return Err(error.code("array_above_max_length"));
            }
            Some(_) => items.iter().map(prompt).collect(),
        },
        _ => None,
    };
    prompts.ok_or_else(|| wrong("prompt", expected, &found).code("invalid_type"))
}

fn prompt(value: &Value) -> Option<Prompt> {
    match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        Value::Array(items) if !items.is_empty() => ids(items),
        _ => None,
    }
}

fn ids(items: &[Value]) -> Option<Prompt> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    Some(Prompt::Ids(items.iter().map(id).collect::<Option<_>>()?))
}
