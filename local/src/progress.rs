//! Progress on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use talaria_host_cvm::{SetupPhase, SetupProgress};
use talaria_host_gpu::weights::LoadProgress;

/// A bar that is gone when dropped. Clones draw the same bar.
#[derive(Clone)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// An empty bar; draws nothing if standard error is no terminal.
    pub(crate) fn new(label: &'static str) -> Self {
        Self::with_template(label, 0, "{msg} {wide_bar} {bytes}/{total_bytes}")
    }

    /// A bar of so many steps.
    pub(crate) fn counting(label: &'static str, steps: u64) -> Self {
        Self::with_template(label, steps, "{msg} {wide_bar} {pos}/{len}")
    }

    fn with_template(label: &'static str, length: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(label);
        Self(bar)
    }

    /// One step more.
    pub(crate) fn advance(&self) {
        self.0.inc(1);
    }

    fn set(&self, done_bytes: u64, total_bytes: u64) {
        self.0.set_length(total_bytes);
        self.0.set_position(done_bytes);
    }

    /// Follows a checkpoint being quantised.
    pub(crate) fn loading(&self) -> impl FnMut(LoadProgress) + Send + 'static {
        let bar = self.clone();
        move |progress| bar.set(progress.done_bytes, progress.total_bytes)
    }

    /// Follows the phases of set-up.
    pub(crate) fn setup(&self) -> impl FnMut(SetupProgress) + Send + 'static {
        let bar = self.clone();
        move |progress| {
            bar.0.set_message(match progress.phase {
                SetupPhase::Weights => "set-up pass",
                SetupPhase::PublicRows => "rows of R_pub",
            });
            bar.set(progress.done_bytes, progress.total_bytes);
        }
    }

    /// Removes it.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
