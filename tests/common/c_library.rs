//! The C libraries under test, as packaging/build.sh makes them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the libraries, and what the compiler said when it built them.
pub struct Built {
    pub folder: PathBuf,
    pub messages: String,
}

/// Builds both libraries with the profile, the features and the target folder of this test.
pub fn build() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/debug/deps/capi-0123456789abcdef
        let program = std::env::current_exe().unwrap();
        let folder = program.ancestors().nth(2).unwrap().to_owned();
        let profile = folder.file_name().unwrap().to_str().unwrap();
        let features = [
            ("capi-panics", cfg!(feature = "capi-panics")),
            ("bundled-model", cfg!(feature = "bundled-model")),
            ("cli", cfg!(feature = "cli")),
            ("gpu", cfg!(feature = "gpu")),
            ("pull", cfg!(feature = "pull")),
        ];
        let features: Vec<_> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build.sh"));
        command.args(["--locked", "--profile", if profile == "debug" { "dev" } else { profile }]);
        command.arg("--features").arg(features.join(","));
        command.arg("--target-dir").arg(folder.parent().unwrap());
        // What cargo tells the test about this package would make build scripts of other packages run again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|own| text.starts_with(own)) {
                command.env_remove(&name);
            }
        }
        let output = command.env_remove("LD_LIBRARY_PATH").output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}\n{messages}");
        Built { folder, messages }
    })
}

/// The folder of the libraries: CROSSRANK_BUILT, or that of [`build`].
pub fn built() -> PathBuf {
    std::env::var_os("CROSSRANK_BUILT").map_or_else(|| build().folder.clone(), PathBuf::from)
}
