//! How much of a long text to tokenize: prefixes whose first tokens are those of the whole text.

/// Runs longer than these are shortened by [`Squeezed`], in characters. A run of letters must stay longer than the
/// longest word that a WordPiece model looks up ([`MAX_WORD`](super::definition::MAX_WORD)).
const KEEP_SPACES: usize = 64;
const KEEP_LETTERS: usize = super::definition::MAX_WORD + 1;

/// Where a prefix of `text` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Length of the prefix in bytes.
    pub bytes: usize,
    /// Whether it ends between a word and the space after it: no tokenizer that splits at spaces joins across that
    /// point, and no Unicode normalization does (a space composes with nothing). Else the last word may be cut.
    pub clean: bool,
}

/// The end of the longest clean prefix of at most `bytes` bytes, or a ragged one if that would be less than half of it.
pub fn end(text: &str, bytes: usize) -> End {
    if text.len() <= bytes {
        return End { bytes: text.len(), clean: true };
    }
    let ragged = boundary(text, bytes);
    let half = boundary(text, bytes / 2);
    let mut spaces = text[half..ragged].rmatch_indices(' ').map(|(at, _)| half + at);
    match spaces.find(|&at| text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace())) {
        Some(bytes) => End { bytes, clean: true },
        None => End { bytes: ragged, clean: false },
    }
}

/// The last character boundary at or before `at`, which lies inside the text.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

/// A text read from its start with long runs of spaces and of letters shortened, which changes no token of BERT's
/// tokenizer: spaces only separate, and a word above the length limit is one unknown token, however long.
pub struct Squeezed<'a> {
    /// What was read so far.
    pub text: String,
    rest: &'a str,
    run: Option<Class>,
    length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Separates words, and is dropped.
    Space,
    /// Part of a word, and counted by the length limit.
    Letter,
    /// Never ends a word, but normalization may drop it.
    Mark,
    /// Anything else, for example punctuation, which is a word by itself.
    Other,
}

impl<'a> Squeezed<'a> {
    /// Nothing read yet.
    pub fn new(text: &'a str) -> Self {
        Self { text: String::new(), rest: text, run: None, length: 0 }
    }

    /// Reads on until `self.text` has at least `bytes` bytes or the text ends.
    pub fn extend(&mut self, bytes: usize) {
        let mut chars = self.rest.chars();
        while self.text.len() < bytes {
            let Some(c) = chars.next() else { break };
            let class = classify(c);
            if self.run != Some(class) && !(class == Class::Mark && self.run == Some(Class::Letter)) {
                (self.run, self.length) = (Some(class), 0);
            }
            self.length += usize::from(self.run == Some(class));
            let keep = match self.run {
                Some(Class::Space) => self.length <= KEEP_SPACES,
                Some(Class::Letter) => self.length <= KEEP_LETTERS,
                _ => true,
            };
            if keep {
                self.text.push(c);
            }
        }
        self.rest = chars.as_str();
    }

    /// Whether the text was read to its end.
    pub fn ended(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Whether an added token that starts with `c` can neither start nor lie inside a run that is shortened.
pub fn breaks_runs(c: char) -> bool {
    classify(c) == Class::Other
}

/// Only characters of which we are sure: the others cost time, not correctness. CJK ideographs are words by themselves.
fn classify(c: char) -> Class {
    match c {
        ' ' | '\t' | '\n' | '\r' | '\u{a0}' | '\u{3000}' => Class::Space,
        'a'..='z' | 'A'..='Z' | '0'..='9' => Class::Letter,
        // Latin, Greek, Cyrillic.
        '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{481}' | '\u{48a}'..='\u{52f}' if c.is_alphabetic() => {
            Class::Letter
        }
        // Letters of Hebrew, Arabic, Thai; kana and Hangul; pictographs and faces.
        '\u{5d0}'..='\u{5ea}' | '\u{621}'..='\u{63a}' | '\u{e01}'..='\u{e2e}' => Class::Letter,
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{ac00}'..='\u{d7a3}' => Class::Letter,
        '\u{1f300}'..='\u{1f5ff}' | '\u{1f600}'..='\u{1f64f}' => Class::Letter,
        // Combining accents, joiner, variation selectors.
        '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' => Class::Mark,
        _ => Class::Other,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// For the tokenizer's tests: characters that make a word longer, and those that at least do not end it.
    pub fn letters_and_marks() -> (Vec<char>, Vec<char>) {
        let of = |class| ('\0'..=char::MAX).filter(|&c| classify(c) == class).collect();
        (of(Class::Letter), of(Class::Mark))
    }

    #[test]
    fn a_prefix_ends_before_the_last_space_that_follows_a_word() {
        assert_eq!(end("one two", 7), End { bytes: 7, clean: true });
        assert_eq!(end("one two three", 9), End { bytes: 7, clean: true });
        assert_eq!(end("one two   three", 12), End { bytes: 7, clean: true });
        assert_eq!(end("a\tbcd\tefgh", 6), End { bytes: 6, clean: false });
        assert_eq!(end("éééé", 3), End { bytes: 2, clean: false });
        assert_eq!(end("      ", 3), End { bytes: 3, clean: false });
    }

    #[test]
    fn only_the_excess_of_runs_is_dropped() {
        let letters = "é\u{301}".repeat(KEEP_LETTERS);
        let text = format!("a{}b,{letters}", " \n".repeat(KEEP_SPACES / 2));
        let long = format!("a{}b,{letters}{}", " \n".repeat(KEEP_SPACES), "x\u{fe0f}".repeat(9));
        let mut squeezed = Squeezed::new(&long);
        squeezed.extend(10);
        assert_eq!((squeezed.text.len(), squeezed.ended()), (10, false));
        squeezed.extend(usize::MAX);
        assert!(squeezed.ended());
        assert_eq!(squeezed.text, text);
    }
}
