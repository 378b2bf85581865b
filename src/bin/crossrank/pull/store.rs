//! Files on their way into the hub's cache: checksums and places.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// Moves a file into the hub's cache: its contents under their checksum, and a link to them under its name, which goes
/// `up` from there.
pub fn move_into_cache(file: &Path, blob: &Path, link: &Path, up: &Path) -> io::Result<()> {
    for path in [blob, link] {
        fs::create_dir_all(path.parent().expect("a file in a cache lies in a folder"))?;
    }
    remove(link)?;
    // Links need a privilege on Windows; hf-hub and huggingface_hub put the file itself there too.
    #[cfg(not(unix))]
    {
        let _ = up;
        fs::rename(file, link)
    }
    #[cfg(unix)]
    {
        fs::rename(file, blob)?;
        let target = up.join("blobs").join(blob.file_name().expect("a blob has a name"));
        std::os::unix::fs::symlink(target, link)
    }
}

/// Whether a file has a size and a checksum: SHA-256 of large files, SHA-1 of git's blob for small ones (some mirrors
/// give the SHA-1 of the bytes alone). Checksums of other forms cannot be computed: then only the size is compared.
pub fn matches_checksum(path: &Path, sum: &str, size: u64) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() != size {
        return Ok(false);
    }
    let (mut sha256, mut git) = (Sha256::new(), Sha1::new());
    let mut sha1 = Sha1::new();
    git.update(format!("blob {size}\0"));
    let mut bytes = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        match sum.len() {
            64 => sha256.update(&bytes[..count]),
            40 => {
                git.update(&bytes[..count]);
                sha1.update(&bytes[..count]);
            }
            _ => {}
        }
    }
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(match sum.len() {
        64 => hex(&sha256.finalize()) == sum,
        40 => hex(&git.finalize()) == sum || hex(&sha1.finalize()) == sum,
        _ => true,
    })
}

pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
