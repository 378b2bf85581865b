//! Plain words: those that BERT's tokenizer only lowercases and splits at punctuation. They bypass the `tokenizers` crate,
//! which tracks the offset of every byte through five steps: for a short English pair that alone would take a tenth of the
//! time of an int8 call.

use std::ops::Range;

use super::definition::AddedToken;

/// Tells which words are plain: those of ASCII letters, digits and punctuation, between ASCII spaces, that cannot contain
/// an added token.
pub struct PlainWords {
    lowercase: bool,
    classes: [ByteClass; 256],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ByteClass {
    /// Separates words.
    Space,
    /// Part of a word.
    Letter,
    /// A word by itself.
    Punctuation,
    /// Makes everything around it, up to the spaces on both sides, not plain.
    NotPlain,
}

/// A chunk of a text, as a range of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A plain word.
    PlainWord(Range<usize>),
    /// One or more whole words between spaces, none of them plain.
    NotPlain(Range<usize>),
}

impl PlainWords {
    /// The plain words of BERT's normalizer and pre-tokenizer. `None` where an added token contains a space or is empty:
    /// then no word is sure to be plain.
    pub fn new(lowercase: bool, added_tokens: &[AddedToken]) -> Option<Self> {
        let mut classes = [ByteClass::NotPlain; 256];
        for (byte, class) in (0..=127).zip(&mut classes) {
            *class = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => ByteClass::Space,
                0..b' ' | 127 => ByteClass::NotPlain,
                _ if byte.is_ascii_punctuation() => ByteClass::Punctuation,
                _ => ByteClass::Letter,
            };
        }
        for token in added_tokens {
            if token.content.is_empty() || token.content.contains(char::is_whitespace) {
                return None;
            }
            // Some added tokens are matched before letters are lowercased, some after.
            let first = token.content.as_bytes()[0];
            for byte in [first.to_ascii_lowercase(), first.to_ascii_uppercase()] {
                classes[usize::from(byte)] = ByteClass::NotPlain;
            }
        }
        Some(Self { lowercase, classes })
    }

    /// The chunks of a text in order, without the spaces between them. Neighbouring words that are not plain form one chunk.
    pub fn chunks<'a>(&'a self, text: &'a str) -> Chunks<'a> {
        Chunks { plain: self, text: text.as_bytes(), at: 0, plain_until: 0 }
    }

    /// Writes the normalized form of a plain word into `to`.
    pub fn normalize(&self, word: &str, to: &mut String) {
        to.clear();
        to.push_str(word);
        if self.lowercase {
            to.make_ascii_lowercase();
        }
    }
}

/// An iterator over the chunks of a text.
pub struct Chunks<'a> {
    plain: &'a PlainWords,
    text: &'a [u8],
    at: usize,
    /// Everything before this byte is plain.
    plain_until: usize,
}

impl Chunks<'_> {
    /// The position of the first byte from `at` on whose class satisfies `stop`, or the end.
    fn position_of(&self, at: usize, stop: impl Fn(ByteClass) -> bool) -> usize {
        let found = self.text[at..].iter().position(|byte| stop(self.plain.classes[usize::from(*byte)]));
        found.map_or(self.text.len(), |length| at + length)
    }

    /// The end of the run of non-space bytes that starts at `at`, and whether the run is plain.
    fn run_end(&self, at: usize) -> (usize, bool) {
        let end = self.position_of(at, |class| matches!(class, ByteClass::Space | ByteClass::NotPlain));
        match self
            .text
            .get(end)
            .is_some_and(|byte| self.plain.classes[usize::from(*byte)] == ByteClass::NotPlain)
        {
            true => (self.position_of(end, |class| class == ByteClass::Space), false),
            false => (end, true),
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let start = self.position_of(self.at, |class| class != ByteClass::Space);
        if start == self.text.len() {
            return None;
        }
        if start >= self.plain_until {
            let (mut end, plain) = self.run_end(start);
            if !plain {
                loop {
                    let next = self.position_of(end, |class| class != ByteClass::Space);
                    match self.run_end(next) {
                        (next_end, false) => end = next_end,
                        (plain_to, true) => {
                            (self.at, self.plain_until) = (next, plain_to);
                            return Some(Chunk::NotPlain(start..end));
                        }
                    }
                }
            }
            self.plain_until = end;
        }
        self.at = match self.plain.classes[usize::from(self.text[start])] {
            ByteClass::Punctuation => start + 1,
            _ => self.position_of(start, |class| class != ByteClass::Letter),
        };
        Some(Chunk::PlainWord(start..self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(content: &str) -> AddedToken {
        AddedToken::plain(content.to_owned(), true)
    }

    fn parts(text: &str) -> Vec<String> {
        let plain = PlainWords::new(true, &[token("[SEP]"), token("qed")]).unwrap();
        let part = |part| match part {
            Chunk::PlainWord(range) => text[range].to_owned(),
            Chunk::NotPlain(range) => format!("<{}>", &text[range]),
        };
        plain.chunks(text).map(part).collect()
    }

    #[test]
    fn plain_words_are_chunks_of_their_own_and_other_words_share_one() {
        assert_eq!(parts(" It's\t3.14 "), ["It", "'", "s", "3", ".", "14"]);
        assert_eq!(parts("a é, è\nb"), ["a", "<é, è>", "b"]);
        assert_eq!(parts("é"), ["<é>"]);
        assert_eq!(parts("a\u{a0}b c\u{1}"), ["<a\u{a0}b c\u{1}>"]);
        // An added token may begin at `[` or `q`.
        assert_eq!(parts("x[SEP] y Queen z"), ["<x[SEP]>", "y", "<Queen>", "z"]);
        assert_eq!(parts(" \r\n"), [""; 0]);
    }

    #[test]
    fn no_word_is_plain_where_added_tokens_contain_spaces_or_are_empty() {
        assert!(PlainWords::new(true, &[token("a b")]).is_none());
        assert!(PlainWords::new(true, &[token("")]).is_none());
    }
}
