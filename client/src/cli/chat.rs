//! `talaria chat`: a conversation at the terminal.

use std::io::{BufRead, Write};

use clap::Args;
use talaria_wire::channel::message::{Message, Prompt};
use zeroize::Zeroizing;

use super::ask::stream;
use super::sampling::SamplingArgs;
use super::service::{CommandError, ServiceArgs};
use crate::remote::Session;

/// Arguments of `talaria chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub service: ServiceArgs,
    /// What comes before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sampling: SamplingArgs,
}

/// What was said, wiped when forgotten.
struct Turn {
    role: &'static str,
    content: Zeroizing<String>,
}

/// Runs the command; replies go to `out`, all else to `err`.
pub async fn run(
    args: &ChatArgs,
    input: &mut impl BufRead,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), CommandError> {
    let mut session = args.service.connect(err).await?;
    writeln!(
        err,
        "Verified. /reset forgets the conversation, /quit ends."
    )?;
    let mut turns = Vec::new();
    let mut line = Zeroizing::new(String::new());
    loop {
        write!(err, "> ")?;
        err.flush()?;
        line.clear();
        let read = input.read_line(&mut line);
        let read = read.map_err(|e| CommandError::Other(format!("cannot read a line: {e}")))?;
        match line.trim() {
            _ if read == 0 => return Ok(()),
            "" => {}
            "/quit" | "/exit" => return Ok(()),
            "/reset" => turns.clear(),
            said => {
                if !session.is_on() {
                    session = args.service.connect(err).await?;
                }
                turns.push(turn("user", said.into()));
                if let Err(error) = answer(args, &session, &mut turns, out).await {
                    // The conversation goes on from before the question.
                    turns.pop();
                    writeln!(err, "error: {error}")?;
                }
            }
        }
    }
}

async fn answer(
    args: &ChatArgs,
    session: &Session,
    turns: &mut Vec<Turn>,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let prompt = Prompt::Chat(messages(args.system.as_deref(), turns));
    let mut reply = session.request(args.sampling.request(prompt)).await?;
    let streamed = stream(&mut reply, out).await;
    writeln!(out)?;
    let (tokens, _) = streamed?;
    let text = tokens.iter().map(|token| token.text.as_str()).collect();
    turns.push(turn("assistant", text));
    Ok(())
}

fn messages(system: Option<&str>, turns: &[Turn]) -> Vec<Message> {
    let system = system
        .into_iter()
        .map(|system| Message::new("system", system));
    let turns = turns
        .iter()
        .map(|turn| Message::new(turn.role, turn.content.as_str()));
    system.chain(turns).collect()
}

fn turn(role: &'static str, content: String) -> Turn {
    Turn {
        role,
        content: content.into(),
    }
}
