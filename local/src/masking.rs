//! `masking`: what each masking takes and hides with a checkpoint, before it is run.

mod estimate;
mod report;

use std::path::PathBuf;

use talaria_host_cvm::{PARAMETERS, Rehearsal};
use talaria_host_gpu::weights::{Surveyed, survey_dir};
use talaria_wire::manifest::WeightFormat;

use crate::cli::EstimateArgs;
use crate::error::LocalError;
use crate::generate::load_payload;
use crate::hosts::blocking;
use crate::progress::Bar;
use estimate::{Model, Scheme};
use report::Report;

/// Runs the subcommand.
///
/// # Errors
/// If the checkpoint is refused.
pub async fn masking(args: EstimateArgs) -> Result<(), LocalError> {
    let surveyed = survey(args.checkpoint.model.clone(), args.checkpoint.weights).await?;
    let model = Model::of(surveyed, args.checkpoint.weights);
    let payload = load_payload(args.cache.dir()).await?;
    let schemes = blocking("timing the payload", move || {
        let mut rehearsal = Rehearsal::new(&payload)?;
        let bar = Bar::counting("timing", Scheme::all().count() as u64);
        let estimates = Scheme::all().map(|scheme| {
            let estimate = scheme.estimate(&model, &mut rehearsal);
            bar.advance();
            estimate
        });
        let estimates = estimates.collect::<Result<Vec<_>, LocalError>>();
        bar.clear();
        Ok::<_, LocalError>((model, estimates?))
    });
    let (model, schemes) = schemes.await??;
    debug_assert!(schemes.len() >= PARAMETERS.len());
    Report::new(&args, &model, schemes).print(args.json)
}

async fn survey(dir: PathBuf, format: WeightFormat) -> Result<Vec<Surveyed>, LocalError> {
    let bar = Bar::new("measuring weights");
    let mut progress = bar.loading();
    let surveyed = blocking("measuring the weights", move || {
        survey_dir(&dir, format, &mut progress).map_err(|source| LocalError::Load {
            dir,
            source: source.into(),
        })
    });
    let surveyed = surveyed.await?;
    bar.clear();
    surveyed
}
