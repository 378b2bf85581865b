//! The header of a safetensors file, with all checks that a file from an untrusted source needs.

use std::collections::HashSet;
use std::fmt;
use std::sync::OnceLock;

use safetensors::tensor::{Dtype as StoredType, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::model::io::{PROBE_BYTES, check_contents, parse_json};
use crate::model::source::TensorSource;

/// Bytes of the field that holds the header's length.
const LENGTH_BYTES: u64 = 8;
/// A header takes about 100 bytes per tensor, so this is room for 40 000.
const MAX_HEADER_BYTES: u64 = 4 << 20;
/// The largest encoders have about a thousand tensors.
const MAX_TENSORS: usize = 16_384;
/// No tensor of an encoder has more than 2; this bounds the length of error messages.
const MAX_DIMENSIONS: usize = 8;
/// This bounds the length of error messages too.
const MAX_NAME_BYTES: usize = 512;

/// A tensor as a header describes it: where it lies, and its type and shape.
#[derive(Debug)]
pub(super) struct StoredTensor {
    /// Index of the file.
    pub file: usize,
    pub dtype: StoredType,
    pub shape: Vec<usize>,
    /// First byte, from the start of the file.
    pub start: u64,
    pub bytes: usize,
    /// XXH3 of the bytes, set once all of them have been read.
    pub hash: OnceLock<u64>,
}

/// Parses and checks the header of the file with this index and length in bytes, and returns its tensors and its XXH3. Only
/// the types of the `safetensors` crate are used here: its reader needs the whole file in memory, adds without overflow
/// checks and keeps the last of two tensors of one name.
pub(super) fn read_header(
    source: &TensorSource<'_>,
    index: usize,
    length: u64,
) -> Result<(Vec<(String, StoredTensor)>, u64)> {
    let data_start = LENGTH_BYTES + read_header_bytes(source, length)?;
    let header = source.first_bytes(data_start)?;
    let Header(mut tensors) = parse_json(source.name(), &header[LENGTH_BYTES as usize..])?;
    tensors.sort_by_key(|(_, info)| info.data_offsets);

    let data_bytes = length - data_start;
    // Every tensor starts where the one before it ends, and the last ends with the file.
    let mut end = 0;
    let mut checked = Vec::with_capacity(tensors.len());
    for (name, info) in tensors {
        check_tensor(&info, end, data_bytes)
            .map_err(|message| source.format_error(format!("tensor `{name}`: {message}")))?;
        let from = info.data_offsets.0;
        end = info.data_offsets.1;
        let (start, bytes) = (data_start + from as u64, end - from);
        let hash = OnceLock::new();
        let stored = StoredTensor { file: index, dtype: info.dtype, shape: info.shape, start, bytes, hash };
        checked.push((name, stored));
    }
    if end as u64 != data_bytes {
        let rest = data_bytes - end as u64;
        let message = format!("{rest} bytes follow the last tensor: the header does not fit the file");
        return Err(source.format_error(message));
    }
    Ok((checked, xxh3_64(&header)))
}

/// The number of bytes of the header behind its length field, all of which are in the file.
fn read_header_bytes(source: &TensorSource<'_>, length: u64) -> Result<u64> {
    check_contents(source.name(), &source.first_bytes(length.min(PROBE_BYTES + 1))?)?;
    if length < LENGTH_BYTES {
        return Err(source.format_error(format!(
            "is truncated: it has {length} bytes and a safetensors file starts with an 8-byte length"
        )));
    }
    let field = source.first_bytes(LENGTH_BYTES)?;
    let header_bytes = field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    if header_bytes > MAX_HEADER_BYTES {
        return Err(source.format_error(format!(
            "is not a safetensors file: its header claims {header_bytes} bytes, the limit is {MAX_HEADER_BYTES}"
        )));
    }
    // The sum cannot overflow: both are small.
    if LENGTH_BYTES + header_bytes > length {
        return Err(source.format_error(format!(
            "is truncated: its header claims {header_bytes} bytes, the file has {length}"
        )));
    }
    Ok(header_bytes)
}

/// Checks a tensor's description: where it lies behind the tensor before it, which ends at `previous_end`, and in the file's
/// `data_bytes`. The error is a message that follows the tensor's name.
fn check_tensor(info: &TensorInfo, previous_end: usize, data_bytes: u64) -> Result<(), String> {
    let (from, to) = info.data_offsets;
    if info.shape.len() > MAX_DIMENSIONS {
        return Err(format!("it has {} dimensions", info.shape.len()));
    }
    if from != previous_end {
        let what =
            if from < previous_end { "overlaps the tensor before it" } else { "leaves a hole before it" };
        return Err(format!("it {what}: it starts at {from}, the one before it ends at {previous_end}"));
    }
    let bits = info
        .shape
        .iter()
        .try_fold(info.dtype.bitsize() as u64, |bits, dimension| bits.checked_mul(*dimension as u64))
        .ok_or_else(|| format!("the shape {:?} overflows", info.shape))?;
    if to < from || bits % 8 != 0 || (to - from) as u64 != bits / 8 {
        return Err(format!(
            "the shape {:?} of {} does not fill the bytes {from}..{to} that the header gives it",
            info.shape, info.dtype
        ));
    }
    if to as u64 > data_bytes {
        return Err(format!(
            "the file is truncated: the tensor ends at byte {to} of the data, of which there are {data_bytes}"
        ));
    }
    Ok(())
}

/// The header's tensors in file order, each name once.
struct Header(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;

        impl<'de> Visitor<'de> for Tensors {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut tensors, mut seen) = (Vec::new(), HashSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
                        return Err(A::Error::custom("the header holds a name that is no tensor's name"));
                    }
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("tensor `{name}` is listed twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    let info =
                        map.next_value().map_err(|e| A::Error::custom(format!("tensor `{name}`: {e}")))?;
                    tensors.push((name, info));
                }
                Ok(Header(tensors))
            }
        }

        deserializer.deserialize_map(Tensors)
    }
}
