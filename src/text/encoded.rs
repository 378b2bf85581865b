//! The tokens of one text.

/// The token ids of a text, without special tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The bytes of the text that each token stands for, where they were asked for.
    pub spans: Vec<(usize, usize)>,
    /// Whether the text was read to its end; if not, there were enough tokens.
    pub complete: bool,
}
