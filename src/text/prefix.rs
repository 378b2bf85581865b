//! How much of a long text to tokenize: prefixes whose first tokens are those of the whole text.

/// Maximum characters that [`ShortenedText`] keeps of a run. A run of letters, or of marks that are not dropped, must stay
/// longer than the longest word that a WordPiece model looks up ([`MAX_WORD_CHARS`](super::definition::MAX_WORD_CHARS)).
const MAX_RUN_SPACES: usize = 64;
const MAX_RUN_LETTERS: usize = super::definition::MAX_WORD_CHARS + 1;

/// The end of a prefix of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixEnd {
    /// Length of the prefix in bytes.
    pub bytes: usize,
    /// Whether it ends between a word and the space after it: no tokenizer that splits at spaces joins across that
    /// point, and no Unicode normalization does (a space composes with nothing). The word ends with a letter, a digit or
    /// ASCII punctuation: of other characters, normalization may make a space or nothing. Otherwise the prefix may end inside
    /// a word.
    pub clean: bool,
}

/// The end of the longest clean prefix of at most `bytes` bytes, or a ragged one if that would be less than half of it.
pub fn prefix_end(text: &str, bytes: usize) -> PrefixEnd {
    if text.len() <= bytes {
        return PrefixEnd { bytes: text.len(), clean: true };
    }
    let ragged = boundary(text, bytes);
    let half = boundary(text, bytes / 2);
    let mut spaces = text[half..ragged].rmatch_indices(' ').map(|(at, _)| half + at);
    let ends_word = |c: char| c.is_alphanumeric() || c.is_ascii_punctuation();
    match spaces.find(|&at| text[..at].chars().next_back().is_some_and(ends_word)) {
        Some(bytes) => PrefixEnd { bytes, clean: true },
        None => PrefixEnd { bytes: ragged, clean: false },
    }
}

/// The start of the longest suffix of at most `bytes` bytes that begins with a space after a word, or of a ragged one if that
/// would be less than half of it.
pub fn suffix_start(text: &str, bytes: usize) -> usize {
    let Some(ragged) = text.len().checked_sub(bytes).filter(|at| *at > 0) else { return 0 };
    let ragged = boundary(text, ragged);
    let half = boundary(text, text.len() - bytes / 2);
    let mut spaces = text[ragged..half].match_indices(' ').map(|(at, _)| ragged + at);
    spaces.find(|&at| text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace())).unwrap_or(ragged)
}

/// The last character boundary at or before `at`, which lies inside the text.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

/// What BERT's normalizer drops.
#[derive(Clone, Copy)]
pub struct Shortening {
    /// Control characters: `clean_text`.
    pub drops_controls: bool,
    /// Combining marks: `strip_accents`.
    pub drops_marks: bool,
}

/// A text without the excess of its long runs of spaces, of letters and of what is dropped, made from its start on demand.
/// BERT's tokenizer gives it the same tokens as the text: spaces only separate words, and a word above the length limit is
/// one unknown token, however long.
pub struct ShortenedText<'a> {
    /// The shortened text so far.
    pub text: String,
    rest: &'a str,
    how: Shortening,
    run: Option<CharClass>,
    run_length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CharClass {
    /// Separates words, and is dropped.
    Space,
    /// Part of a word, and counted by the length limit.
    Letter,
    /// Part of a word, but normalization may drop it.
    Mark,
    /// A control character, which normalization may drop.
    Control,
    /// What normalization drops.
    Dropped,
    /// Anything else, for example punctuation, which is a word by itself.
    Other,
}

impl<'a> ShortenedText<'a> {
    /// Nothing read yet.
    pub fn new(text: &'a str, how: Shortening) -> Self {
        Self { text: String::new(), rest: text, how, run: None, run_length: 0 }
    }

