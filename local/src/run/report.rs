//! What a run came to: the object of `--json`, and a line for people.

use std::time::Duration;

use serde::Serialize;
use talaria_host_cvm::{Counters, Masking, Summary};

use crate::generate::Outcome;
use crate::table;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    prompt_ids: Vec<u32>,
    token_ids: Vec<u32>,
    text: String,
    finish_reason: &'static str,
    logits_digest: Option<String>,
    payload_sha256: String,
    model_digest: String,
    masking: &'static str,
    backend: &'static str,
    weights: &'static str,
    counters: Traffic,
    seconds: Seconds,
}

#[derive(Debug, Serialize)]
struct Traffic {
    projections: u64,
    rows: u64,
    bytes_up: u64,
    bytes_down: u64,
    checks: u64,
}

#[derive(Debug, Serialize)]
struct Seconds {
    setup: f64,
    prefill: f64,
    decode: f64,
}

/// What there is to tell.
pub(super) struct Run {
    /// The reply.
    pub outcome: Outcome,
    /// What it took.
    pub counters: Counters,
    /// From the start of the program to a CVM that answers.
    pub setup: Duration,
    /// How rows were hidden.
    pub masking: Masking,
    /// Name of the backend.
    pub backend: &'static str,
}

impl Report {
    pub(super) fn new(summary: &Summary, run: Run) -> Self {
        let Run {
            outcome,
            counters,
            setup,
            backend,
            masking,
        } = run;
        let (prefill, decode) = (outcome.prefill(), outcome.decode());
        Self {
            prompt_ids: outcome.prompt_ids,
            token_ids: outcome.token_ids,
            text: outcome.text,
            finish_reason: outcome.finish_reason.name(),
            logits_digest: outcome.logits_digest.map(hex::encode),
            payload_sha256: hex::encode(summary.payload_sha256),
            model_digest: hex::encode(summary.model_digest),
            masking: masking.name(),
            backend,
            weights: summary.weights.name(),
            counters: Traffic {
                projections: counters.projections,
                rows: counters.rows,
                bytes_up: counters.bytes_up,
                bytes_down: counters.bytes_down,
                checks: counters.checks,
            },
            seconds: Seconds {
                setup: setup.as_secs_f64(),
                prefill: prefill.as_secs_f64(),
                decode: decode.as_secs_f64(),
            },
        }
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let Traffic {
            projections,
            bytes_up,
            bytes_down,
            checks,
            ..
        } = self.counters;
        let tokens = self.token_ids.len();
        let rate = match (tokens, self.seconds.decode) {
            (2.., decode) if decode > 0.0 => format!(", {:.1}/s", (tokens - 1) as f64 / decode),
            _ => String::new(),
        };
        format!(
            "[{} prompt tokens in {:.2} s, {tokens} tokens{rate}, set-up {:.2} s; {} projections \
             masked by {}, {} up, {} down, {} checks passed]",
            self.prompt_ids.len(),
            self.seconds.prefill,
            self.seconds.setup,
            table::thousands(projections),
            self.masking,
            table::bytes(bytes_up),
            table::bytes(bytes_down),
            table::thousands(checks),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_documented_keys() {
        let report = Report {
            prompt_ids: vec![1],
            token_ids: vec![2, 3, 4],
            text: "hi".into(),
            finish_reason: "stop",
            logits_digest: None,
            payload_sha256: "aa".into(),
            model_digest: "bb".into(),
            masking: "shares",
            backend: "cpu",
            weights: "int16",
            counters: Traffic {
                projections: 18,
                rows: 18,
                bytes_up: 1,
                bytes_down: 2,
                checks: 18,
            },
            seconds: Seconds {
                setup: 1.0,
                prefill: 0.5,
                decode: 0.25,
            },
        };
        let json = serde_json::to_string(&report).unwrap();
        let expected = concat!(
            r#"{"prompt_ids":[1],"token_ids":[2,3,4],"text":"hi","finish_reason":"stop","#,
            r#""logits_digest":null,"payload_sha256":"aa","model_digest":"bb","masking":"shares","#,
            r#""backend":"cpu","weights":"int16","counters":{"projections":18,"rows":18,"#,
            r#""bytes_up":1,"bytes_down":2,"checks":18},"#,
            r#""seconds":{"setup":1.0,"prefill":0.5,"decode":0.25}}"#
        );
        assert_eq!(json, expected);
        assert!(
            report.line().contains("3 tokens, 8.0/s"),
            "{}",
            report.line()
        );
    }
}
