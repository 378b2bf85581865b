//! A progress bar on standard error for long calls, shown only on a terminal.

use std::sync::Once;
use std::time::{Duration, Instant};

use crossrank::{Progress, RerankOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A call shows no bar before it has taken this long.
const DELAY: Duration = Duration::from_millis(500);

/// Makes a call with these options show the number of finished pairs. The caller calls
/// [`finish_and_clear`](ProgressBar::finish_and_clear) after the call.
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
            // Draws nothing where standard error is not a terminal.
            shown.set_draw_target(ProgressDrawTarget::stderr());
        });
        shown.set_position(progress.done as u64);
    };
    (options.on_progress(on_progress), bar)
}
