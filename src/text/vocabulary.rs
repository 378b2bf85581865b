//! A tokenizer.json made from the vocabulary files of a model that has none, as transformers 4.57 makes a fast tokenizer from
//! them (convert_slow_tokenizer.py). Everything that reads a tokenizer.json reads the result too.
//!
//! The files beside it decide what is made: the class of the tokenizer, its special tokens, and the keys that the class reads.

mod byte_level;
mod class;
mod files;
mod keys;
mod parts;
mod sentencepiece;
mod word_piece;

use self::class::Source;
pub use self::files::VocabularyFiles;
use self::keys::Keys;
use self::sentencepiece::ModelFile;
use crate::error::Result;

/// A tokenizer.json that was made.
pub struct MadeTokenizer {
    /// The names of the files it was made from, for errors.
    pub file: String,
    /// Its content.
    pub json: Vec<u8>,
    /// A sentence for people: what was made from which file.
    pub warning: String,
}

/// Makes the tokenizer.json.
///
/// Errors: [`Error::Format`](crate::Error::Format) and [`Error::Unsupported`](crate::Error::Unsupported), which name the file.
pub fn make_tokenizer(files: &VocabularyFiles<'_>) -> Result<MadeTokenizer> {
    let keys = Keys::read(files)?;
    let class = keys.class(files.advice)?;
    let (merges, pieces);
    let parts = match class.source {
        Source::WordPiece { .. } => word_piece::make(files, class, &keys)?,
        Source::ByteLevel => {
            merges = files.lines(class, byte_level::MERGES)?;
            byte_level::make(files, class, &keys, &merges)?
        }
        Source::SentencePiece(kind) => {
            let file = class.source.files()[0];
            pieces = ModelFile::parse(file, files.file(class, file)?, files.rows)?;
            pieces.make(file, kind, &keys)?
        }
    };
    let file = class.source.files().join(" and ");
    let warning = format!(
        "there is no tokenizer.json: the tokenizer was made from {file}, as transformers 4.57 makes a {} of it",
        class.name
    );
    Ok(MadeTokenizer { json: parts.write(class, &keys, files.added_tokens)?, file, warning })
}
