//! Tables and JSON of a benchmark.

use std::fmt::Write as _;

use console::Style;
use serde::Serialize;
use talaria_host_cvm::Masking;
use talaria_host_gpu::weights::Model;

use super::Machines;
use super::measure::Measured;
use super::rates::Rates;
use super::split::Split;
use crate::cli::BenchArgs;
use crate::error::LocalError;
use crate::output;
use crate::table::{self, Align, Table};

/// What was measured, and on what.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What was run.
    pub model: String,
    /// Weights of all matrices.
    pub parameters: u64,
    /// Integer format.
    pub weights: &'static str,
    /// Device of each host.
    pub backend: String,
    /// CPU threads of each host.
    pub threads_per_host: usize,
    /// Engine instances.
    pub engines: usize,
    /// Prompt tokens of each session.
    pub prompt_tokens: u32,
    /// Generated tokens of each session.
    pub new_tokens: u32,
    /// Runs, of which the median is told.
    pub repeats: u32,
    /// Plaintext first.
    pub runs: Vec<Run>,
}

/// One masking with one number of sessions.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    masking: &'static str,
    sessions: usize,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    /// Time of plaintext is 1.
    prefill_cost: Option<f64>,
    decode_cost: Option<f64>,
    decode_step: Split,
}

impl Report {
    /// A report without runs.
    pub(super) fn new(
        model: String,
        machines: &Machines,
        args: &BenchArgs,
        engines: usize,
    ) -> Result<Self, LocalError> {
        let Model {
            manifest, backend, ..
        } = machines.model()?;
        Ok(Self {
            model,
            parameters: manifest.projections.iter().map(|p| p.plane_bytes()).sum(),
            weights: manifest.weights.name(),
            backend: backend.describe(),
            threads_per_host: machines.threads_per_host,
            engines,
            prompt_tokens: args.prompt_tokens,
            new_tokens: args.new_tokens,
            repeats: args.repeats,
            runs: Vec::new(),
        })
    }

    /// Adds a run; its costs relate to the plaintext run with as many sessions.
    pub(super) fn add(&mut self, masking: Masking, sessions: usize, measured: Measured) {
        let Rates { prefill, decode } = measured.rates;
        let plain = Masking::DangerousPlaintext.name();
        let base = self
            .runs
            .iter()
            .find(|run| run.masking == plain && run.sessions == sessions);
        let run = Run {
            masking: masking.name(),
            sessions,
            prefill_tokens_per_second: prefill,
            decode_tokens_per_second: decode,
            prefill_cost: base.map(|base| base.prefill_tokens_per_second / prefill),
            decode_cost: base.map(|base| base.decode_tokens_per_second / decode),
            decode_step: measured.split,
        };
        self.runs.push(run);
    }

    /// Writes tables or JSON to standard output.
    pub(super) fn print(&self, json: bool) -> Result<(), LocalError> {
        if json {
            output::print_json(self)
        } else {
            output::print(&self.tables(table::terminal_width()))
        }
    }

    fn tables(&self, width: usize) -> String {
        let bold = Style::new().bold();
        let mut out = table::list(self.facts(), width);
        let _ = write!(out, "\n{}\n", self.rates_table().render(&bold));
        let _ = writeln!(out, "{}", self.split_table().render(&bold));
        let _ = writeln!(out, "{}", table::wrap(NOTE, width).join("\n"));
        out
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let parameters = table::thousands(self.parameters);
        vec![
            (
                "model",
                format!("{}, {parameters} weights, {}", self.model, self.weights),
            ),
            ("each host", self.backend.clone()),
            (
                "each session",
                format!(
                    "{} prompt, {} new tokens",
                    self.prompt_tokens, self.new_tokens
                ),
            ),
            ("engines", self.engines.to_string()),
        ]
    }

    fn rates_table(&self) -> Table {
        let columns = ["sessions", "prefill/s", "cost", "decode/s", "cost"];
        let columns = columns.map(|name| (name, Align::Right));
        let mut table = Table::new([("masking", Align::Left)].into_iter().chain(columns));
        for run in &self.runs {
            table.row([
                short(run.masking).to_owned(),
                run.sessions.to_string(),
                format!("{:.1}", run.prefill_tokens_per_second),
                cost(run.prefill_cost),
                format!("{:.1}", run.decode_tokens_per_second),
                cost(run.decode_cost),
            ]);
        }
        table
    }

    fn split_table(&self) -> Table {
        let columns = [
            "sess.", "struct", "mask", "wire", "GPU", "check", "unmask", "step", "trip us",
        ];
        let columns = columns.map(|name| (name, Align::Right));
        let mut table = Table::new([("ms a step", Align::Left)].into_iter().chain(columns));
        for run in &self.runs {
            let split = &run.decode_step;
            let parts = [
                split.structural_ms,
                split.mask_ms,
                split.wire_ms,
                split.gpu_ms,
                split.check_ms,
                split.unmask_ms,
                split.step_ms,
            ];
            let mut cells = vec![short(run.masking).to_owned(), run.sessions.to_string()];
            cells.extend(parts.map(|ms| format!("{ms:.2}")));
            cells.push(format!("{:.0}", split.wire_us));
            table.row(cells);
        }
        table
    }
}

const NOTE: &str = "cost: time relative to plaintext with as many sessions. step: one decode step by the \
    clock; its parts are the mean over all steps. trip: waiting for one projection less the host's \
    computation. Each host has weights and threads of its own, so that the cost is that of masking \
    where hosts are machines of their own.";

fn cost(ratio: Option<f64>) -> String {
    ratio.map_or(String::new(), |ratio| format!("{ratio:.2}x"))
}

/// Fits a column.
fn short(masking: &'static str) -> &'static str {
    masking.strip_prefix("dangerous-").unwrap_or(masking)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split() -> Split {
        Split {
            structural_ms: 123.0,
            mask_ms: 1.0,
            wire_ms: 12.0,
            gpu_ms: 1234.0,
            check_ms: 1.0,
            unmask_ms: 1.0,
            step_ms: 1400.0,
            round_trip_us: 1000.0,
            wire_us: 150.0,
        }
    }

    fn report() -> Report {
        let mut report = Report {
            model: "demo".into(),
            parameters: 1_000_000,
            weights: "int16",
            backend: "CPU, AVX2, 1 threads".into(),
            threads_per_host: 1,
            engines: 1,
            prompt_tokens: 64,
            new_tokens: 32,
            repeats: 3,
            runs: Vec::new(),
        };
        for (masking, decode) in [(Masking::DangerousPlaintext, 30.0), (Masking::Shares, 24.0)] {
            let rates = Rates {
                prefill: 12_345.6,
                decode,
            };
            report.add(
                masking,
                16,
                Measured {
                    rates,
                    split: split(),
                },
            );
        }
        report
    }

    #[test]
    fn costs_relate_to_plaintext() {
        let report = report();
        assert_eq!(report.runs[0].decode_cost, None);
        assert_eq!(report.runs[1].decode_cost, Some(1.25));
        assert_eq!(report.runs[1].prefill_cost, Some(1.0));
    }

    #[test]
    fn tables_fit_eighty_columns() {
        let text = report().tables(80);
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{longest:?}\n{text}");
        assert!(text.contains("1.25x"), "{text}");
    }
}
