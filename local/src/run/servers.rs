//! Servers given with `--gpu`: they have the model that was meant.

use std::path::Path;

use talaria_host_cvm::Summary;
use talaria_host_gpu::weights::digest_dir;
use talaria_wire::manifest::WeightFormat;

use crate::error::LocalError;
use crate::hosts::blocking;
use crate::progress::Bar;

/// The servers have the format asked for, if one was.
pub(super) fn check_weights(
    wanted: Option<WeightFormat>,
    served: WeightFormat,
) -> Result<(), LocalError> {
    match wanted {
        Some(wanted) if wanted != served => Err(LocalError::Mismatch(format!(
            "the servers have {} weights, --weights {} was asked for: start them with it, or leave \
             the flag out",
            served.name(),
            wanted.name()
        ))),
        _ => Ok(()),
    }
}

/// The servers have the model in `dir`.
pub(super) async fn check_model(dir: &Path, summary: &Summary) -> Result<(), LocalError> {
    let (path, format) = (dir.to_owned(), summary.weights);
    let bar = Bar::new("digesting");
    let mut progress = bar.loading();
    let digest = blocking("digesting the model", move || {
        digest_dir(&path, format, &mut progress).map_err(|source| LocalError::Load {
            dir: path,
            source: source.into(),
        })
    })
    .await?;
    bar.clear();
    let digest = digest?;
    if digest.0 == summary.model_digest {
        return Ok(());
    }
    Err(LocalError::Mismatch(format!(
        "the servers have the model {}, {} has {digest}: start them with this directory, or leave \
         --model out",
        hex::encode(summary.model_digest),
        dir.display()
    )))
}
