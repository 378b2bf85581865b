//! The model file of sentencepiece, a message of Protocol Buffers: sentencepiece.bpe.model and spm.model.
//!
//! Fields and numbers are those of sentencepiece_model.proto; fields that the converter does not read are left out.

use std::collections::{HashMap, HashSet};

use base64::encode;
use prost::Message;
use serde_json::{Value, json};

use super::class::Pieces;
use super::files::{check_count, format_error, shown};
use super::keys::{Keys, SpecialToken};
use super::parts::{Model, Parts, TokenIds, template};
use crate::error::{Error, Result};

/// The space of sentencepiece.
const SPACE: &str = "\u{2581}";
/// Limit of the sum of the squares of the pieces' lengths in bytes, which bounds the work of finding the merges of a BPE and
/// their size. That of 256 000 pieces of 10 bytes is 26 million.
const MAX_MERGE_BYTES: usize = 1 << 27;

#[derive(Clone, PartialEq, Message)]
pub struct ModelFile {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(int32, optional, tag = "40", default = "0")]
    unk_id: Option<i32>,
    #[prost(string, optional, tag = "45", default = "<unk>")]
    unk_piece: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
}

/// Values of [`Piece::kind`].
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// Values of [`Trainer::model_type`].
const UNIGRAM: i32 = 1;
const BPE: i32 = 2;

/// Tokens and scores, in the order of their ids.
type Scores<'a> = Vec<(&'a str, f64)>;

impl ModelFile {
    /// Reads the file of that name, for a word table of so many rows.
    pub fn parse(file: &str, bytes: &[u8], rows: usize) -> Result<Self> {
        let model = Self::decode(bytes)
            .map_err(|e| format_error(file, format_args!("not a model of sentencepiece: {e}")))?;
        check_count(file, model.pieces.len(), rows)?;
        match model.pieces.iter().find(|piece| !piece.score().is_finite()) {
            Some(piece) => {
                let message = format!("the score of the piece `{}` is not finite", shown(piece.piece()));
                Err(format_error(file, message))
            }
            None => Ok(model),
        }
    }

