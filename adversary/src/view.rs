//! What one attacker holds of a run: rows, public rows, traffic. Never a label.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use nalgebra::DMatrix;
use talaria_arithmetic::keystream::expand_rows;
use talaria_arithmetic::residue::{self, signed_crt};
use talaria_arithmetic::{P1, P2, PRIMES};
use talaria_host_cvm::Masking;

use crate::capture::{Capture, EMBEDDING, HostRecord, Send};
use crate::metrics::score::{Request, Truth};

/// Rows of one projection, in the order of tokens.
#[derive(Clone)]
pub enum Rows {
    /// k residues modulo P1, then k modulo P2.
    Residues(Arc<Vec<Vec<u32>>>),
    /// Float32, of simulated baselines.
    Floats(Arc<Vec<Vec<f32>>>),
}

/// What is public of the masks of one projection.
#[derive(Clone)]
pub enum PublicRows {
    /// Rows (m,k) whose combinations modulo q are masks: M_pub as the host received it at set-up, or A of module-lwe,
    /// whose masks have noise as well.
    Residues {
        /// k residues modulo P1, then k modulo P2.
        rows: Arc<Vec<Vec<u32>>>,
        /// Whether rows are multiplied by module-lwe's Delta before they are masked.
        scaled: bool,
    },
    /// M_pub (m,k) of a simulated baseline.
    Floats(Arc<DMatrix<f64>>),
}

impl PublicRows {
    /// M_pub of ReMO (m, k modulo P1 and P2).
    pub fn of_masks(rows: Vec<Vec<u32>>) -> Self {
        Self::Residues {
            rows: Arc::new(rows),
            scaled: false,
        }
    }
}

/// A of module-lwe for the projections with more features than A has rows: elsewhere any row is a combination of them.
fn public_polynomials(capture: &Capture, host: &HostRecord) -> Vec<(usize, PublicRows)> {
    let Some((parameters, seed)) = capture.module_lwe() else {
        return Vec::new();
    };
    let count = parameters.public_rows();
    let wide = host.rows.iter().filter_map(|(projection, rows)| {
        let k = rows.first()?.len() / 2;
        (k > count).then_some((*projection, k))
    });
    let expanded = wide.map(|(projection, k)| {
        let rows = expand_rows(&seed, count, k);
        let rows = rows.chunks_exact(2 * k).map(<[u32]>::to_vec).collect();
        let public = PublicRows::Residues {
            rows: Arc::new(rows),
            scaled: true,
        };
        (projection, public)
    });
    expanded.collect()
}

/// Rows that went through the model together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Rows.
    pub rows: Range<usize>,
    /// The request they belong to.
    pub request: usize,
}

/// What one attacker holds.
#[derive(Clone)]
pub struct View {
    /// Scheme, and which host where there are two.
    pub scheme: String,
    /// Rows by projection.
    pub rows: BTreeMap<usize, Rows>,
    /// Public rows by projection, where the scheme has any.
    pub public: BTreeMap<usize, PublicRows>,
    /// Passes in order.
    pub passes: Vec<Pass>,
    /// Requests of the CVM; those of a baseline are those of the capture that it was made from.
    pub sends: Arc<Vec<Send>>,
    /// For each prompt, the request of the CVM that it begins with.
    pub begins: Vec<usize>,
    /// Projection of lm_head.
    pub lm_head: usize,
    /// Rows that the scheme adds to each pass, after the pass's own.
    pub shields: usize,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Residues(rows) => rows.len(),
            Self::Floats(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `i` (k,) as numbers: residues as the integers that they stand for, centred.
    pub fn reals(&self, i: usize) -> Vec<f64> {
        match self {
            Self::Residues(rows) => {
                let (first, second) = rows[i].split_at(rows[i].len() / 2);
                let pairs = first.iter().zip(second);
                pairs.map(|(r1, r2)| signed_crt(*r1, *r2) as f64).collect()
            }
            Self::Floats(rows) => rows[i].iter().map(|x| f64::from(*x)).collect(),
        }
    }

    /// Row `i` (k,) as numbers modulo P1 alone, centred: small integers stand out more than modulo q.
    pub fn reals_modulo_p1(&self, i: usize) -> Vec<f64> {
        match self {
            Self::Residues(rows) => {
                let first = &rows[i][..rows[i].len() / 2];
                let below = |r: u32| if r > P1 / 2 { f64::from(P1) } else { 0.0 };
                first.iter().map(|r| f64::from(*r) - below(*r)).collect()
            }
            Self::Floats(_) => self.reals(i),
        }
    }

    /// Residues, where the scheme has them.
    pub fn residues(&self) -> Option<&[Vec<u32>]> {
        match self {
            Self::Residues(rows) => Some(rows),
            Self::Floats(_) => None,
        }
    }
}

impl View {
    /// The views of a capture: each host alone, and with two hosts both together.
    pub fn of_capture(capture: &Capture) -> Vec<Self> {
        let name = |host: usize| match capture.hosts.len() {
            1 => capture.masking.to_string(),
            _ => format!("{}, host {}", capture.masking, host + 1),
        };
        let hosts = capture.hosts.iter().enumerate();
        let mut views: Vec<Self> = hosts
            .map(|(i, host)| Self::of_host(name(i), capture, host))
            .collect();
        if capture.masking == Masking::Shares {
            views.push(both(&views, format!("{}, both hosts", capture.masking)));
        }
        views
    }

