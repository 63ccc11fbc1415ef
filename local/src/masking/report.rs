//! Tables for people, one object for programs.

use serde::Serialize;
use talaria_host_cvm::free_bytes;

use super::estimate::{Estimate, Matrices, Model};
use crate::cli::EstimateArgs;
use crate::error::LocalError;
use crate::output;
use crate::table::{Align, Table, bytes};

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Report {
    model: String,
    weights: &'static str,
    free_bytes: Option<u64>,
    matrices: Vec<Matrices>,
    schemes: Vec<Estimate>,
}

impl Report {
    pub(super) fn new(args: &EstimateArgs, model: &Model, schemes: Vec<Estimate>) -> Self {
        Self {
            model: args.checkpoint.model.display().to_string(),
            weights: args.checkpoint.weights.name(),
            free_bytes: free_bytes(),
            matrices: model.roles.clone(),
            schemes,
        }
    }

    pub(super) fn print(&self, json: bool) -> Result<(), LocalError> {
        if json {
            return output::print_json(self);
        }
        let heading = console::Style::new().bold();
        output::print(&format!(
            "{}, {} weights\n\n{}\n{}\n{}",
            self.model,
            self.weights,
            self.matrices().render(&heading),
            self.schemes().render(&heading),
            self.notes()
        ))
    }

    fn matrices(&self) -> Table {
        let names = ["count", "k", "n", "b_x", "log2 Delta"];
        let columns = names.map(|name| (name, Align::Right));
        let mut table = Table::new([("matrix", Align::Left)].into_iter().chain(columns));
        for m in &self.matrices {
            table.row([
                m.role.to_owned(),
                m.count.to_string(),
                m.k.to_string(),
                m.n.to_string(),
                m.row_bits.to_string(),
                m.delta_bits.to_string(),
            ]);
        }
        table
    }

    fn schemes(&self) -> Table {
        let names = [
            "hosts", "bits", "A", "R_pub", "pools", "ms/token", "ms ahead",
        ];
        let columns = names.map(|name| (name, Align::Right));
        let mut table = Table::new([("masking", Align::Left)].into_iter().chain(columns));
        for s in &self.schemes {
            let size = |size: u64| match size {
                0 => "-".to_owned(),
                size => bytes(size),
            };
            let name = match s.parameters {
                Some(set) => format!("{} {set}", s.masking),
                None => s.masking.to_owned(),
            };
            table.row([
                name,
                s.hosts.to_string(),
                s.security_bits.map_or("-".into(), |bits| bits.to_string()),
                size(s.a_bytes),
                size(s.r_pub_bytes),
                size(s.pool_bytes),
                format!("{:.2}", s.online_ms),
                match s.minting_ms {
                    0.0 => "-".into(),
                    ms => format!("{ms:.2}"),
                },
            ]);
        }
        table
    }

    fn notes(&self) -> String {
        let free = self.free_bytes.map_or(String::new(), |free| {
            format!("Free memory: {}.\n", bytes(free))
        });
        format!(
            "bits: of security by this project's estimate (docs/protocol.md, section 11); shares is perfect\n\
             unless both hosts collude, remo lets the host read every token, dangerous-plaintext hides nothing.\n\
             ms/token: one CVM core, mask + check + unmask of one row; ms ahead: minting its masks. Timed now,\n\
             in the payload, on made-up rows of these shapes; structural operations and waiting not included.\n\
             {free}"
        )
    }
}