    /// The tokenizer that a class makes of this file, whose name is `file`.
    pub fn make(&self, file: &str, pieces: Pieces, keys: &Keys) -> Result<Parts<'_>> {
        let trainer = self.trainer.clone().unwrap_or_default();
        let (scores, unk_id) = self.scores(pieces, trainer.unk_id());
        // These tokens, whatever the keys say.
        let token = |content: &str| {
            let id = scores.iter().rposition(|(entry, _)| *entry == content);
            let lacks = || format_error(file, format_args!("lacks the piece `{content}`"));
            Ok::<_, Error>((content.to_owned(), id.ok_or_else(lacks)? as u32))
        };
        let post_processor = match pieces {
            Pieces::XlmRoberta | Pieces::Camembert => template(&token("<s>")?, &token("</s>")?, 2, 0),
            Pieces::Deberta => template(&token("[CLS]")?, &token("[SEP]")?, 1, 1),
        };
        let model = match trainer.model_type() {
            UNIGRAM => Model::Unigram {
                unk_id: usize::try_from(unk_id)
                    .map_err(|_| format_error(file, format_args!("its unk_id is {unk_id}")))?,
                byte_fallback: false,
                vocab: scores,
            },
            BPE => self.byte_pair_encoding(file, scores, trainer.unk_piece())?,
            other => {
                return Err(Error::Unsupported {
                    what: format!("`{file}`: the model type {other} of sentencepiece"),
                    hint: "it is neither Unigram (1) nor BPE (2), and transformers reads no other either"
                        .into(),
                });
            }
        };
        let (normalizer, pre_tokenizer) = self.normalization(pieces, keys)?;
        let added_tokens = self.added_tokens(pieces);
        Ok(Parts { added_tokens, normalizer, pre_tokenizer, post_processor, model })
    }

    /// The vocabulary, and the id of the unknown token in it. XLM-RoBERTa and CamemBERT were trained with fairseq, whose ids
    /// are not those of the file.
    fn scores(&self, pieces: Pieces, unk_id: i32) -> (Scores<'_>, i32) {
        let from = |first: usize| {
            self.pieces.iter().skip(first).map(|piece| (piece.piece(), f64::from(piece.score())))
        };
        let known =
            |tokens: &[&'static str]| tokens.iter().map(|token| (*token, 0.0)).collect::<Scores<'_>>();
        match pieces {
            Pieces::XlmRoberta => {
                let start = known(&["<s>", "<pad>", "</s>", "<unk>"]);
                (start.into_iter().chain(from(3)).chain([("<mask>", 0.0)]).collect(), 3)
            }
            Pieces::Camembert => {
                let mut start = known(&["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>"]);
                start.push(("<unk>NOTUSED", -100.0));
                (start.into_iter().chain(from(1)).chain([("<mask>", 0.0)]).collect(), 3)
            }
            Pieces::Deberta => (from(0).collect(), unk_id),
        }
    }

    /// Pieces that are matched in texts as a whole. Control symbols are special.
    fn added_tokens(&self, pieces: Pieces) -> Vec<(SpecialToken, bool)> {
        let plain = |content: &str| SpecialToken {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
        };
        let own = self.pieces.iter().filter(|piece| [CONTROL, USER_DEFINED].contains(&piece.kind()));
        let own = own.map(|piece| (plain(piece.piece()), piece.kind() == CONTROL));
        let of_class: &[&str] = match pieces {
            Pieces::Camembert => &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
            Pieces::XlmRoberta | Pieces::Deberta => &[],
        };
        own.chain(of_class.iter().map(|token| (plain(token), true))).collect()
    }

    /// The normalizer and the pre-tokenizer.
    fn normalization(&self, pieces: Pieces, keys: &Keys) -> Result<(Value, Value)> {
        let map = self.normalizer.as_ref().map(Normalizer::precompiled_charsmap).unwrap_or_default();
        let map =
            (!map.is_empty()).then(|| json!({"type": "Precompiled", "precompiled_charsmap": encode(map)}));
        let strip = |left: bool| json!({"type": "Strip", "strip_left": left, "strip_right": true});
        let spaces =
            |content: &str| json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content});
        let metaspace =
            json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true});
        if let Pieces::XlmRoberta | Pieces::Camembert = pieces {
            let steps: Vec<Value> = map.into_iter().chain([strip(false), spaces(SPACE)]).collect();
            return Ok((json!({"type": "Sequence", "normalizers": steps}), metaspace));
        }
        let lowercase = keys.flag("do_lower_case", false)?.then(|| json!({"type": "Lowercase"}));
        let steps = lowercase.into_iter().chain([strip(true)]).chain(map).chain([spaces(" ")]);
        let punctuation = keys.flag("split_by_punct", false)?;
        let punctuation = punctuation.then(|| json!({"type": "Punctuation", "behavior": "Isolated"}));
        Ok((
            json!({"type": "Sequence", "normalizers": steps.collect::<Vec<Value>>()}),
            json!({"type": "Sequence", "pretokenizers": punctuation.into_iter().chain([metaspace]).collect::<Vec<Value>>()}),
        ))
    }

    /// A BPE: its file has no merges, so they are all pairs of pieces that are a piece together, the best score first.
    fn byte_pair_encoding<'a>(&'a self, file: &str, scores: Scores<'a>, unk: &str) -> Result<Model<'a>> {
        let work = scores.iter().map(|(token, _)| token.len().saturating_mul(token.len()));
        if work.fold(0, usize::saturating_add) > MAX_MERGE_BYTES {
            return Err(format_error(file, "its pieces are too long for a BPE"));
        }
        // Of a token that is there twice, the place is the first one's, and id and score are the last one's, as in a
        // dictionary of Python.
        let own: HashMap<&str, usize> =
            self.pieces.iter().enumerate().map(|(id, piece)| (piece.piece(), id)).collect();
        let last: HashMap<&str, usize> =
            scores.iter().enumerate().map(|(id, (token, _))| (*token, id)).collect();
        let length = |text: &str| text.chars().count();
        let mut merges = Vec::new();
        let mut seen = HashSet::with_capacity(last.len());
        for (token, _) in &scores {
            if !seen.insert(*token) {
                continue;
            }
            // Without a sign of zero, which total_cmp would tell apart.
            let score = scores[last[token]].1 + 0.0;
            let splits = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
            let mut local: Vec<_> = splits
                .filter_map(|(left, right)| Some((*own.get(left)?, *own.get(right)?, left, right)))
                .collect();
            local.sort_by_key(|(left, right, ..)| (*left, *right));
            let keyed = local
                .into_iter()
                .map(|(_, _, left, right)| ((score, length(left), length(right)), (left, right)));
            merges.extend(keyed);
        }
        merges.sort_by(|(a, _), (b, _)| {
            b.0.total_cmp(&a.0).then_with(|| b.1.cmp(&a.1)).then_with(|| b.2.cmp(&a.2))
        });
        let mut vocab: Vec<_> = last.into_iter().map(|(token, id)| (token.into(), id as u32)).collect();
        vocab.sort_by_key(|(_, id)| *id);
        Ok(Model::Bpe {
            dropout: (),
            unk_token: Some(unk.to_owned()),
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: true,
            byte_fallback: false,
            ignore_merges: false,
            vocab: TokenIds(vocab),
            merges: merges.into_iter().map(|(_, merge)| merge).collect(),
        })
    }
}
