//! `talaria-gpu serve`.

use std::sync::Arc;

use anyhow::Context;
use talaria_host_gpu::backend;
use talaria_host_gpu::record::Recorder;
use talaria_host_gpu::scheduler::Limits;
use talaria_host_gpu::server::{self, GpuHost, link};
use talaria_host_gpu::weights::Model;
use talaria_wire::digest::ModelDigest;
use tokio::signal;

use super::{Serve, loading};

pub(super) fn run(serve: Serve) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    // A taken address is found at once, not after minutes of loading; until then, callers are refused
    // rather than kept waiting.
    drop(runtime.block_on(server::bind(&serve.listen))?);
    let link_key = serve.link_key.as_deref().map(link::read_or_make);
    let link_key = link_key.transpose()?.map(Arc::new);
    let (model, digest) = load(&serve)?;
    let host = Arc::new(host(&serve, Arc::clone(&model), digest)?);
    runtime.block_on(async {
        let shutdown = until_signal()?;
        let mut listener = server::bind(&serve.listen).await?;
        if let Some(key) = link_key {
            listener = listener.secured(key);
        }
        announce(&listener.url()?, &serve, &model, digest);
        server::serve(Arc::clone(&host), listener, shutdown).await?;
        anyhow::Ok(())
    })?;
    let counters = host.counters();
    tracing::info!(?counters, "stopped");
    Ok(())
}

fn load(serve: &Serve) -> anyhow::Result<(Arc<Model>, ModelDigest)> {
    let checkpoint = &serve.checkpoint;
    let backend = backend::open(serve.backend, serve.threads).context("cannot open the backend")?;
    tracing::info!("backend: {}", backend.describe());
    let format = checkpoint.weights.into();
    let model = loading::with_progress("loading", |progress| {
        Model::load(&checkpoint.model, format, backend, progress)
    })
    .with_context(|| format!("cannot load {}", checkpoint.model.display()))?;
    let digest = model
        .digest()
        .context("cannot read the weights back from the device")?;
    Ok((Arc::new(model), digest))
}

fn host(serve: &Serve, model: Arc<Model>, digest: ModelDigest) -> anyhow::Result<GpuHost> {
    let limits = Limits {
        max_queue: serve.max_queue,
        ..Limits::default()
    };
    let host = GpuHost::new(Arc::clone(&model), limits).context("cannot start threads")?;
    let Some(directory) = &serve.record else {
        return Ok(host);
    };
    let recorder = Recorder::create(directory, digest, &model.manifest_bytes)
        .with_context(|| format!("cannot record into {}", directory.display()))?;
    tracing::info!("recording everything seen: {}", recorder.path().display());
    Ok(host.with_observer(Arc::new(recorder)))
}

/// The one line on standard output: scripts wait for it.
fn announce(url: &str, serve: &Serve, model: &Model, digest: ModelDigest) {
    println!(
        "ready: {} serves {} ({}, {}) on {}, digest {digest}",
        url,
        serve.checkpoint.model.display(),
        model.manifest.decoder.model_type,
        model.manifest.weights.name(),
        model.backend.describe(),
    );
}

/// Resolves at SIGINT or SIGTERM; the handlers are in place when this returns.
#[cfg(unix)]
fn until_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    use signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: answering what was accepted");
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
fn until_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    Ok(async {
        let _ = signal::ctrl_c().await;
        tracing::info!("stopping: answering what was accepted");
    })
}
