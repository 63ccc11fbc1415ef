//! `talaria ask`: one question, and the reply as it comes.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use talaria_program::values::not_empty;
use talaria_wire::channel::message::{Event, Message, Prompt};

use super::input::{InputError, write_private};
use super::sampling::SamplingArgs;
use super::service::{CommandError, ServiceArgs};
use crate::answer::{Answer, SavedToken};
use crate::remote::Reply;

/// Longest prompt read from standard input, in bytes: about what a request can carry.
const MAX_PROMPT_BYTES: u64 = 4 << 20;

/// Arguments of `talaria ask`.
#[derive(Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub service: ServiceArgs,
    /// The question; `-`: from standard input.
    #[arg(value_name = "PROMPT", value_parser = not_empty)]
    pub prompt: String,
    /// What comes before the conversation.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// Continue the prompt as it is, without the model's chat template.
    #[arg(long, conflicts_with = "date")]
    pub raw: bool,
    /// Ask for a receipt, and keep request, reply, receipt and evidence in a file.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sampling: SamplingArgs,
}

/// Runs the command; the reply goes to `out`, all else to `err`.
pub async fn run(
    args: &AskArgs,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), CommandError> {
    if let Some(path) = args.save.as_deref().filter(|path| path.exists()) {
        return Err(exists(path).into());
    }
    let prompt = prompt(args)?;
    let session = args.service.connect(err).await?;
    let mut request = args.sampling.request(prompt);
    request.receipt = args.save.is_some();
    // What is kept can be replayed, and compared to the last bit.
    request.logits_digest = args.save.is_some();
    let kept = args.save.as_ref().map(|_| request.clone());
    let mut reply = session.request(request).await?;
    let (tokens, finished) = stream(&mut reply, out).await?;
    writeln!(out)?;
    if let (Some(path), Some(kept)) = (&args.save, kept) {
        let evidence = (**session.evidence()).clone();
        let answer = Answer::new(kept, tokens, &finished, evidence)?;
        save(path, &answer)?;
    }
    Ok(())
}

fn prompt(args: &AskArgs) -> Result<Prompt, CommandError> {
    let mut text = args.prompt.clone();
    if text == "-" {
        text.clear();
        let input = std::io::stdin().lock().take(MAX_PROMPT_BYTES);
        { input }
            .read_to_string(&mut text)
            .map_err(|e| CommandError::Other(format!("cannot read the prompt: {e}")))?;
    }
    if args.raw {
        return Ok(Prompt::Text(text));
    }
    let system = args
        .system
        .iter()
        .map(|system| Message::new("system", system));
    Ok(Prompt::Chat(
        system.chain([Message::new("user", &text)]).collect(),
    ))
}

/// Writes a reply as it comes. Its tokens, and the event that ended it.
pub(super) async fn stream(
    reply: &mut Reply,
    out: &mut impl Write,
) -> Result<(Vec<SavedToken>, Event), CommandError> {
    // A model may be talked into sequences that command a terminal. A file gets what the model said.
    let to_terminal = std::io::stdout().is_terminal();
    let mut tokens = Vec::new();
    loop {
        match reply.next().await? {
            Some(Event::Token { id, text, .. }) => {
                match to_terminal {
                    true => write!(out, "{}", harmless(&text))?,
                    false => write!(out, "{text}")?,
                }
                out.flush()?;
                tokens.push(SavedToken { id, text });
            }
            Some(Event::Failed { failure, message }) => {
                let message = crate::remote::printable(&message);
                return Err(CommandError::Failed(failure, message));
            }
            Some(finished) => return Ok((tokens, finished)),
            None => return Err(CommandError::Other("the reply was read before".into())),
        }
    }
}

fn harmless(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(harmless).collect()
}

fn save(path: &Path, answer: &Answer) -> Result<(), InputError> {
    write_private(path, &answer.to_json(), false).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => InputError::Write(path.into(), e),
    })
}

fn exists(path: &Path) -> InputError {
    InputError::Exists(path.into(), "choose another name for --save")
}
