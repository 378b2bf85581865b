//! Files that are no text: gzip is read, all others are refused by name.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::failure::Failure;

/// How many of the first bytes are searched for what no text has: as many as git looks at.
const PROBE_BYTES: usize = 8000;

/// The first bytes of other formats: where they stand, the bytes, what the file is, and what to do.
const FORMATS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it with `zstd -d`"),
    (4, b"1AY&SY", "compressed with bzip2", "decompress it with `bunzip2`"),
    (0, b"\xfd7zXZ\0", "compressed with xz", "decompress it with `unxz`"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it with `lz4 -d`"),
    (0, b"\x1f\x9d", "compressed with compress", "decompress it with `uncompress`"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it"),
    (0, b"PK\x03\x04", "a zip archive, as .docx and .xlsx are", "unpack it, or save it as text"),
    (0, b"PK\x05\x06", "a zip archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it"),
    (0, b"PAR1\x15", "Parquet", CONVERT),
    (0, b"ARROW1\0\0", "Arrow", CONVERT),
    (0, b"\xff\xff\xff\xff", "Arrow", CONVERT),
    (0, b"Obj\x01", "Avro", CONVERT),
    (0, b"SQLite format 3\0", "an SQLite database", CONVERT),
    (0, b"\x89HDF\r\n", "HDF5", CONVERT),
    (0, b"%PDF-", "PDF", "extract the text first, for example with `pdftotext`"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document", "save it as text"),
    (0, b"{\\rtf", "RTF", "save it as text"),
    (0, b"\xff\xfe\0\0", "UTF-32", UTF_8),
    (0, b"\0\0\xfe\xff", "UTF-32", UTF_8),
    (0, b"\xff\xfe", "UTF-16", UTF_8),
    (0, b"\xfe\xff", "UTF-16", UTF_8),
];
const CONVERT: &str = "convert it to JSON lines with `text` and `id`";
const UTF_8: &str = "convert it to UTF-8, for example with `iconv`";

/// The bytes of a text: decompressed where they are gzip. Anything else that is no text is refused.
pub fn text_bytes(name: &str, raw: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let mut bytes = raw;
    // Twice compressed files are a mistake of a script, and no reason to look for a third time.
    for _ in 0..2 {
        if !bytes.starts_with(b"\x1f\x8b\x08") {
            break;
        }
        let mut decompressed = Vec::new();
        MultiGzDecoder::new(&*bytes).read_to_end(&mut decompressed).map_err(|error| {
            Failure::new(format_args!("`{name}` is a damaged or incomplete gzip file: {error}"))
        })?;
        bytes = decompressed;
    }
    let refuse = |what: &str, hint: &str| Err(Failure::new(format_args!("`{name}` is {what}: {hint}")));
    let found = |&&(at, magic, ..): &&(usize, &[u8], &str, &str)| {
        bytes.get(at..).is_some_and(|bytes| bytes.starts_with(magic))
    };
    if let Some((.., what, hint)) = FORMATS.iter().find(found) {
        return refuse(what, hint);
    }
    match bytes[..bytes.len().min(PROBE_BYTES)] {
        // Latin letters without a byte order mark.
        [0, a, 0, b, ..] | [a, 0, b, 0, ..] if a > 0 && b > 0 => refuse("UTF-16", UTF_8),
        ref start if start.contains(&0) || is_binary(start) => {
            refuse("binary", "give text, JSON, CSV or TSV")
        }
        _ => Ok(bytes),
    }
}

/// Whether bytes hold both control characters that no text has and what is no UTF-8, as what is compressed does early: text
/// in another encoding has only the second.
fn is_binary(start: &[u8]) -> bool {
    // Not among them: white space, the end of a file as DOS marks it, and the start of a terminal's sequences.
    let control = |byte: &u8| matches!(byte, 0x01..=0x08 | 0x0e..=0x19 | 0x1c..=0x1f);
    // A character that the end of `start` cuts has no length.
    let invalid = std::str::from_utf8(start).is_err_and(|error| error.error_len().is_some());
    invalid && start.iter().any(control)
}
