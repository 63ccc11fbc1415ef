//! Metrics for Prometheus. Totals over all clients: nothing of any one.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::payload::Counters;

/// Of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the listener counts.
#[derive(Default)]
pub(super) struct Metrics {
    pub connections: Counter,
    pub refused: Counter,
    pub evidence: Counter,
    pub frames_in: Counter,
    pub frames_out: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
}

impl Metrics {
    /// All of it as it is now, in the text format of OpenMetrics.
    pub(super) fn text(
        &self,
        cvm: Counters,
        connected: usize,
        quarantined: bool,
        hosts: &[bool],
    ) -> String {
        let mut metrics = Registry::with_prefix("talaria_cvm");
        for (name, help, total) in [
            (
                "connections",
                "Connections that were opened",
                self.connections.get(),
            ),
            (
                "connections_refused",
                "Connections that were refused",
                self.refused.get(),
            ),
            (
                "evidence",
                "Pieces of evidence that were made",
                self.evidence.get(),
            ),
            ("frames_in", "Frames from clients", self.frames_in.get()),
            ("frames_out", "Frames to clients", self.frames_out.get()),
            (
                "frame_bytes_in",
                "Bytes of frames from clients",
                self.bytes_in.get(),
            ),
            (
                "frame_bytes_out",
                "Bytes of frames to clients",
                self.bytes_out.get(),
            ),
            ("steps", "Batched forward passes", cvm.steps),
            (
                "projections",
                "Projection calls to GPU hosts",
                cvm.projections,
            ),
            ("rows", "Rows in projection calls", cvm.rows),
            (
                "checks",
                "Products that passed the integrity check",
                cvm.checks,
            ),
            ("gpu_bytes_up", "Bytes sent to GPU hosts", cvm.bytes_up),
            (
                "gpu_bytes_down",
                "Bytes received from GPU hosts",
                cvm.bytes_down,
            ),
            ("mask_draws", "Draws of minted masks", cvm.draws),
            (
                "mask_draws_empty",
                "Draws that waited for minting",
                cvm.empty_draws,
            ),
        ] {
            metrics.register(name, help, ConstCounter::new(total));
        }
        for (name, help, value) in [
            ("connected", "Connections now", connected as i64),
            ("quarantined", "1 once a GPU host lied", quarantined.into()),
        ] {
            metrics.register(name, help, ConstGauge::new(value));
        }
        let up = Family::<[(&str, String); 1], Gauge>::default();
        for (index, there) in (1..).zip(hosts) {
            let host = [("host", usize::to_string(&index))];
            up.get_or_create(&host).set((*there).into());
        }
        metrics.register("gpu_host_up", "1 while a GPU host answers", up);
        let mut text = String::new();
        encode(&mut text, &metrics).expect("a string takes all");
        text
    }
}
