//! Plain words, which BERT's tokenizer only lowers and cuts at punctuation. The `tokenizers` crate keeps account of every byte
//! through five steps; of a short English pair that alone would take a tenth of the time in 8 bits.

use std::ops::Range;

use super::definition::AddedToken;

/// Which words are plain: those of ASCII letters, digits and punctuation, between ASCII spaces, that no added token can be a
/// part of.
pub struct Plain {
    lowercase: bool,
    classes: [Class; 256],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Separates words.
    Space,
    /// Part of a word.
    Letter,
    /// A word by itself.
    Punctuation,
    /// Whatever stands next to it, up to spaces on either side, is not plain.
    Strange,
}

/// A part of a text, as a range of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A plain word.
    Word(Range<usize>),
    /// Whole words between spaces, none of them plain.
    Other(Range<usize>),
}

impl Plain {
    /// For BERT's normalizer and pre-tokenizer, or `None` where an added token holds a space or nothing at all.
    pub fn new(lowercase: bool, added_tokens: &[AddedToken]) -> Option<Self> {
        let mut classes = [Class::Strange; 256];
        for (byte, class) in (0..=127).zip(&mut classes) {
            *class = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
                0..b' ' | 127 => Class::Strange,
                _ if byte.is_ascii_punctuation() => Class::Punctuation,
                _ => Class::Letter,
            };
        }
        for token in added_tokens {
            if token.content.is_empty() || token.content.contains(char::is_whitespace) {
                return None;
            }
            // Some are looked for before letters are lowered, some after.
            let first = token.content.as_bytes()[0];
            for byte in [first.to_ascii_lowercase(), first.to_ascii_uppercase()] {
                classes[usize::from(byte)] = Class::Strange;
            }
        }
        Some(Self { lowercase, classes })
    }

    /// The parts of a text in order; what is left out is space. Neighbouring words that are not plain are one part.
    pub fn parts<'a>(&'a self, text: &'a str) -> Parts<'a> {
        Parts { plain: self, text: text.as_bytes(), at: 0, plain_to: 0 }
    }

    /// Writes a plain word into `to` as the vocabulary has it.
    pub fn normalize(&self, word: &str, to: &mut String) {
        to.clear();
        to.push_str(word);
        if self.lowercase {
            to.make_ascii_lowercase();
        }
    }
}

/// An iterator over the parts of a text.
pub struct Parts<'a> {
    plain: &'a Plain,
    text: &'a [u8],
    at: usize,
    /// Up to here everything is plain.
    plain_to: usize,
}

impl Parts<'_> {
    /// The first byte from `at` on of which `stop` is true, or the end.
    fn first(&self, at: usize, stop: impl Fn(Class) -> bool) -> usize {
        let found = self.text[at..].iter().position(|byte| stop(self.plain.classes[usize::from(*byte)]));
        found.map_or(self.text.len(), |length| at + length)
    }

    /// The end of what lies between `at` and the next space, and whether it is plain.
    fn run(&self, at: usize) -> (usize, bool) {
        let end = self.first(at, |class| matches!(class, Class::Space | Class::Strange));
        match self.text.get(end).is_some_and(|byte| self.plain.classes[usize::from(*byte)] == Class::Strange)
        {
            true => (self.first(end, |class| class == Class::Space), false),
            false => (end, true),
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let start = self.first(self.at, |class| class != Class::Space);
        if start == self.text.len() {
            return None;
        }
        if start >= self.plain_to {
            let (mut end, plain) = self.run(start);
            if !plain {
                loop {
                    let next = self.first(end, |class| class != Class::Space);
                    match self.run(next) {
                        (next_end, false) => end = next_end,
                        (plain_to, true) => {
                            (self.at, self.plain_to) = (next, plain_to);
                            return Some(Part::Other(start..end));
                        }
                    }
                }
            }
            self.plain_to = end;
        }
        self.at = match self.plain.classes[usize::from(self.text[start])] {
            Class::Punctuation => start + 1,
            _ => self.first(start, |class| class != Class::Letter),
        };
        Some(Part::Word(start..self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(content: &str) -> AddedToken {
        let content = content.to_owned();
        AddedToken {
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }

    fn parts(text: &str) -> Vec<String> {
        let plain = Plain::new(true, &[token("[SEP]"), token("qed")]).unwrap();
        let part = |part| match part {
            Part::Word(range) => text[range].to_owned(),
            Part::Other(range) => format!("<{}>", &text[range]),
        };
        plain.parts(text).map(part).collect()
    }

    #[test]
    fn plain_words_stand_alone_and_others_together() {
        assert_eq!(parts(" It's\t3.14 "), ["It", "'", "s", "3", ".", "14"]);
        assert_eq!(parts("a é, è\nb"), ["a", "<é, è>", "b"]);
        assert_eq!(parts("é"), ["<é>"]);
        assert_eq!(parts("a\u{a0}b c\u{1}"), ["<a\u{a0}b c\u{1}>"]);
        // An added token may begin here.
        assert_eq!(parts("x[SEP] y Queen z"), ["<x[SEP]>", "y", "<Queen>", "z"]);
        assert_eq!(parts(" \r\n"), [""; 0]);
    }

    #[test]
    fn added_tokens_with_spaces_leave_nothing_plain() {
        assert!(Plain::new(true, &[token("a b")]).is_none());
        assert!(Plain::new(true, &[token("")]).is_none());
    }
}
