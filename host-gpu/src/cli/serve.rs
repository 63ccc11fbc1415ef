//! `talaria-gpu serve`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use talaria_host_gpu::backend;
use talaria_host_gpu::record::Recorder;
use talaria_host_gpu::scheduler::Limits;
use talaria_host_gpu::server::{self, Address, Bounds, Door, GpuHost};
use talaria_host_gpu::weights::Model;
use talaria_program::{Signals, Stop};
use talaria_transport::link::{Callers, read_or_make};
use talaria_wire::digest::ModelDigest;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::{Serve, loading};

/// Serves until a signal; one before anything is served ends the program at once.
pub(super) async fn run(serve: Serve) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::watch().context("cannot watch for signals")?;
    // A taken address is found at once, not after minutes of loading; until then, callers are refused
    // rather than kept waiting.
    drop(server::bind(&serve.listen).await?);
    let door = door(&serve)?;
    let serve = Arc::new(serve);
    let loading = Arc::clone(&serve);
    let (host, model, digest) = tokio::select! {
        loaded = spawn_blocking(move || loaded(&loading)) => loaded??,
        stop = signals.next() => return Ok(stop.unfinished()),
    };
    let mut listener = server::bind(&serve.listen).await?;
    if let Some(door) = door {
        listener = listener.secured(door);
    }
    let bounds = Bounds {
        connections: serve.max_connections,
        ..Bounds::default()
    };
    announce(&listener.url()?, &serve, &model, digest);
    let (stopped, stop) = oneshot::channel();
    let shutdown = async move {
        let stop = signals.next().await;
        tracing::info!("stopping: answering what was accepted; once more to stop at once");
        let _ = stopped.send(stop);
        tokio::spawn(signals.exit_at_next());
    };
    server::serve(Arc::clone(&host), listener, bounds, shutdown).await?;
    let counters = host.counters();
    tracing::info!(?counters, "stopped");
    Ok(stop.await.map_or(ExitCode::SUCCESS, Stop::served))
}

/// Who may have an encrypted link, if links are.
fn door(serve: &Serve) -> anyhow::Result<Option<Door>> {
    let Some(file) = &serve.link_key else {
        return Ok(None);
    };
    let callers = serve.callers.as_deref().map(Callers::read).transpose()?;
    ensure!(
        callers.is_none() || matches!(serve.listen, Address::Tcp(_)),
        "a Unix socket has no encrypted links and so no --callers: who may open its file is a matter of its directory"
    );
    if let Some(callers) = &callers {
        tracing::info!("callers that are served: {}", callers.count());
    }
    let key = read_or_make(file)?;
    Ok(Some(Door { key, callers }))
}

fn loaded(serve: &Serve) -> anyhow::Result<(Arc<GpuHost>, Arc<Model>, ModelDigest)> {
    let (model, digest) = load(serve)?;
    let host = host(serve, Arc::clone(&model), digest)?;
    Ok((Arc::new(host), model, digest))
}

fn load(serve: &Serve) -> anyhow::Result<(Arc<Model>, ModelDigest)> {
    let checkpoint = &serve.checkpoint;
    let backend = backend::open(serve.backend.backend, serve.threads.threads)
        .context("cannot open the backend")?;
    tracing::info!("backend: {}", backend.describe());
    let model = loading::with_progress("loading", |progress| {
        Model::load(&checkpoint.model, checkpoint.weights, backend, progress)
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
