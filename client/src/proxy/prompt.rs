//! What a request says: prompts and conversations in their many forms.

use serde_json::Value;
use talaria_wire::channel::message::{MAX_CHAT_MESSAGES, Message, Prompt};

use super::error::ApiError;

/// `messages` of a chat.
pub fn messages(value: Option<Value>) -> Result<Prompt, ApiError> {
    let wrong = |message: String| ApiError::param("messages", message);
    let Some(Value::Array(messages)) = value else {
        return Err(wrong("messages must be a list of messages".into()));
    };
    if messages.is_empty() || messages.len() > MAX_CHAT_MESSAGES {
        let message = format!("messages must be 1 to {MAX_CHAT_MESSAGES} messages");
        return Err(wrong(message));
    }
    let messages = messages.into_iter().enumerate();
    let messages =
        messages.map(|(i, value)| message(value).map_err(|e| wrong(format!("messages[{i}]: {e}"))));
    Ok(Prompt::Chat(messages.collect::<Result<_, _>>()?))
}

fn message(value: Value) -> Result<Message, String> {
    let Value::Object(mut fields) = value else {
        return Err("must be an object with role and content".into());
    };
    let is_some =
        |value: Option<&Value>| value.is_some_and(|v| !v.is_null() && v != &Value::Array(vec![]));
    if is_some(fields.get("tool_calls")) || is_some(fields.get("function_call")) {
        return Err("calls of tools are not possible here".into());
    }
    let role = match fields.remove("role") {
        // What OpenAI calls the system message of newer models.
        Some(Value::String(role)) if role == "developer" => "system".into(),
        Some(Value::String(role)) => role,
        _ => return Err("role must be a string".into()),
    };
    let content = match fields.remove("content") {
        Some(Value::String(content)) => content,
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<_, _>>()?,
        _ => return Err("content must be a string or a list of text parts".into()),
    };
    Ok(Message { role, content })
}

fn part(part: &Value) -> Result<&str, String> {
    match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text),
        (Some("text"), None) => Err("a text part needs a text".into()),
        (Some(other), _) => Err(format!(
            "content of type {other:?} is not possible, only text is"
        )),
        (None, _) => Err("a part of content needs a type".into()),
    }
}

/// `prompt` of a completion: a text, several, token ids, or several lists of them.
pub fn prompts(value: Option<Value>, most: usize) -> Result<Vec<Prompt>, ApiError> {
    let wrong = || {
        let forms = "a string, a list of strings, a list of token ids, or a list of such lists";
        ApiError::param("prompt", format!("prompt must be {forms}, and not empty"))
    };
    let prompts = match value {
        Some(Value::String(text)) => vec![Prompt::Text(text)],
        Some(Value::Array(items)) => match items.first() {
            Some(Value::Number(_)) => vec![ids(&items).ok_or_else(wrong)?],
            _ => {
                let prompts = items.into_iter().map(prompt);
                prompts.collect::<Option<_>>().ok_or_else(wrong)?
            }
        },
        _ => return Err(wrong()),
    };
    match prompts.len() {
        0 => Err(wrong()),
        n if n > most => {
            let message = format!("{n} prompts, at most {most} are possible at a time");
            Err(ApiError::param("prompt", message))
        }
        _ => Ok(prompts),
    }
}

fn prompt(value: Value) -> Option<Prompt> {
    match value {
        Value::String(text) => Some(Prompt::Text(text)),
        Value::Array(items) if !items.is_empty() => ids(&items),
        _ => None,
    }
}

fn ids(items: &[Value]) -> Option<Prompt> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    Some(Prompt::Ids(items.iter().map(id).collect::<Option<_>>()?))
}
