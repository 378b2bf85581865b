//! `crossrank info`: facts about a model, and about how this machine runs it.

use std::fs;
use std::io::Write;

use crossrank::{Isa, ModelFiles, ModelInfo, WeightFile};

use crate::failure::Failure;
use crate::load::{self, ModelArgs};

/// Show a model's sizes and files, and the instruction sets of this machine
#[derive(clap::Args)]
pub struct Args {
    /// Show the GPUs of this machine instead
    #[cfg(feature = "gpu")]
    #[arg(long, conflicts_with = "model")]
    devices: bool,

    #[command(flatten)]
    model: ModelArgs,
}

pub fn print_info(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    #[cfg(feature = "gpu")]
    if args.devices {
        return devices(out);
    }
    let files = args.model.files()?;
    let sizes = file_sizes(&files)?;
    let reranker = args.model.load_files(files)?;
    let info = reranker.info();
    for (name, value) in rows(info) {
        writeln!(out, "{name:<18} {value}")?;
    }
    for (name, bytes) in sizes {
        writeln!(out, "{:<18} {name}, {bytes} bytes", "file")?;
    }
    for warning in &info.warnings {
        writeln!(out, "{:<18} {warning}", "note")?;
    }
    Ok(())
}

/// The names and bytes of a model's files.
fn file_sizes(files: &ModelFiles) -> Result<Vec<(String, u64)>, Failure> {
    let small = files.small_files().into_iter();
    let mut sizes: Vec<_> = small.map(|(name, bytes)| (name.to_owned(), bytes.len() as u64)).collect();
    let modules = files.modules.iter().filter_map(|module| module.weights.as_ref());
    for weights in files.weights.iter().chain(modules) {
        sizes.push(match weights {
            WeightFile::Path(path) => {
                let metadata = fs::metadata(path).map_err(|error| {
                    Failure::new(format_args!("cannot read `{}`: {error}", path.display()))
                })?;
                (path.display().to_string(), metadata.len())
            }
            WeightFile::Bytes(name, bytes) => (name.clone(), bytes.len() as u64),
        });
    }
    Ok(sizes)
}

/// The facts about a model by name.
fn rows(info: &ModelInfo) -> [(&'static str, String); 22] {
    let isa = info.isa.map_or("none", Isa::name);
    [
        ("model", info.name.clone()),
        ("architecture", info.architecture.clone()),
        ("layers", info.layers.to_string()),
        ("hidden", info.hidden.to_string()),
        ("heads", info.heads.to_string()),
        ("intermediate", info.intermediate.to_string()),
        ("vocabulary", info.vocabulary.to_string()),
        ("labels", info.labels.join(", ")),
        ("activation", info.activation.to_owned()),
        ("max tokens", info.max_tokens.to_string()),
        ("prompts", if info.prompt_names.is_empty() { "none".into() } else { info.prompt_names.join(", ") }),
        ("default prompt", info.default_prompt_name.clone().unwrap_or_else(|| "none".into())),
        ("precision", load::precision_name(info.precision).to_owned()),
        ("weights in memory", format!("{} bytes", info.weight_bytes)),
        ("hash", format!("{:016x}", info.hash)),
        ("backend", load::backend_name(info.backend).to_owned()),
        ("gpu", info.adapter.clone().unwrap_or_else(|| "none".into())),
        ("tier", info.tier.unwrap_or("none").to_owned()),
        ("instruction set", isa.to_owned()),
        ("this machine has", available_isas()),
        ("threads", info.threads.to_string()),
        ("loaded in", format!("{:.1} ms", info.load_ms)),
    ]
}

/// Prints every adapter; the first one is the default.
#[cfg(feature = "gpu")]
fn devices(out: &mut impl Write) -> Result<(), Failure> {
    let adapters = crossrank::gpu::adapters()?;
    if adapters.is_empty() {
        writeln!(out, "no GPU, or no driver for one")?;
    }
    for (index, adapter) in adapters.iter().enumerate() {
        let subgroups = adapter.subgroups.map_or("none".into(), |(min, max)| format!("{min} to {max}"));
        let rows = [
            ("name", adapter.name.clone()),
            ("driver", adapter.driver.clone()),
            ("type", format!("{:?}", adapter.kind).to_lowercase()),
            ("interface", adapter.backend.to_owned()),
            ("largest buffer", format!("{} bytes", adapter.max_buffer_bytes)),
            ("workgroup memory", format!("{} bytes", adapter.workgroup_bytes)),
            ("workgroup", format!("{} invocations", adapter.workgroup_invocations)),
            ("16-bit numbers", if adapter.f16 { "yes" } else { "no" }.to_owned()),
            ("subgroups", subgroups),
            ("tier", format!("{:?}", adapter.tier).to_lowercase()),
        ];
        if index > 0 {
            writeln!(out)?;
        }
        for (name, value) in rows {
            writeln!(out, "{name:<18} {value}")?;
        }
    }
    Ok(())
}

/// The instruction sets that `--isa` accepts here.
fn available_isas() -> String {
    let names: Vec<_> = crossrank::cpu::isa::available().into_iter().map(Isa::name).collect();
    names.join(", ")
}
