//! Progress of long reads: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use talaria_host_gpu::weights::LoadProgress;

/// Lines that a log gets for one pass.
const LINES: u64 = 5;

/// Shows the progress that `work` reports.
pub(super) fn with_progress<T>(
    verb: &'static str,
    work: impl FnOnce(&mut dyn FnMut(LoadProgress)) -> T,
) -> T {
    if std::io::stderr().is_terminal() {
        with_bar(verb, work)
    } else {
        with_lines(verb, work)
    }
}

fn with_bar<T>(verb: &'static str, work: impl FnOnce(&mut dyn FnMut(LoadProgress)) -> T) -> T {
    let bar = ProgressBar::new(0).with_prefix(verb);
    let style = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let result = work(&mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        bar.set_message(progress.what);
    });
    bar.finish_and_clear();
    result
}

fn with_lines<T>(verb: &'static str, work: impl FnOnce(&mut dyn FnMut(LoadProgress)) -> T) -> T {
    let mut shown = 0;
    work(&mut |progress| {
        let step = progress.done_bytes * LINES / progress.total_bytes.max(1);
        if step > shown {
            shown = step;
            let (done, total) = (progress.done_bytes, progress.total_bytes);
            tracing::info!("{verb}: {} of {}", HumanBytes(done), HumanBytes(total));
        }
    })
}
