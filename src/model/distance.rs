//! What attention knows about positions, as tables that are made once per load: biases and rows by distance, rotations by
//! position.

use crate::model::math::{exp, ln, sin_cos};

/// The distances `query - key` of sequences of at most `tokens` tokens, in the order of the tables' columns.
fn distances(tokens: usize) -> impl Iterator<Item = i64> {
    let most = tokens as i64 - 1;
    -most..=most
}

/// The bucket of each distance, as T5 and MPNet count them: one half for keys before the query, one for keys after it; the
/// first half of each for distances of their own, the rest even in the logarithm up to 128.
pub fn buckets(count: usize, tokens: usize) -> impl Iterator<Item = usize> {
    const FARTHEST: f64 = 128.0;
    let side = count / 2;
    let exact = side / 2;
    distances(tokens).map(move |distance| {
        let near = distance.unsigned_abs() as usize;
        let bucket = if near < exact {
            near
        } else {
            let share = ln(near as f64 / exact as f64) / ln(FARTHEST / exact as f64);
            // A power of two divides a side exactly in the logarithm: rounding must not put it into the bucket before.
            let far = exact + (share * (side - exact) as f64 + 1e-9) as usize;
            far.min(side - 1)
        };
        if distance < 0 { side + bucket } else { bucket }
    })
}

/// The row of DeBERTa's `2 * span` distance embeddings for each distance: its own near by, shared from `span / 2` on, even
/// in the logarithm up to `farthest` (0: none are shared), the last one for all that is farther.
pub fn rows(span: usize, farthest: usize, tokens: usize) -> Vec<u32> {
    let (last, middle) = (2 * span as i64 - 1, (span / 2) as i64);
    let row = |distance: i64| {
        let near = distance.abs();
        let bucket = if farthest == 0 || near <= middle {
            near
        } else {
            let middle = middle as f64;
            let share = ln(near as f64 / middle) / ln((farthest as f64 - 1.0) / middle);
            // At the farthest distance the quotient is 1 exactly, and rounds up to itself.
            (share * (middle - 1.0)).ceil() as i64 + middle as i64
        };
        (span as i64 + distance.signum() * bucket).clamp(0, last) as u32
    };
    distances(tokens).map(row).collect()
}

/// ALiBi's biases `[heads, 2 tokens - 1]`: minus the distance times a slope, 2^(-8 i / heads) for head i from 1; for a
/// number of heads that is no power of two, those of the power below it, and then every second one of the power above.
pub fn alibi(heads: usize, tokens: usize) -> Vec<f32> {
    let below = 1 << heads.ilog2();
    let slope = |head: usize| {
        let (step, of) = if head < below { (head + 1, below) } else { (2 * (head - below) + 1, 2 * below) };
        exp(-8.0 * step as f64 / of as f64 * std::f64::consts::LN_2) as f32
    };
    (0..heads).flat_map(|head| distances(tokens).map(move |d| -slope(head) * d.abs() as f32)).collect()
}

/// Rotations `[tokens, width]`: in each row the cosines and then the sines of
/// position * theta^(-2i / width) * shrink^(-2 / width). Frequencies,
/// angles and results are each rounded to f32, as transformers rounds them: at position 8000 the angle's rounding alone
/// moves a cosine by 1e-4, and the models were trained with it.
pub fn rotations(theta: f64, shrink: f64, width: usize, tokens: usize) -> Vec<f32> {
    let frequency = |i: usize| exp(-(ln(theta) * (2 * i) as f64 + ln(shrink) * 2.0) / width as f64) as f32;
    let frequencies: Vec<f32> = (0..width / 2).map(frequency).collect();
    let turn = |position: usize| {
        let angles = frequencies.iter().map(move |frequency| f64::from(*frequency * position as f32));
        let (sines, cosines): (Vec<f32>, Vec<f32>) =
            angles.map(sin_cos).map(|(sin, cos)| (sin as f32, cos as f32)).unzip();
        cosines.into_iter().chain(sines)
    };
    (0..tokens).flat_map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_t5() {
        let of = |distance: i64| buckets(32, 301).nth((distance + 300) as usize).unwrap();
        let near: Vec<usize> =
            [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 32, 45, 46, 64, 90, 91, 128, 300].map(of).into();
        assert_eq!(near, [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 12, 12, 13, 14, 14, 15, 15, 15]);
        assert_eq!([-1, -8, -64, -300].map(of), [17, 24, 30, 31]);
    }

    #[test]
    fn rows_never_fall_and_rise_by_at_most_one() {
        for (span, farthest, tokens) in [(16, 128, 600), (256, 512, 512), (256, 512, 4000), (32, 0, 100)] {
            let rows = rows(span, farthest, tokens);
            assert_eq!(rows.len(), 2 * tokens - 1);
            assert!(rows.windows(2).all(|w| w[1] == w[0] || w[1] == w[0] + 1));
            assert_eq!(rows[tokens - 1], span as u32, "no distance is the middle row");
        }
        // Shared rows: at 512 the last but one; near by each its own.
        let rows = rows(256, 512, 600);
        let of = |distance: i64| rows[(distance + 599) as usize];
        assert_eq!([0, 1, 128, 129, 511, 512, 599].map(of), [256, 257, 384, 385, 511, 511, 511]);
        assert_eq!([-1, -128, -511, -599].map(of), [255, 128, 1, 0]);
    }

    #[test]
    fn slopes_are_those_of_the_paper() {
        let slopes = |heads: usize| alibi(heads, 2).chunks(3).map(|row| -row[0]).collect::<Vec<f32>>();
        assert_eq!(slopes(8), (1..=8).map(|i| 0.5f32.powi(i)).collect::<Vec<_>>());
        assert_eq!(slopes(12)[..8], slopes(8));
        let between: Vec<f64> = slopes(12)[8..].iter().map(|s| f64::from(*s)).collect();
        for (i, slope) in between.into_iter().enumerate() {
            assert!((slope - 0.5f64.powf(i as f64 + 0.5)).abs() < 1e-7);
        }
        assert_eq!(alibi(1, 3), [-0.0078125, -0.00390625, -0.0, -0.00390625, -0.0078125]);
    }

    #[test]
    fn rotations_are_cosines_and_sines() {
        let turns = rotations(10_000.0, 1.0, 8, 50);
        for (position, row) in turns.chunks(8).enumerate() {
            for i in 0..4 {
                let angle = position as f64 * 10_000f64.powf(-(i as f64) / 4.0);
                assert!((f64::from(row[i]) - angle.cos()).abs() < 1e-5);
                assert!((f64::from(row[4 + i]) - angle.sin()).abs() < 1e-5);
            }
        }
        assert_eq!(turns[..8], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
