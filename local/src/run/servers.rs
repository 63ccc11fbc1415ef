//! Servers given with `--gpu`: as many as are needed, with the model that was meant.

use std::path::Path;

use talaria_host_cvm::{Masking, Summary};
use talaria_host_gpu::weights::digest_dir;
use talaria_wire::manifest::WeightFormat;

use crate::error::LocalError;
use crate::hosts::blocking;
use crate::progress::Bar;

/// As many servers as the masking needs, and no server twice.
pub(super) fn check_hosts(masking: Masking, gpu: &[String]) -> Result<(), LocalError> {
    let needed = masking.hosts();
    if !gpu.is_empty() && gpu.len() != needed {
        let why = masking.sent();
        let given = gpu.len();
        return Err(LocalError::Usage(format!(
            "masking {masking} needs --gpu {needed} times, {given} given: {why}"
        )));
    }
    match gpu {
        [first, second] if first == second => Err(LocalError::Usage(format!(
            "{first} is given twice: with both shares of a row it would see the row; \
             give two servers of different operators"
        ))),
        _ => Ok(()),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_must_be_as_many_as_the_masking_needs() {
        let url = |i: u32| format!("http://host{i}:1");
        let error = |masking, gpu: &[String]| check_hosts(masking, gpu).unwrap_err().to_string();
        assert!(check_hosts(Masking::Shares, &[]).is_ok());
        assert!(check_hosts(Masking::Shares, &[url(1), url(2)]).is_ok());
        assert!(check_hosts(Masking::Remo, &[url(1)]).is_ok());
        assert!(error(Masking::Shares, &[url(1)]).contains("--gpu 2 times, 1 given"));
        assert!(error(Masking::Remo, &[url(1), url(2)]).contains("--gpu 1 times, 2 given"));
        assert!(error(Masking::Shares, &[url(1), url(1)]).contains("twice"));
    }
}
