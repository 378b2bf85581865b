//! Whether this machine may have a GPU, without a word to any driver: drivers take their time, and some print.

use std::fs;
use std::path::Path;

/// What the names of device nodes begin with: those of the kernel's own drivers, NVIDIA's, NVIDIA's for Tegra, WSL's, Arm's,
/// Qualcomm's and Imagination's.
const NODES: [&str; 8] = ["dri/renderD", "nvidia", "nvhost", "nvgpu", "dxg", "mali", "kgsl", "pvr"];

/// Whether there may be a GPU. On Linux no driver can reach one without a device node; elsewhere only drivers know.
pub fn may_have_gpu() -> bool {
    !cfg!(target_os = "linux") || has_node(Path::new("/dev"))
}

/// Whether a folder holds a device node of a GPU.
fn has_node(dev: &Path) -> bool {
    NODES.iter().any(|node| {
        let (folder, start) =
            node.rsplit_once('/').map_or((dev.to_owned(), *node), |(f, s)| (dev.join(f), s));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_has_a_device_node() {
        let dev = tempfile::tempdir().unwrap();
        let has = |nodes: &[&str]| {
            let dev = dev.path().join(nodes.concat().replace('/', "-"));
            fs::create_dir_all(dev.join("dri")).unwrap();
            nodes.iter().for_each(|node| fs::write(dev.join(node), "").unwrap());
            has_node(&dev)
        };
        // A display without a GPU has a card and no node to render with.
        assert!(!has(&[]) && !has(&["null", "net", "dri/card0"]));
        for node in ["dri/renderD128", "nvidia0", "nvidiactl", "dxg", "mali0", "kgsl-3d0", "pvr_sync"] {
            assert!(has(&["null", node]), "{node}");
        }
        assert!(!has_node(&dev.path().join("missing")));
    }
}
