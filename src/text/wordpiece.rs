//! WordPiece: a word becomes the longest tokens that it begins with, one after another.
//!
//! The `tokenizers` crate's own keeps every token twice, once to look up what an id was, and makes a string for each look-up:
//! with it the tokenizer takes a fifth of the memory of an 8-bit model, and a third longer to load.

use std::borrow::Cow;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// A vocabulary and how words are cut.
pub struct WordPiece {
    vocabulary: Vocabulary,
    /// Bytes of the longest token.
    max_token_bytes: usize,
    /// What a word becomes that cannot be cut into tokens.
    unknown: u32,
    /// What tokens begin with that continue a word.
    continuing_prefix: Box<str>,
    /// Characters of the longest word that is cut.
    max_word_chars: usize,
}

/// Tokens and their ids: one string in place of thirty thousand makes a model load sooner.
struct Vocabulary {
    tokens: String,
    table: HashTable<Entry>,
}

/// A token's place in the string, and its id.
struct Entry {
    start: u32,
    length: u32,
    id: u32,
}

impl Vocabulary {
    fn new(entries: &[(Cow<'_, str>, u32)]) -> Self {
        let length = entries.iter().map(|(token, _)| token.len()).sum();
        let (mut tokens, mut table) =
            (String::with_capacity(length), HashTable::with_capacity(entries.len()));
        for (token, id) in entries {
            match table.find_mut(hash(token), |entry: &Entry| entry.token(&tokens) == *token) {
                Some(entry) => entry.id = *id,
                None => {
                    // The file is far shorter than 4 GiB.
                    let entry = Entry { start: tokens.len() as u32, length: token.len() as u32, id: *id };
                    tokens.push_str(token);
                    table.insert_unique(hash(token), entry, |entry| hash(entry.token(&tokens)));
                }
            }
        }
        Self { tokens, table }
    }

    fn id(&self, token: &str) -> Option<u32> {
        self.table.find(hash(token), |entry| entry.token(&self.tokens) == token).map(|entry| entry.id)
    }
}

impl Entry {
    fn token<'a>(&self, tokens: &'a str) -> &'a str {
        &tokens[self.start as usize..][..self.length as usize]
    }
}

fn hash(token: &str) -> u64 {
    xxh3_64(token.as_bytes())
}

/// A token's id, and the bytes of the word that it stands for.
pub type WordToken = (u32, (usize, usize));

impl WordPiece {
    /// Of two entries for the same token the last one counts. `None` where the unknown token has no entry.
    pub fn new(
        entries: &[(Cow<'_, str>, u32)],
        unknown: &str,
        prefix: &str,
        max_word: usize,
    ) -> Option<Self> {
        let longest = entries.iter().map(|(token, _)| token.len()).max().unwrap_or(0);
        let vocabulary = Vocabulary::new(entries);
        let unknown = vocabulary.id(unknown)?;
        Some(Self {
            vocabulary,
            max_token_bytes: longest,
            unknown,
            continuing_prefix: prefix.into(),
            max_word_chars: max_word,
        })
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.vocabulary.id(token)
    }

    /// Tokens in the vocabulary.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.table.len()
    }

    /// Appends the tokens of a word.
    pub fn tokenize(&self, word: &str, pieces: &mut Vec<WordToken>) {
        let too_long = word.len() > self.max_word_chars && word.chars().count() > self.max_word_chars;
        match self.id(word) {
            // Most words are tokens themselves.
            Some(id) if !too_long && !word.is_empty() => pieces.push((id, (0, word.len()))),
            _ => {
                let before = pieces.len();
                if too_long || !self.tokenize_by_longest_match(word, pieces) {
                    pieces.truncate(before);
                    pieces.push((self.unknown, (0, word.len())));
                }
            }
        }
    }

    /// Appends the longest tokens one after another; whether they are the whole word.
    fn tokenize_by_longest_match(&self, word: &str, pieces: &mut Vec<WordToken>) -> bool {
        // The prefix and what is left of the word.
        let mut rest = word.to_owned();
        let (mut start, mut prefix) = (0, 0);
        while start < word.len() {
            let ends = rest[prefix..].char_indices().map(|(at, c)| prefix + at + c.len_utf8()).rev();
            let found = ends
                .filter(|end| *end <= self.max_token_bytes)
                .find_map(|end| Some((self.id(&rest[..end])?, end - prefix)));
            let Some((id, length)) = found else { return false };
            pieces.push((id, (start, start + length)));
            start += length;
            rest.clear();
            rest.push_str(&self.continuing_prefix);
            rest.push_str(&word[start..]);
            prefix = self.continuing_prefix.len();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word_piece(tokens: &[&str]) -> WordPiece {
        let entries: Vec<_> = tokens.iter().zip(0..).map(|(token, id)| ((*token).into(), id)).collect();
        WordPiece::new(&entries, "?", "##", 5).unwrap()
    }

    fn cut(words: &WordPiece, word: &str) -> Vec<WordToken> {
        let mut pieces = vec![(7, (7, 7))];
        words.tokenize(word, &mut pieces);
        assert_eq!(pieces.remove(0), (7, (7, 7)));
        pieces
    }

    #[test]
    fn a_word_becomes_the_longest_tokens_it_begins_with() {
        let words = word_piece(&["?", "a", "ab", "##b", "##é", "##éé", "abab"]);
        assert_eq!(cut(&words, ""), []);
        assert_eq!(cut(&words, "a"), [(1, (0, 1))]);
        assert_eq!(cut(&words, "abb"), [(2, (0, 2)), (3, (2, 3))]);
        assert_eq!(cut(&words, "aééé"), [(1, (0, 1)), (5, (1, 5)), (4, (5, 7))]);
        // The longest token may lead where nothing goes on: there is no way back.
        assert_eq!(cut(&words, "ababa"), [(0, (0, 5))]);
    }

    #[test]
    fn what_is_unknown_or_too_long_is_one_unknown_token() {
        let words = word_piece(&["?", "a", "##a"]);
        assert_eq!(cut(&words, "aaaaa").len(), 5);
        assert_eq!(cut(&words, "aaaaaa"), [(0, (0, 6))]);
        assert_eq!(cut(&words, "aéa"), [(0, (0, 4))]);
        // A token that is longer than a word may be.
        assert_eq!(cut(&word_piece(&["?", "aaaaaa"]), "aaaaaa"), [(0, (0, 6))]);
        assert!(WordPiece::new(&[("a".into(), 0)], "?", "##", 5).is_none());
    }
}