    fn of_host(scheme: String, capture: &Capture, host: &HostRecord) -> Self {
        let public = host.public_rows.iter();
        let begins: Vec<usize> = capture.facts.begins.iter().map(|b| *b as usize).collect();
        let lm_head = host.sends.iter().map(|send| send.projection).max();
        Self {
            scheme,
            rows: host
                .rows
                .iter()
                .map(|(p, rows)| (*p, Rows::Residues(Arc::clone(rows))))
                .collect(),
            public: public
                .map(|(p, rows)| (*p, PublicRows::of_masks(rows.clone())))
                .chain(public_polynomials(capture, host))
                .collect(),
            passes: passes(&host.sends, &begins),
            sends: Arc::new(host.sends.clone()),
            begins,
            lm_head: lm_head.unwrap_or(0),
            shields: 0,
        }
    }

    /// The same traffic with other rows.
    pub fn with_rows(&self, scheme: String, rows: BTreeMap<usize, Rows>) -> Self {
        Self {
            scheme,
            rows,
            public: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Number of rows of the projections that every token goes through.
    pub fn tokens(&self) -> usize {
        self.passes.last().map_or(0, |pass| pass.rows.end)
    }

    /// Rows of a projection, if the view has one for every token.
    pub fn of(&self, projection: usize) -> Option<&Rows> {
        let rows = self.rows.get(&projection)?;
        (rows.len() == self.tokens()).then_some(rows)
    }

    /// Where the rows of pass `index` are, added ones included.
    pub fn rows_of_pass(&self, index: usize) -> Range<usize> {
        let rows = &self.passes[index].rows;
        rows.start + index * self.shields..rows.end + (index + 1) * self.shields
    }

    /// Rows of each request.
    pub fn requests(&self) -> Vec<Range<usize>> {
        let mut requests: Vec<Range<usize>> = Vec::new();
        for pass in &self.passes {
            match requests.get_mut(pass.request) {
                Some(rows) => rows.end = pass.rows.end,
                None => requests.push(pass.rows.clone()),
            }
        }
        requests
    }
}

/// The truth of a capture, for scoring.
pub fn truth(capture: &Capture, vocab_size: usize) -> Truth {
    let (mut tokens, mut requests) = (Vec::new(), Vec::new());
    for label in &capture.labels.requests {
        let start = tokens.len();
        let all = label.prompt_ids.iter().chain(&label.token_ids);
        tokens.extend(all.take(label.rows()));
        requests.push(Request {
            rows: start..tokens.len(),
            prompt: start..tokens.len().min(start + label.prompt_ids.len()),
            own: label.own,
        });
    }
    Truth {
        tokens,
        requests,
        vocab_size,
    }
}

/// Tokens that the attacker knows because it sent them, row by row.
pub fn known(truth: &Truth) -> Vec<Option<u32>> {
    let mut known = vec![None; truth.tokens.len()];
    for request in truth.requests.iter().filter(|request| request.own) {
        for row in request.rows.clone() {
            known[row] = Some(truth.tokens[row]);
        }
    }
    known
}

/// Embedding calls without another projection between them are one pass.
fn passes(sends: &[Send], begins: &[usize]) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    let mut row = 0;
    for (i, send) in sends
        .iter()
        .enumerate()
        .filter(|(_, send)| send.projection == EMBEDDING)
    {
        let begin = row;
        row += send.rows;
        let request = begins.partition_point(|begin| *begin <= i) - 1;
        let goes_on = i > 0 && sends[i - 1].projection == EMBEDDING;
        match passes.last_mut() {
            Some(pass) if goes_on && pass.request == request => pass.rows.end = row,
            _ => passes.push(Pass {
                rows: begin..row,
                request,
            }),
        }
    }
    passes
}

/// What the hosts of `shares` know together: the first's rows less the second's.
fn both(views: &[View], scheme: String) -> View {
    let subtract = |one: &[u32], other: &[u32]| -> Vec<u32> {
        let half = one.len() / 2;
        let p = |i: usize| PRIMES[usize::from(i >= half)];
        let pairs = one.iter().zip(other).enumerate();
        pairs
            .map(|(i, (a, b))| residue::sub(*a, *b, p(i)))
            .collect()
    };
    let mut rows = BTreeMap::new();
    for (projection, one) in &views[0].rows {
        let other = views[1].rows.get(projection).and_then(Rows::residues);
        if let (Some(one), Some(other)) = (one.residues(), other) {
            let all = one.iter().zip(other).map(|(a, b)| subtract(a, b)).collect();
            rows.insert(*projection, Rows::Residues(Arc::new(all)));
        }
    }
    views[0].with_rows(scheme, rows)
}

/// Residues of integers: k modulo P1, then k modulo P2.
pub fn to_residues(integers: &[i64]) -> Vec<u32> {
    let half = |p: u32| integers.iter().map(move |x| residue::from_i64(*x, p));
    half(P1).chain(half(P2)).collect()
}
