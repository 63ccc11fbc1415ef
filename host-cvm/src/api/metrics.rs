//! Metrics for Prometheus. Totals over all clients: nothing of any one.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::cvm::Cvm;

/// Of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label of what is of one GPU host.
type Host = [(&'static str, String); 1];

/// What the listener counts.
#[derive(Default)]
pub(super) struct Metrics {
    pub connections: Counter,
    pub refused: Family<[(&'static str, &'static str); 1], Counter>,
    pub evidence: Counter,
    pub frames_in: Counter,
    pub frames_out: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
}

impl Metrics {
    /// A client, or its connection, was refused.
    pub(super) fn refuse(&self, cause: &'static str) {
        self.refused.get_or_create(&[("cause", cause)]).inc();
    }

    /// All of it as it is now, in the text format of OpenMetrics.
    pub(super) fn text(&self, cvm: &Cvm, connected: usize) -> String {
        let (hosts, occupancy, quarantined) = (cvm.hosts(), cvm.occupancy(), cvm.is_quarantined());
        let masks = cvm.masks_ready();
        let kv_memory = cvm.kv_memory();
        let cvm = cvm.counters();
        let mut metrics = Registry::with_prefix("talaria_cvm");
        for (name, help, total) in [
            (
                "connections",
                "Connections that were opened",
                self.connections.get(),
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
            ("sessions", "Requests that were begun", cvm.sessions),
            (
                "requests_refused",
                "Requests that the payload refused",
                cvm.refused,
            ),
            ("prompt_tokens", "Tokens of prompts", cvm.prompt_tokens),
            (
                "cached_tokens",
                "Tokens of prompts that were not computed, as they began an earlier one",
                cvm.cached_tokens,
            ),
            (
                "restarts",
                "Replies that gave their keys and values back for others, to be computed again",
                cvm.restarts,
            ),
            ("tokens", "Tokens of replies", cvm.tokens),
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
            (
                "sessions_active",
                "Replies under way",
                occupancy.sessions as i64,
            ),
            (
                "masks_ready",
                "Rows whose masks are minted, for the projection that has the fewest",
                masks as i64,
            ),
            (
                "kv_cache_bytes",
                "Keys and values, those that are kept of replies that are over included",
                occupancy.kv_bytes as i64,
            ),
            (
                "kv_cache_budget_bytes",
                "Keys and values that there can be",
                kv_memory as i64,
            ),
        ] {
            metrics.register(name, help, ConstGauge::new(value));
        }
        let refused = self.refused.clone();
        // Shown before the first of each.
        for cause in ["limits", "handshake", "frame", "busy"] {
            drop(refused.get_or_create(&[("cause", cause)]));
        }
        metrics.register("refusals", "Connections that were refused", refused);
        let up = Family::<Host, Gauge>::default();
        let [trips, sent, received] = [(); 3].map(|()| Family::<Host, Counter>::default());
        for ((index, there), traffic) in (1..).zip(hosts).zip(cvm.hosts) {
            let host = [("host", usize::to_string(&index))];
            up.get_or_create(&host).set(there.into());
            trips.get_or_create(&host).inc_by(traffic.trips);
            sent.get_or_create(&host).inc_by(traffic.bytes_up);
            received.get_or_create(&host).inc_by(traffic.bytes_down);
        }
        metrics.register("gpu_host_up", "1 while a GPU host answers", up);
        metrics.register("gpu_trips", "Requests to a GPU host", trips);
        metrics.register("gpu_bytes_up", "Bytes sent to a GPU host", sent);
        metrics.register("gpu_bytes_down", "Bytes of a GPU host", received);
        let mut text = String::new();
        encode(&mut text, &metrics).expect("a string takes all");
        text
    }
}
