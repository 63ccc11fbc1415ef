//! The table after the reply.

use console::Style;
use talaria_host_cvm::Glimpse;

use super::{Answer, Parties};
use crate::table::{self, Align, Table};

impl Parties {
    /// What each party saw, and what it took.
    pub(super) fn report(&self, answer: &Answer, glimpse: &Glimpse) -> String {
        let width = table::terminal_width();
        let bold = Style::new().bold();
        let title = format!("One row on its way to projection {}", glimpse.projection);
        [
            format!("\n\n{}\n\n", bold.apply_to(title)),
            rows(glimpse).render(&bold),
            paragraph(self.masking.shown(), width),
            table::list(self.figures(answer), width),
        ]
        .concat()
    }

    fn figures(&self, answer: &Answer) -> Vec<(&'static str, String)> {
        let counters = &answer.counters;
        let summary = self.cvm.summary();
        let count = table::thousands;
        let tokens = answer.outcome.token_ids.len();
        let rate = answer.outcome.tokens_per_second();
        let rate = rate.map_or(String::new(), |rate| format!(", {rate:.1} tokens/s"));
        let (up, down) = (
            table::bytes(counters.bytes_up),
            table::bytes(counters.bytes_down),
        );
        vec![
            ("reply", format!("{tokens} tokens{rate}")),
            (
                "projections",
                format!(
                    "{}, {} rows",
                    count(counters.projections),
                    count(counters.rows)
                ),
            ),
            ("bytes", format!("{up} up, {down} down")),
            ("checks", format!("{} passed", count(counters.checks))),
            (
                "GPU hosts",
                format!("{} x {}", self.witnesses.len(), self.device),
            ),
            ("payload", hex::encode(summary.payload_sha256)),
            ("model", hex::encode(summary.model_digest)),
        ]
    }
}

/// One line an element: the row as the payload knows it and as each host got it.
fn rows(glimpse: &Glimpse) -> Table {
    let hosts: Vec<String> = (1..=glimpse.hosts.len())
        .map(|i| format!("GPU host {i}"))
        .collect();
    let columns = ["#", "payload"]
        .into_iter()
        .chain(hosts.iter().map(String::as_str));
    let mut table = Table::new(columns.map(|name| (name, Align::Right)));
    for (i, plain) in glimpse.plain.iter().enumerate() {
        let seen = glimpse
            .hosts
            .iter()
            .map(|host| host.get(i).map_or(String::new(), u32::to_string));
        table.row(
            [i.to_string(), format!("{plain:+.6}")]
                .into_iter()
                .chain(seen),
        );
    }
    table
}

fn paragraph(text: &str, width: usize) -> String {
    format!("\n{}\n\n", table::wrap(text, width).join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_across_and_fits_a_narrow_terminal() {
        let glimpse = Glimpse {
            projection: "layers.0.qkv".into(),
            plain: vec![-0.5, 12.25],
            hosts: vec![vec![2_013_265_920, 7], vec![1, 2_013_265_919]],
        };
        let text = rows(&glimpse).render(&Style::new());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "0   -0.500000  2013265920           1");
        assert_eq!(lines[2], "1  +12.250000           7  2013265919");
        assert!(lines.iter().all(|line| line.len() <= 40), "{text}");
    }
}
