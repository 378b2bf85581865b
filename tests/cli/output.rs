//! What goes to the two streams.

use std::path::Path;

use super::{DOCUMENTS, crossrank, fixture};

/// The variable is set for tests in .cargo/config.toml, since other tests ask drivers on purpose.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_printed_without_a_runtime_folder_where_there_is_no_gpu() {
    let headless = |arguments: &[&str], model: &str| {
        let mut command = crossrank(arguments);
        command.arg("--model").arg(fixture(model)).env_remove("XDG_RUNTIME_DIR").output().unwrap()
    };
    let arguments = ["rerank", "-q", "q", DOCUMENTS];
    super::success(&headless(&[&arguments[..], &["--backend", "cpu"]].concat(), "bert"));
    super::success(&crossrank(&arguments).env_remove("XDG_RUNTIME_DIR").output().unwrap());
    let gpu = ["dri", "nvidiactl", "dxg"].iter().any(|node| Path::new("/dev").join(node).exists());
    if gpu {
        eprintln!("skipped: this machine has a GPU, whose driver may print");
        return;
    }
    super::success(&headless(&arguments, "bert"));
    super::success(&headless(&["info"], "bert-f16"));
}
