//! Logits -> scores, in f64 and with our own exponential and logarithm, so that every platform computes the same bits.

use super::math::{exp, ln};
use super::spec::ScoreActivation;

/// SELU's two constants, as torch has them.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
/// Below this, ln(1 + y) is taken from its series, whose fourth term is then below the precision of f64.
const LN_1P_SERIES: f64 = 1e-5;

impl ScoreActivation {
    /// Every score activation.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::Sigmoid,
        Self::Tanh,
        Self::Softmax,
        Self::Relu,
        Self::Relu6,
        Self::LeakyRelu,
        Self::Elu,
        Self::Celu,
        Self::Selu,
        Self::Softplus,
        Self::Softsign,
        Self::LogSigmoid,
        Self::Hardsigmoid,
    ];

    /// What [`name`](Self::name) can return.
    pub const NAMES: [&'static str; 14] = {
        let mut names = [""; 14];
        let mut index = 0;
        while index < names.len() {
            names[index] = Self::ALL[index].names().1;
            index += 1;
        }
        names
    };

    /// Its class in torch.nn.
    pub fn torch_class(self) -> &'static str {
        self.names().0
    }

    /// The name in results and on the command line.
    pub fn name(self) -> &'static str {
        self.names().1
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Identity => ("Identity", "identity"),
            Self::Sigmoid => ("Sigmoid", "sigmoid"),
            Self::Tanh => ("Tanh", "tanh"),
            Self::Softmax => ("Softmax", "softmax"),
            Self::Relu => ("ReLU", "relu"),
            Self::Relu6 => ("ReLU6", "relu6"),
            Self::LeakyRelu => ("LeakyReLU", "leaky_relu"),
            Self::Elu => ("ELU", "elu"),
            Self::Celu => ("CELU", "celu"),
            Self::Selu => ("SELU", "selu"),
            Self::Softplus => ("Softplus", "softplus"),
            Self::Softsign => ("Softsign", "softsign"),
            Self::LogSigmoid => ("LogSigmoid", "logsigmoid"),
            Self::Hardsigmoid => ("Hardsigmoid", "hardsigmoid"),
        }
    }

    /// The scores of one pair. NaN stays NaN.
    pub fn apply(self, logits: &[f32]) -> Vec<f64> {
        let logits = logits.iter().map(|&x| f64::from(x));
        if self != Self::Softmax {
            return logits.map(|x| self.apply_to_one(x)).collect();
        }
        let max = logits.clone().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = logits.map(|x| exp(x - max)).collect();
        let total: f64 = powers.iter().sum();
        powers.into_iter().map(|p| p / total).collect()
    }

    /// The score of one logit, with the parameters that torch's class has without arguments. Never falls where x rises, so
    /// that logits order pairs as scores do.
    fn apply_to_one(self, x: f64) -> f64 {
        if x.is_nan() {
            return x;
        }
        let below_zero = |otherwise: f64| if x < 0.0 { otherwise } else { x };
        match self {
            Self::Identity | Self::Softmax => x,
            Self::Sigmoid => sigmoid(x),
            // tanh(x) = 2 sigmoid(2x) - 1.
            Self::Tanh => 2.0 * sigmoid(2.0 * x) - 1.0,
            Self::Relu => below_zero(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu => below_zero(0.01 * x),
            Self::Elu | Self::Celu => below_zero(exp(x.min(0.0)) - 1.0),
            Self::Selu => SELU_SCALE * below_zero(SELU_ALPHA * (exp(x.min(0.0)) - 1.0)),
            // torch returns x itself above 20.
            Self::Softplus => {
                if x > 20.0 {
                    x
                } else {
                    x.max(0.0) + ln_1p_exp(x)
                }
            }
            Self::Softsign => x / (1.0 + x.abs()),
            Self::LogSigmoid => x.min(0.0) - ln_1p_exp(x),
            Self::Hardsigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
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

/// ln(1 + exp(-|x|)).
fn ln_1p_exp(x: f64) -> f64 {
    let y = exp(-x.abs());
    if y < LN_1P_SERIES { y - y * y / 2.0 + y * y * y / 3.0 } else { ln(1.0 + y) }
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
        for (index, activation) in ScoreActivation::ALL.into_iter().enumerate() {
            assert_eq!(activation as usize, index, "in the order of the enum, each once");
            assert_eq!(activation.name(), ScoreActivation::NAMES[index]);
        }
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
