//! Metrics in Prometheus' text format, version 0.0.4. Totals over all clients: nothing of any one.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::Counters;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Only goes up.
#[derive(Default)]
pub struct Total(AtomicU64);

impl Total {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the listener counts.
#[derive(Default)]
pub struct Metrics {
    pub connections: Total,
    pub refused: Total,
    pub evidence: Total,
    pub frames_in: Total,
    pub frames_out: Total,
    pub bytes_in: Total,
    pub bytes_out: Total,
}

impl Metrics {
    pub fn text(&self, cvm: Counters, connected: usize, quarantined: bool) -> String {
        let totals = [
            (
                "connections",
                "Connections that were opened.",
                self.connections.get(),
            ),
            (
                "connections_refused",
                "Connections that were refused.",
                self.refused.get(),
            ),
            (
                "evidence",
                "Pieces of evidence that were made.",
                self.evidence.get(),
            ),
            ("frames_in", "Frames from clients.", self.frames_in.get()),
            ("frames_out", "Frames to clients.", self.frames_out.get()),
            (
                "frame_bytes_in",
                "Bytes of frames from clients.",
                self.bytes_in.get(),
            ),
            (
                "frame_bytes_out",
                "Bytes of frames to clients.",
                self.bytes_out.get(),
            ),
            ("steps", "Batched forward passes.", cvm.steps),
            (
                "projections",
                "Projection calls to GPU hosts.",
                cvm.projections,
            ),
            ("rows", "Rows in projection calls.", cvm.rows),
            (
                "checks",
                "Products that passed the integrity check.",
                cvm.checks,
            ),
            ("gpu_bytes_up", "Bytes sent to GPU hosts.", cvm.bytes_up),
            (
                "gpu_bytes_down",
                "Bytes received from GPU hosts.",
                cvm.bytes_down,
            ),
            ("mask_draws", "Draws of minted masks.", cvm.draws),
            (
                "mask_draws_empty",
                "Draws that waited for minting.",
                cvm.empty_draws,
            ),
        ];
        let mut text = String::new();
        for (name, help, value) in totals {
            describe(&mut text, &format!("{name}_total"), "counter", help, value);
        }
        let connected = connected as u64;
        describe(
            &mut text,
            "connected",
            "gauge",
            "Connections now.",
            connected,
        );
        let help = "1 once a GPU host lied.";
        describe(&mut text, "quarantined", "gauge", help, quarantined.into());
        text
    }
}

fn describe(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    let name = format!("talaria_cvm_{name}");
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
    );
}
