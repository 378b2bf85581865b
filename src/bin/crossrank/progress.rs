//! A progress bar on standard error for calls that take long, and only where that is a terminal.

use std::sync::Once;
use std::time::{Duration, Instant};

use crossrank::{Progress, RerankOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter calls end before a bar could be read.
const DELAY: Duration = Duration::from_millis(500);

/// Shows the pairs done while a call with these options runs. Whoever runs it calls
/// [`finish_and_clear`](ProgressBar::finish_and_clear) afterwards.
pub fn attach(options: RerankOptions) -> (RerankOptions, ProgressBar) {
    let bar = ProgressBar::hidden();
    let (shown, start, once) = (bar.clone(), Instant::now(), Once::new());
    let on_progress = move |progress: &Progress<'_>| {
        if start.elapsed() < DELAY || progress.done == progress.total {
            return;
        }
        once.call_once(|| {
            shown.set_style(
                ProgressStyle::with_template("{wide_bar} {pos}/{len} pairs, {eta} left")
                    .expect("the template is valid"),
            );
            shown.set_length(progress.total as u64);
            // Draws nothing where standard error is no terminal.
            shown.set_draw_target(ProgressDrawTarget::stderr());
        });
        shown.set_position(progress.done as u64);
    };
    (options.on_progress(on_progress), bar)
}
