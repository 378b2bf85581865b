//! How many tokens the next round of a call with a deadline computes.

use std::time::Duration;

/// A round takes at most this part of the time that is left, as far as the round before tells. So the rounds end before the
/// deadline if one takes up to twice as long as was measured, and they get smaller towards it, down to one document.
const PART_OF_REMAINING: f64 = 0.5;

/// A round is at most this many times as large as the one before: the time of a small round says little about a large one,
/// in which other weights come from memory and other threads take part. The first rounds, 1, 2, 4 documents, then cost a
/// small part of a call that is long enough for full groups.
const MAX_GROWTH: usize = 2;

/// The sizes of rounds, by the time that the rounds before took.
pub struct Pace {
    max_tokens: usize,
    last: Option<Round>,
}

struct Round {
    tokens: usize,
    seconds_per_token: f64,
}

impl Pace {
    /// Before the first round; no round should have more than `max_tokens` tokens.
    pub fn new(max_tokens: usize) -> Self {
        Self { max_tokens, last: None }
    }

    /// The tokens of the next round, where `remaining` is left: 1, for a round of one document, as long as nothing is
    /// measured.
    pub fn next_tokens(&self, remaining: Duration) -> usize {
        let Some(last) = &self.last else { return 1 };
        // A cast of too large a number gives the largest integer.
        let affordable = (remaining.as_secs_f64() * PART_OF_REMAINING / last.seconds_per_token) as usize;
        affordable.min(last.tokens.saturating_mul(MAX_GROWTH)).clamp(1, self.max_tokens.max(1))
    }

    /// Takes note of a round that was computed to its end.
    pub fn measured(&mut self, tokens: usize, took: Duration) {
        if tokens > 0 {
            // Above zero, so that there is no division by it where the clock is coarser than a round.
            let seconds = took.as_secs_f64().max(1e-9);
            self.last = Some(Round { tokens, seconds_per_token: seconds / tokens as f64 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of each round until the deadline, at a constant speed, for documents of `document` tokens.
    fn rounds(document: usize, per_token: Duration, limit: Duration, max_tokens: usize) -> Vec<usize> {
        let mut pace = Pace::new(max_tokens);
        let (mut now, mut rounds) = (Duration::ZERO, Vec::new());
        while now < limit {
            let documents = (pace.next_tokens(limit - now) / document).max(1);
            let took = per_token * (documents * document) as u32;
            now += took;
            rounds.push(documents);
            pace.measured(documents * document, took);
        }
        rounds
    }

    #[test]
    fn rounds_double_from_one_document_and_shrink_to_one_before_the_deadline() {
        let (micro, milli) = (Duration::from_micros, Duration::from_millis);
        assert_eq!(rounds(10, micro(20), milli(8), 4096), [1, 2, 4, 8, 12, 6, 3, 2, 1, 1]);
        // Long enough for the largest rounds: most of the work is done in them.
        let long = rounds(10, micro(20), milli(800), 640);
        assert_eq!(long[..8], [1, 2, 4, 8, 16, 32, 64, 64]);
        assert!(long.iter().filter(|&&n| n == 64).count() > 50, "{long:?}");
        assert_eq!(long[long.len() - 3..], [2, 1, 1]);
        // No pair fits: it is tried once.
        assert_eq!(rounds(10, milli(1), milli(8), 4096), [1]);
        // Only the last round can end late, and it has one document.
        for limit in 1..100 {
            let rounds = rounds(10, micro(20), micro(limit * 100), 4096);
            let (last, before) = rounds.split_last().unwrap();
            assert_eq!(*last, 1, "{rounds:?}");
            assert!(before.iter().sum::<usize>() * 200 < limit as usize * 100, "{rounds:?}");
        }
    }

    #[test]
    fn a_slow_round_makes_the_next_one_small_and_a_clock_that_stands_still_is_no_division_by_zero() {
        let mut pace = Pace::new(4096);
        pace.measured(64, Duration::from_millis(64));
        assert_eq!(pace.next_tokens(Duration::from_millis(1000)), 128);
        pace.measured(128, Duration::from_millis(900));
        assert_eq!(pace.next_tokens(Duration::from_millis(36)), 2);
        pace.measured(2, Duration::ZERO);
        assert_eq!(pace.next_tokens(Duration::from_secs(1)), 4);
        pace.measured(0, Duration::from_secs(9));
        assert_eq!(pace.next_tokens(Duration::from_secs(1)), 4);
        assert_eq!(Pace::new(0).next_tokens(Duration::MAX), 1);
    }
}