    /// Reads more of the text until `self.text` has at least `bytes` bytes or the text ends.
    pub fn extend(&mut self, bytes: usize) {
        let mut chars = self.rest.chars();
        while self.text.len() < bytes {
            let Some(c) = chars.next() else { break };
            let class = match classify(c) {
                CharClass::Mark if self.how.drops_marks => CharClass::Dropped,
                CharClass::Control if self.how.drops_controls => CharClass::Dropped,
                class => class,
            };
            let goes_on = match (class, self.run) {
                (CharClass::Mark | CharClass::Dropped, Some(CharClass::Letter)) => true,
                (CharClass::Dropped, Some(CharClass::Space)) => true,
                (class, run) => run == Some(class),
            };
            if !goes_on {
                (self.run, self.run_length) = (Some(class), 0);
            }
            // Among letters, only letters count: the limit is one of the word's length.
            let counts = self.run != Some(CharClass::Letter) || class == CharClass::Letter;
            self.run_length += usize::from(counts);
            let keep = match self.run {
                Some(CharClass::Space | CharClass::Dropped) => self.run_length <= MAX_RUN_SPACES,
                Some(CharClass::Letter | CharClass::Mark) => self.run_length <= MAX_RUN_LETTERS,
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
pub fn ends_runs(c: char) -> bool {
    classify(c) == CharClass::Other
}

/// Lists only characters whose class is certain: calling others `Other` costs time, not correctness. CJK ideographs are
/// words by themselves.
fn classify(c: char) -> CharClass {
    match c {
        ' ' | '\t' | '\n' | '\r' | '\u{a0}' | '\u{3000}' => CharClass::Space,
        'a'..='z' | 'A'..='Z' | '0'..='9' => CharClass::Letter,
        // Latin, Greek, Cyrillic.
        '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{481}' | '\u{48a}'..='\u{52f}' if c.is_alphabetic() => {
            CharClass::Letter
        }
        // Letters of Hebrew, Arabic, Thai; kana and Hangul; pictographs and faces.
        '\u{5d0}'..='\u{5ea}' | '\u{621}'..='\u{63a}' | '\u{e01}'..='\u{e2e}' => CharClass::Letter,
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{ac00}'..='\u{d7a3}' => CharClass::Letter,
        '\u{1f300}'..='\u{1f5ff}' | '\u{1f600}'..='\u{1f64f}' => CharClass::Letter,
        // Combining accents, variation selectors.
        '\u{300}'..='\u{36f}' | '\u{fe0e}' | '\u{fe0f}' => CharClass::Mark,
        // Controls, soft hyphen, zero-width space and joiners, marks of direction, word joiner, byte order mark, replacement
        // character.
        '\0'..='\u{8}' | '\u{b}'..='\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => CharClass::Control,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2063}' | '\u{feff}' | '\u{fffd}' => {
            CharClass::Control
        }
        _ => CharClass::Other,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// For the tokenizer's tests: the characters that lengthen a word, and those that do not end it.
    pub fn letters_and_marks() -> (Vec<char>, Vec<char>) {
        let of = |class| ('\0'..=char::MAX).filter(|&c| classify(c) == class).collect();
        (of(CharClass::Letter), of(CharClass::Mark))
    }

    /// For the tokenizer's tests: the characters that are dropped.
    pub fn controls() -> Vec<char> {
        ('\0'..=char::MAX).filter(|&c| classify(c) == CharClass::Control).collect()
    }

    #[test]
    fn a_prefix_ends_before_the_last_space_that_follows_a_word() {
        assert_eq!(prefix_end("one two", 7), PrefixEnd { bytes: 7, clean: true });
        assert_eq!(prefix_end("one two three", 9), PrefixEnd { bytes: 7, clean: true });
        assert_eq!(prefix_end("one two   three", 12), PrefixEnd { bytes: 7, clean: true });
        assert_eq!(prefix_end("a\tbcd\tefgh", 6), PrefixEnd { bytes: 6, clean: false });
        assert_eq!(prefix_end("éééé", 3), PrefixEnd { bytes: 2, clean: false });
        assert_eq!(prefix_end("é a\u{200b} bcd", 8), PrefixEnd { bytes: 8, clean: false });
        assert_eq!(prefix_end("      ", 3), PrefixEnd { bytes: 3, clean: false });
    }

    #[test]
    fn only_the_excess_of_long_runs_is_dropped() {
        let letters = "é\u{301}".repeat(MAX_RUN_LETTERS);
        let text = format!("a{}b,{letters}", " \n".repeat(MAX_RUN_SPACES / 2));
        let long = format!("a{}b,{letters}{}", " \n".repeat(MAX_RUN_SPACES), "x\u{fe0f}".repeat(9));
        let (all, nothing) = (shortening(true, true), shortening(false, false));
        for how in [all, nothing] {
            let mut shortened = ShortenedText::new(&long, how);
            shortened.extend(10);
            assert_eq!((shortened.text.len(), shortened.ended()), (10, false));
            shortened.extend(usize::MAX);
            assert!(shortened.ended());
            assert_eq!(shortened.text, text);
        }
    }

    fn shortening(drops_controls: bool, drops_marks: bool) -> Shortening {
        Shortening { drops_controls, drops_marks }
    }

    #[test]
    fn what_is_dropped_is_shortened_alone_among_spaces_and_among_letters() {
        let chars = |text: &str, how| {
            let mut shortened = ShortenedText::new(text, how);
            shortened.extend(usize::MAX);
            shortened.text.chars().count()
        };
        for (unit, how, kept) in [
            ("\u{1}", shortening(true, false), MAX_RUN_SPACES),
            (" \u{1}", shortening(true, false), MAX_RUN_SPACES),
            ("\u{301}", shortening(true, true), MAX_RUN_SPACES),
            ("x\u{1}", shortening(true, true), 2 * MAX_RUN_LETTERS),
            // Marks that stay are letters, and controls that stay are what they may be.
            ("\u{301}", shortening(true, false), MAX_RUN_LETTERS),
            ("\u{1}", shortening(false, false), 5000),
        ] {
            assert_eq!(chars(&unit.repeat(5000 / unit.chars().count()), how), kept, "{unit:?}");
        }
        assert_eq!(chars("a\u{1} \u{1}b", shortening(true, true)), 5);
    }
}
