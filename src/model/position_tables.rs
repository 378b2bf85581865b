//! Tables through which attention sees positions, computed once per load: biases and embedding rows by relative position,
//! rotations by position.

use crate::model::math::{exp, ln, sin_cos};
use crate::model::spec::{Attention, Spec};

/// Elements of all tables that are computed at load.
pub fn elements(spec: &Spec) -> u64 {
    let (tokens, head_dim) = (spec.max_tokens as u64, (spec.hidden / spec.heads) as u64);
    match &spec.attention {
        Attention::Content => 0,
        Attention::Buckets { .. } | Attention::Alibi => spec.heads as u64 * (2 * tokens - 1),
        Attention::Rotary { window, .. } => tokens * head_dim * if window.is_some() { 2 } else { 1 },
        Attention::Disentangled { rows_per_side, content_to_position, position_to_content, .. } => {
            let projections = u64::from(*content_to_position) + u64::from(*position_to_content);
            (spec.layers * 2 * rows_per_side * spec.hidden) as u64 * projections
        }
    }
}

/// The relative positions `query - key` in sequences of at most `tokens` tokens, in the order of the tables' columns.
fn relative_positions(tokens: usize) -> impl Iterator<Item = i64> {
    let max = tokens as i64 - 1;
    -max..=max
}

/// The bucket of each relative position, as T5 and MPNet define them: one half of the buckets for keys before the query, the
/// other for keys after it. In each, the first half holds one relative position per bucket, and the rest is logarithmic
/// up to 128.
pub fn buckets(count: usize, tokens: usize) -> impl Iterator<Item = usize> {
    const MAX_DISTANCE: f64 = 128.0;
    let per_side = count / 2;
    let exact = per_side / 2;
    relative_positions(tokens).map(move |position| {
        let distance = position.unsigned_abs() as usize;
        let bucket = if distance < exact {
            distance
        } else {
            let fraction = ln(distance as f64 / exact as f64) / ln(MAX_DISTANCE / exact as f64);
            // A power of two divides the range exactly in the logarithm: rounding must not put it into the bucket before.
            let bucket = exact + (fraction * (per_side - exact) as f64 + 1e-9) as usize;
            bucket.min(per_side - 1)
        };
        if position < 0 { per_side + bucket } else { bucket }
    })
}

/// For each relative position, the row of DeBERTa's table `[2 * per_side, H]` of relative position embeddings. Without
/// `max_position` every relative position has its own row. With it, this holds up to `per_side / 2`; from there on rows are
/// shared, spaced logarithmically up to `max_position`, and the last one serves all that lie beyond.
pub fn embedding_rows(per_side: usize, max_position: Option<usize>, tokens: usize) -> Vec<u32> {
    let (last, middle) = (2 * per_side as i64 - 1, (per_side / 2) as i64);
    let row = |position: i64| {
        let distance = position.abs();
        let bucket = match max_position {
            Some(max_position) if distance > middle => {
                let middle = middle as f64;
                let fraction = ln(distance as f64 / middle) / ln((max_position as f64 - 1.0) / middle);
                // At the largest distance the quotient is exactly 1, and `ceil` leaves it as it is.
                (fraction * (middle - 1.0)).ceil() as i64 + middle as i64
            }
            _ => distance,
        };
        (per_side as i64 + position.signum() * bucket).clamp(0, last) as u32
    };
    relative_positions(tokens).map(row).collect()
}

/// ALiBi's biases `[heads, 2 tokens - 1]`: minus the distance times the head's slope, 2^(-8 i / heads) for head i from 1.
/// For a number of heads that is no power of two: the slopes of the power below it, followed by every second slope of the
/// power above.
pub fn alibi(heads: usize, tokens: usize) -> Vec<f32> {
    let below = 1 << heads.ilog2();
    let slope = |head: usize| {
        let (i, count) = if head < below { (head + 1, below) } else { (2 * (head - below) + 1, 2 * below) };
        exp(-8.0 * i as f64 / count as f64 * std::f64::consts::LN_2) as f32
    };
    let biases = |head| relative_positions(tokens).map(move |d| -slope(head) * d.abs() as f32);
    (0..heads).flat_map(biases).collect()
}

/// Rotary tables `[tokens, head_dim]`: in each row the cosines and then the sines of
/// position * theta^(-2i / head_dim) * ntk_factor^(-2 / head_dim). Frequencies, angles and results are each rounded to f32,
/// as transformers rounds them: at position 8000 the rounding of the angle alone moves a cosine by 1e-4, and the models were
/// trained with it.
pub fn cos_sin(theta: f64, ntk_factor: f64, head_dim: usize, tokens: usize) -> Vec<f32> {
    let frequency =
        |i: usize| exp(-(ln(theta) * (2 * i) as f64 + ln(ntk_factor) * 2.0) / head_dim as f64) as f32;
    let frequencies: Vec<f32> = (0..head_dim / 2).map(frequency).collect();
    let row = |position: usize| {
        let angles = frequencies.iter().map(move |frequency| f64::from(*frequency * position as f32));
        let (sines, cosines): (Vec<f32>, Vec<f32>) =
            angles.map(sin_cos).map(|(sin, cos)| (sin as f32, cos as f32)).unzip();
        cosines.into_iter().chain(sines)
    };
    (0..tokens).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_t5() {
        let of = |position: i64| buckets(32, 301).nth((position + 300) as usize).unwrap();
        let before: Vec<usize> =
            [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 32, 45, 46, 64, 90, 91, 128, 300].map(of).into();
        assert_eq!(before, [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 12, 12, 13, 14, 14, 15, 15, 15]);
        assert_eq!([-1, -8, -64, -300].map(of), [17, 24, 30, 31]);
    }

    #[test]
    fn embedding_rows_never_fall_and_rise_by_at_most_one() {
        for (per_side, max_position, tokens) in
            [(16, Some(128), 600), (256, Some(512), 512), (256, Some(512), 4000), (32, None, 100)]
        {
            let rows = embedding_rows(per_side, max_position, tokens);
            assert_eq!(rows.len(), 2 * tokens - 1);
            assert!(rows.windows(2).all(|w| w[1] == w[0] || w[1] == w[0] + 1));
            assert_eq!(rows[tokens - 1], per_side as u32, "relative position 0 has the middle row");
        }
        // Up to 128 each relative position has its own row, beyond they share rows.
        let rows = embedding_rows(256, Some(512), 600);
        let of = |position: i64| rows[(position + 599) as usize];
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
    fn rotary_tables_hold_cosines_and_sines() {
        let table = cos_sin(10_000.0, 1.0, 8, 50);
        for (position, row) in table.chunks(8).enumerate() {
            for i in 0..4 {
                let angle = position as f64 * 10_000f64.powf(-(i as f64) / 4.0);
                assert!((f64::from(row[i]) - angle.cos()).abs() < 1e-5);
                assert!((f64::from(row[4 + i]) - angle.sin()).abs() < 1e-5);
            }
        }
        assert_eq!(table[..8], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
