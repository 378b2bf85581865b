//! The `crossrank` command line. Results go to standard output; warnings, errors and progress to standard error.
//!
//! Exit codes: 0 success, 1 failure, 2 wrong usage or options, 130 interrupted with Ctrl-C.

mod bench;
mod failure;
mod info;
mod input;
mod interrupt;
mod load;
mod profile;
mod progress;
mod pull;
mod quantize;
mod rerank;
mod score;
mod table;
mod verify;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// Rank documents by relevance to a query with a cross-encoder, on this machine.
#[derive(Parser)]
#[command(name = "crossrank", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Rerank(rerank::Args),
    Score(score::Args),
    Info(info::Args),
    Verify(verify::Args),
    Pull(pull::Args),
    Quantize(quantize::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run_command(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                // Ignored: a closed standard error must not cause a panic.
                let _ = writeln!(io::stderr(), "{message}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run_command(command: &Command) -> Result<(), Failure> {
    let interrupt = Interrupt::install()?;
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        Command::Rerank(args) => rerank::rerank_documents(args, &interrupt, &mut out),
        Command::Score(args) => score::score_pairs(args, &interrupt, &mut out),
        Command::Info(args) => info::print_info(args, &mut out),
        Command::Verify(args) => verify::verify_model(args, &interrupt, &mut out),
        Command::Pull(args) => pull::pull_model(args, &mut out),
        Command::Quantize(args) => quantize::quantize_model(args, &mut out),
        Command::Bench(args) => bench::bench_workload(args, &interrupt, &mut out),
    }?;
    out.flush()?;
    Ok(())
}
