//! The C programs of tests/c. Each checks itself.

use std::process::Command;

use crate::toolbox::{compile, folder, output, root, run, tiny_model};

fn program(name: &str) {
    run(&compile(&root().join("tests/c").join(name)));
}

#[test]
fn the_example_of_the_documentation_ranks_paris_first() {
    let program = compile(&root().join("tests/c/example.c"));
    let models = folder("example").join("models");
    std::fs::create_dir_all(&models).unwrap();
    let link = models.join("crossrank-mini");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(root().join("models/crossrank-mini"), &link).unwrap();
    let printed = output(Command::new(&program).current_dir(folder("example")));
    let order: Vec<_> = printed.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(order, ["0", "1"], "{printed}");
    // Without the model the example prints the message and exits with 1.
    let out = Command::new(&program).current_dir(tiny_model()).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stdout).contains("crossrank-mini"));
}

#[test]
fn smoke_everything_that_the_interface_offers_works() {
    program("smoke.c");
}

#[test]
fn errors_every_status_can_be_provoked_and_leaves_outputs_untouched() {
    program("errors.c");
}

#[test]
fn handles_that_are_forged_stale_or_freed_twice_are_refused_a_million_times() {
    program("handles.c");
}

#[test]
fn threads_share_a_model_that_is_freed_during_their_calls() {
    program("threads.c");
}

#[test]
#[cfg(feature = "gpu")]
fn gpu_ranks_as_the_cpu_does_and_the_cpu_while_it_is_suspended() {
    if crossrank::gpu::adapters().unwrap().is_empty() {
        assert!(std::env::var_os("CROSSRANK_REQUIRE_GPU").is_none(), "there is no adapter");
        eprintln!("skipped: no GPU adapter, not even a software one");
        return;
    }
    program("gpu.c");
}

#[test]
fn cancel_works_before_during_and_after_a_call() {
    program("cancel.c");
}
