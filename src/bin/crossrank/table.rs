//! Text for a terminal: aligned, shortened, and without the control characters of documents.

/// Columns of a table that is not written to a terminal.
const DEFAULT_WIDTH: usize = 100;

/// The width of standard output in columns.
pub fn width() -> usize {
    let terminal = console::Term::stdout();
    terminal.size_checked().map_or(DEFAULT_WIDTH, |(_, columns)| columns.into())
}

/// At most `columns` terminal columns of `text` on one line, with `…` where it is shortened; `columns` is at least 1.
///
/// Control characters and those that reorder text become spaces: a document must not move the cursor, recolour the
/// terminal or disguise another line.
pub fn shorten(text: &str, columns: usize) -> String {
    // A character may take no column (combining marks). 8 characters per column bound the work on documents of any length.
    let max_chars = columns.saturating_mul(8);
    let start: String = text.chars().take(max_chars).map(|c| if harmless(c) { c } else { ' ' }).collect();
    let mut line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().nth(max_chars).is_some() {
        line.push('…');
    }
    console::truncate_str(&line, columns, "…").into_owned()
}

/// `text` padded with spaces on the right to `columns` terminal columns.
pub fn pad(text: &str, columns: usize) -> String {
    console::pad_str(text, columns, console::Alignment::Left, None).into_owned()
}

/// Terminal columns that `text` takes.
pub fn columns(text: &str) -> usize {
    console::measure_text_width(text)
}

fn harmless(c: char) -> bool {
    let reorders =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !reorders && c != '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_reordering_marks_become_spaces() {
        assert_eq!(shorten("a\x1b[31mb\u{9b}2Jc\u{202e}d\r\ne\tf\0", 80), "a [31mb 2Jc d e f");
    }

    #[test]
    fn shortened_text_fits_its_columns_and_ends_with_an_ellipsis() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        // East Asian characters take two columns each.
        assert_eq!(shorten("日本語のテキスト", 6), "日本…");
        assert_eq!(shorten(&" ".repeat(10_000), 6), "…");
    }
}
