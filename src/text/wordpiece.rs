//! WordPiece: a word is divided into tokens from its start, each the longest one that matches.
//!
//! The `tokenizers` crate's implementation stores every token twice, once to look up the token of an id, and allocates a
//! string for each look-up. With it the tokenizer would take a fifth of the memory of an int8 model, and a third longer to
//! load.

use std::borrow::Cow;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// A vocabulary, and how words are divided into its tokens.
pub struct WordPiece {
    vocabulary: Vocabulary,
    /// Length of the longest token in bytes.
    max_token_bytes: usize,
    /// Id of the token for a word that cannot be divided into tokens.
    unknown: u32,
    /// The prefix of tokens that continue a word, usually `##`.
    continuing_prefix: Box<str>,
    /// Maximum characters of a word; a longer one is unknown.
    max_word_chars: usize,
}

/// Tokens and their ids. All tokens share one string: thirty thousand strings of their own would make loading slower.
struct Vocabulary {
    tokens: String,
    table: HashTable<Entry>,
}

/// A token's position in the string, and its id.
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
                    // Fits u32: the file is far shorter than 4 GiB.
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
    /// Where a token has two entries, the last one counts. `None` where the unknown token has no entry.
    pub fn new(
        entries: &[(Cow<'_, str>, u32)],
        unknown: &str,
        prefix: &str,
        max_word_chars: usize,
    ) -> Option<Self> {
        let max_token_bytes = entries.iter().map(|(token, _)| token.len()).max().unwrap_or(0);
        let vocabulary = Vocabulary::new(entries);
        let unknown = vocabulary.id(unknown)?;
        Some(Self { vocabulary, max_token_bytes, unknown, continuing_prefix: prefix.into(), max_word_chars })
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.vocabulary.id(token)
    }

    /// The number of tokens in the vocabulary.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.table.len()
    }

    /// Appends the tokens of a word to `tokens`.
    pub fn tokenize(&self, word: &str, tokens: &mut Vec<WordToken>) {
        let too_long = word.len() > self.max_word_chars && word.chars().count() > self.max_word_chars;
        match self.id(word) {
            // Most words are tokens themselves.
            Some(id) if !too_long && !word.is_empty() => tokens.push((id, (0, word.len()))),
            _ => {
                let before = tokens.len();
                if too_long || !self.tokenize_by_longest_match(word, tokens) {
                    tokens.truncate(before);
                    tokens.push((self.unknown, (0, word.len())));
                }
            }
        }
    }

    /// Appends the longest matching tokens one after another. Returns whether they make up the whole word.
    fn tokenize_by_longest_match(&self, word: &str, tokens: &mut Vec<WordToken>) -> bool {
        // The continuing prefix (empty at the start of the word), then the rest of the word.
        let mut rest = word.to_owned();
        let (mut start, mut prefix) = (0, 0);
        while start < word.len() {
            let ends = rest[prefix..].char_indices().map(|(at, c)| prefix + at + c.len_utf8()).rev();
            let found = ends
                .filter(|end| *end <= self.max_token_bytes)
                .find_map(|end| Some((self.id(&rest[..end])?, end - prefix)));
            let Some((id, length)) = found else { return false };
            tokens.push((id, (start, start + length)));
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

    fn tokenize(words: &WordPiece, word: &str) -> Vec<WordToken> {
        let mut tokens = vec![(7, (7, 7))];
        words.tokenize(word, &mut tokens);
        assert_eq!(tokens.remove(0), (7, (7, 7)));
        tokens
    }

    #[test]
    fn a_word_is_divided_into_the_longest_matching_tokens() {
        let words = word_piece(&["?", "a", "ab", "##b", "##é", "##éé", "abab"]);
        assert_eq!(tokenize(&words, ""), []);
        assert_eq!(tokenize(&words, "a"), [(1, (0, 1))]);
        assert_eq!(tokenize(&words, "abb"), [(2, (0, 2)), (3, (2, 3))]);
        assert_eq!(tokenize(&words, "aééé"), [(1, (0, 1)), (5, (1, 5)), (4, (5, 7))]);
        // The longest match may leave a rest that has no token: WordPiece does not backtrack.
        assert_eq!(tokenize(&words, "ababa"), [(0, (0, 5))]);
    }

    #[test]
    fn an_unknown_or_too_long_word_is_one_unknown_token() {
        let words = word_piece(&["?", "a", "##a"]);
        assert_eq!(tokenize(&words, "aaaaa").len(), 5);
        assert_eq!(tokenize(&words, "aaaaaa"), [(0, (0, 6))]);
        assert_eq!(tokenize(&words, "aéa"), [(0, (0, 4))]);
        // The vocabulary may hold a token that is longer than the maximum of a word.
        assert_eq!(tokenize(&word_piece(&["?", "aaaaaa"]), "aaaaaa"), [(0, (0, 6))]);
        assert!(WordPiece::new(&[("a".into(), 0)], "?", "##", 5).is_none());
    }
}
