//! Where the tokens of a word cannot depend on what follows.
//!
//! A text is cut to a prefix before it is tokenized, and the cut may lie inside a word. Then how far from the cut the tokens
//! differ from the whole text's has no limit: of a run of dots, a Unigram model with tokens of one and of three dots puts the
//! odd one first, so that the first token depends on the length of the whole run, and a BPE merges in the order of its list,
//! not of the text. But neither model has a token that is not in its vocabulary. Where no token of the vocabulary contains the
//! two characters on both sides of a point as neighbours, none lies across the point: the best path of the Unigram model
//! leads through it, no merge of the BPE crosses it, and the tokens before it are those of the text before it alone.

/// What the tokens of a vocabulary say about neighbouring characters.
pub struct Neighbours {
    /// Characters that are tokens by themselves, sorted. Any other one may be unknown, and be fused with an unknown one after
    /// it.
    tokens: Vec<char>,
    /// Characters that are neighbours inside of a token, sorted.
    pairs: Vec<(char, char)>,
}

impl Neighbours {
    /// Reads a vocabulary.
    pub fn new<'a>(vocabulary: impl Iterator<Item = &'a str>) -> Self {
        let (mut tokens, mut pairs) = (Vec::new(), Vec::new());
        for token in vocabulary {
            let mut chars = token.chars();
            let Some(mut before) = chars.next() else { continue };
            if chars.as_str().is_empty() {
                tokens.push(before);
            }
            for c in chars {
                pairs.push((before, c));
                before = c;
            }
        }
        tokens.sort_unstable();
        pairs.sort_unstable();
        pairs.dedup();
        // A vocabulary has several times as many pairs as different ones.
        pairs.shrink_to_fit();
        Self { tokens, pairs }
    }

    /// Forgets that a character is a token by itself.
    pub fn remove_token(&mut self, token: char) {
        self.tokens.retain(|c| *c != token);
    }

    /// Whether the tokens of `word` before the byte `at` are the same whatever follows after the next character.
    pub fn settled(&self, word: &str, at: usize) -> bool {
        let Some((before, after)) = word.split_at_checked(at) else { return false };
        let (Some(before), Some(after)) = (before.chars().next_back(), after.chars().next()) else {
            return false;
        };
        self.tokens.binary_search(&before).is_ok() && self.pairs.binary_search(&(before, after)).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_settled_where_no_token_lies_across_it_and_a_known_character_before_it() {
        let mut neighbours = Neighbours::new(["a", "b", "é", "abé", "éx", ""].into_iter());
        let settled = |neighbours: &Neighbours, word: &str| -> Vec<usize> {
            (0..=word.len() + 1).filter(|&at| neighbours.settled(word, at)).collect()
        };
        // ab, bé and éx are parts of tokens; x is no token by itself; é has two bytes.
        assert_eq!(settled(&neighbours, "abéab"), [4]);
        assert_eq!(settled(&neighbours, "aabxaéxb"), [1, 3, 5]);
        assert_eq!(settled(&neighbours, "bbb"), [1, 2]);
        neighbours.remove_token('b');
        assert_eq!(settled(&neighbours, "bbb"), [0; 0]);
    }
}
