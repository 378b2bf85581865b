//! Logits -> scores, in f64 and with our own exponential, so that every platform computes the same bits.

use super::math::{exp, ln};
use super::spec::ScoreActivation;

impl ScoreActivation {
    /// What [`name`](Self::name) can return.
    pub const NAMES: [&'static str; 4] = ["identity", "sigmoid", "tanh", "softmax"];

    /// The name in results and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Softmax => "softmax",
        }
    }

    /// The scores of one pair. NaN stays NaN.
    pub fn apply(self, logits: &[f32]) -> Vec<f64> {
        let logits = logits.iter().map(|&x| f64::from(x));
        match self {
            Self::Identity => logits.collect(),
            Self::Sigmoid => logits.map(sigmoid).collect(),
            // tanh(x) = 2 sigmoid(2x) - 1.
            Self::Tanh => logits.map(|x| 2.0 * sigmoid(2.0 * x) - 1.0).collect(),
            Self::Softmax => {
                let max = logits.clone().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = logits.map(|x| exp(x - max)).collect();
                let total: f64 = powers.iter().sum();
                powers.into_iter().map(|p| p / total).collect()
            }
        }
    }
}

/// How a pair gets one score: the label whose score it is, and the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelScoring {
    /// Index of the label.
    pub label: usize,
    /// What turns logits into scores.
    pub activation: ScoreActivation,
}

impl LabelScoring {
    /// The label's logit and score, which order pairs in the same way. A softmax depends on all labels, so its logit does
    /// too: it is the label's log-odds against the others, which for two labels is the difference of their logits.
    pub fn apply(self, logits: &[f32]) -> (f32, f64) {
        let Self { label, activation } = self;
        let score = activation.apply(logits)[label];
        if activation != ScoreActivation::Softmax || logits.len() == 1 {
            return (logits[label], score);
        }
        let others = || logits.iter().enumerate().filter(|(i, _)| *i != label).map(|(_, x)| f64::from(*x));
        let max = others().fold(f64::NEG_INFINITY, f64::max);
        let log_sum_exp = max + ln(others().map(|x| exp(x - max)).sum());
        // The difference of two finite logits can be beyond the range of f32.
        let log_odds = (f64::from(logits[label]) - log_sum_exp).clamp(f32::MIN.into(), f32::MAX.into());
        (log_odds as f32, score)
    }
}

fn sigmoid(x: f64) -> f64 {
    // The exponential of a negative number never overflows.
    let power = exp(-x.abs());
    if x < 0.0 { power / (1.0 + power) } else { 1.0 / (1.0 + power) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_equal_the_closed_forms() {
        for i in -400..=400 {
            let x = i as f32 / 13.0;
            let wide = f64::from(x);
            let [sigmoid] = ScoreActivation::Sigmoid.apply(&[x])[..] else { panic!() };
            assert!((sigmoid - 1.0 / (1.0 + (-wide).exp())).abs() < 1e-15, "sigmoid({x}) = {sigmoid}");
            let [tanh] = ScoreActivation::Tanh.apply(&[x])[..] else { panic!() };
            assert!((tanh - wide.tanh()).abs() < 1e-15, "tanh({x}) = {tanh}");
            assert_eq!(ScoreActivation::Identity.apply(&[x]), [wide]);
        }
        // The published score of a model card whose logit is 8.607138.
        assert!((ScoreActivation::Sigmoid.apply(&[8.607138])[0] - 0.9998173).abs() < 1e-7);
    }

    #[test]
    fn every_name_is_listed() {
        use ScoreActivation::*;
        assert_eq!([Identity, Sigmoid, Tanh, Softmax].map(ScoreActivation::name), ScoreActivation::NAMES);
    }

    #[test]
    fn softmax_sums_to_one_and_never_overflows() {
        let scores = ScoreActivation::Softmax.apply(&[1e38, 0.0, -1e38]);
        assert_eq!(scores, [1.0, 0.0, 0.0]);
        let scores = ScoreActivation::Softmax.apply(&[1.0, 2.0, 3.0]);
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert!((scores[2] - 0.665_240_955_774_821_9).abs() < 1e-15);
    }

    #[test]
    fn a_softmax_orders_pairs_by_the_labels_log_odds() {
        let softmax = |label| LabelScoring { label, activation: ScoreActivation::Softmax };
        assert_eq!(softmax(1).apply(&[1.0, 3.0]).0, 2.0);
        assert_eq!(softmax(0).apply(&[1.0, 3.0]).0, -2.0);
        assert_eq!(softmax(0).apply(&[3e38, -3e38]), (f32::MAX, 1.0));
        let (logit, score) = softmax(2).apply(&[0.3, -1.0, 0.7]);
        assert!((f64::from(logit) - (score / (1.0 - score)).ln()).abs() < 1e-6, "{logit} {score}");
        // Its own logit is lower in the first pair but the score is higher: the other logit is lower by more.
        assert!(softmax(0).apply(&[1.0, -5.0]).0 > softmax(0).apply(&[2.0, 1.0]).0);
        let sigmoid = LabelScoring { label: 1, activation: ScoreActivation::Sigmoid };
        assert_eq!(sigmoid.apply(&[5.0, 0.0]), (0.0, 0.5));
    }

    #[test]
    fn nan_stays_nan_and_infinities_become_the_limits() {
        assert!(ScoreActivation::Sigmoid.apply(&[f32::NAN])[0].is_nan());
        assert_eq!(ScoreActivation::Sigmoid.apply(&[f32::INFINITY, f32::NEG_INFINITY]), [1.0, 0.0]);
    }
}
