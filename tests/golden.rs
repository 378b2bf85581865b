//! Scores compared with values from other programs: float64 golden values, and values on public model cards.

mod common;

use std::path::PathBuf;

use common::{backends, golden, load, max_logit_error};
use crossrank::{RerankOptions, Reranker, Scored};

/// The largest allowed difference of a logit from float64: a promise to users.
const BOUND: f64 = 1e-5;

/// Compares a model's logits with its golden values, on every backend.
fn check(folder: &str) {
    for (name, builder) in backends() {
        let worst = max_logit_error(folder, &name, builder);
        assert!(worst <= BOUND, "{folder} on {name}: {worst:e}");
    }
}

#[test]
fn tokens_and_token_types_equal_hugging_face() {
    for folder in ["bert", "roberta", "xlm-roberta", "electra", "mpnet", "deberta-v2", "modernbert", "gte"] {
        let folder = format!("tests/fixtures/{folder}");
        let golden = golden(&folder);
        let model = load(&folder, Reranker::builder().threads(1));
        let options = RerankOptions::new().max_tokens(golden.max_length);
        let mut truncated = 0;
        for case in &golden.cases {
            let pair = model.tokenize(&case.query, &case.document, &options).unwrap();
            assert_eq!(pair.ids, case.input_ids, "{folder}");
            // The DeBERTa fixture has no table of token types, so its model reads none.
            let token_types = case.token_type_ids.clone().filter(|_| !folder.ends_with("deberta-v2"));
            assert_eq!(pair.token_types, token_types.unwrap_or(vec![0; pair.ids.len()]), "{folder}");
            truncated += usize::from(pair.truncated.any());
        }
        assert!(truncated > 0, "{folder}: pairs are longer than the window");
    }
}

#[test]
fn bert_equals_hugging_face() {
    check("tests/fixtures/bert");
}

#[test]
fn three_labels_equal_hugging_face() {
    check("tests/fixtures/bert-3-labels");
}

#[test]
fn f16_weights_equal_hugging_face() {
    check("tests/fixtures/bert-f16");
}

#[test]
fn bf16_weights_equal_hugging_face() {
    check("tests/fixtures/bert-bf16");
}

#[test]
fn roberta_equals_hugging_face() {
    check("tests/fixtures/roberta");
}

#[test]
fn xlm_roberta_equals_hugging_face() {
    check("tests/fixtures/xlm-roberta");
}

#[test]
fn distilbert_equals_hugging_face() {
    check("tests/fixtures/distilbert");
}

#[test]
fn electra_equals_hugging_face() {
    check("tests/fixtures/electra");
}

#[test]
fn mpnet_equals_hugging_face() {
    check("tests/fixtures/mpnet");
}

#[test]
fn modernbert_equals_hugging_face() {
    check("tests/fixtures/modernbert");
}

#[test]
fn gte_equals_hugging_face() {
    check("tests/fixtures/gte");
}

#[test]
fn deberta_v2_equals_hugging_face() {
    check("tests/fixtures/deberta-v2");
}

#[test]
fn jinabert_equals_the_oracle() {
    check("tests/fixtures/jinabert");
}

#[test]
fn camembert_equals_the_oracle() {
    check("tests/fixtures/camembert");
}

#[test]
fn heads_in_modules_equal_sentence_transformers() {
    for (name, _) in common::backends() {
        let builder = || {
            let mut backends = common::backends().into_iter();
            backends.find(|(other, _)| *other == name).expect("it is one of them").1
        };
        common::assert_modules(&name, builder);
    }
}

#[test]
fn ettin_equals_the_oracle() {
    check("tests/fixtures/ettin");
}

#[test]
fn the_bundled_model_equals_hugging_face() {
    check("models/crossrank-mini");
}

/// A row of the acceptance table: a model, a query, documents with their logits or scores, and the precision of the published
/// values.
struct Acceptance {
    model: &'static str,
    query: &'static str,
    rows: &'static [(&'static str, f64)],
    bound: f64,
    value: fn(&Scored) -> f64,
}

fn logit(scored: &Scored) -> f64 {
    scored.logits[0].into()
}

fn score(scored: &Scored) -> f64 {
    scored.scores[0]
}

const MINI_L6: &str = "cross-encoder/ms-marco-MiniLM-L6-v2";
const MINI_L12: &str = "cross-encoder/ms-marco-MiniLM-L12-v2";
const TINY_L2: &str = "cross-encoder/ms-marco-TinyBERT-L2-v2";
const BERLIN: &str = "How many people live in Berlin?";
const FRANCE: &str = "What is the capital of France?";
const PLANET: &str = "Which planet is known as the Red Planet?";
const PARIS: &str = "Paris is the capital of France.";
const BONN: &str = "Berlin is the capital of Germany.";
const POPULATION: &str =
    "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.";
const VENUS: &str = "Venus is often called Earth's twin because of its similar size and proximity.";
const MARS: &str = "Mars, known for its reddish appearance, is often referred to as the Red Planet.";
const JUPITER: &str = "Jupiter, the largest planet in our solar system, has a prominent red spot.";
const SATURN: &str = "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.";

/// From the model cards and test suites of sentence-transformers and of the models.
const ACCEPTANCE: &[Acceptance] = &[
    Acceptance {
        model: MINI_L6,
        query: BERLIN,
        rows: &[
            (POPULATION, 8.607138),
            ("Berlin is well known for its museums.", -4.3200774),
            ("The capital of France is Paris.", -11.101217),
            ("Elephants are the largest land animals.", -11.18758),
            ("Berlin is the capital and largest city of Germany by both area and population.", 0.636921),
        ],
        bound: 1e-4,
        value: logit,
    },
    Acceptance {
        model: MINI_L6,
        query: FRANCE,
        rows: &[(PARIS, 8.500708), (BONN, -2.541011)],
        bound: 1e-3,
        value: logit,
    },
    Acceptance {
        model: MINI_L12,
        query: FRANCE,
        rows: &[(PARIS, 9.330912), (BONN, -2.0380247)],
        bound: 1e-3,
        value: logit,
    },
    Acceptance {
        model: "BAAI/bge-reranker-base",
        query: FRANCE,
        rows: &[(PARIS, 6.15733337), (BONN, -3.65939403)],
        bound: 1e-3,
        value: logit,
    },
    Acceptance {
        model: "jinaai/jina-reranker-v1-tiny-en",
        query: FRANCE,
        rows: &[(PARIS, 2.5911), (BONN, 0.1122)],
        bound: 1e-3,
        value: logit,
    },
    Acceptance {
        model: "jinaai/jina-reranker-v1-turbo-en",
        query: FRANCE,
        rows: &[(PARIS, 1.8295), (BONN, -2.8908)],
        bound: 1e-3,
        value: logit,
    },
    Acceptance {
        model: TINY_L2,
        query: PLANET,
        rows: &[(VENUS, -10.87719), (MARS, 6.95237), (JUPITER, 5.87375), (SATURN, 5.6997)],
        bound: 0.01,
        value: score,
    },
    Acceptance {
        model: MINI_L6,
        query: PLANET,
        rows: &[(VENUS, -6.52474), (MARS, 9.69094), (JUPITER, 6.92376), (SATURN, 6.66822)],
        bound: 0.01,
        value: score,
    },
    Acceptance {
        model: MINI_L12,
        query: PLANET,
        rows: &[(VENUS, -7.18467), (MARS, 9.50125), (JUPITER, 5.7218), (SATURN, 6.84708)],
        bound: 0.01,
        value: score,
    },
];

/// Models for which only the values of the four planets are published, with the default activation: Venus, Mars, Jupiter,
/// Saturn.
const PLANETS: &[(&str, [f64; 4])] = &[
    ("cross-encoder/ms-marco-electra-base", [3e-05, 0.92723, 0.78699, 0.80551]),
    ("cross-encoder/mmarco-mMiniLMv2-L12-H384-v1", [-3.27741, 10.19737, 3.39716, 7.45499]),
    ("BAAI/bge-reranker-base", [0.8755, 0.99813, 0.99625, 0.04914]),
    ("BAAI/bge-reranker-v2-m3", [0.01928, 0.9987, 0.78573, 0.98696]),
    ("Alibaba-NLP/gte-reranker-modernbert-base", [0.80808, 0.95359, 0.88026, 0.91676]),
    ("Alibaba-NLP/gte-multilingual-reranker-base", [0.38663, 0.8524, 0.70409, 0.65237]),
    ("jinaai/jina-reranker-v1-tiny-en", [0.53649, 0.9313, 0.87928, 0.8877]),
    ("mixedbread-ai/mxbai-rerank-xsmall-v1", [0.21189, 0.93594, 0.57069, 0.72824]),
    ("cross-encoder/stsb-distilroberta-base", [0.09564, 0.60424, 0.49345, 0.47718]),
    ("cross-encoder/ettin-reranker-32m-v1", [6.21, 10.82, 8.55, 9.86]),
];

/// Needs real weights: `CROSSRANK_MODELS` names a folder with `<organisation>/<name>/model.safetensors`.
#[test]
fn published_values_are_reproduced_where_the_models_are() {
    let Some(folder) = std::env::var_os("CROSSRANK_MODELS").map(PathBuf::from) else {
        let rows = ACCEPTANCE.len() + PLANETS.len();
        println!("SKIP: CROSSRANK_MODELS is not set; {rows} published rows not checked");
        return;
    };
    for (model, scores) in PLANETS {
        let path = folder.join(model);
        if !path.is_dir() {
            println!("SKIP: no {}", path.display());
            continue;
        }
        let loaded = Reranker::load(path).unwrap();
        let pairs = [VENUS, MARS, JUPITER, SATURN].map(|planet| (PLANET, planet));
        for (scored, published) in loaded.score(&pairs).unwrap().iter().zip(scores) {
            assert!(
                (score(scored) - published).abs() <= 0.01,
                "{model}: {} instead of {published}",
                score(scored)
            );
        }
    }
    for row in ACCEPTANCE {
        let path = folder.join(row.model);
        if !path.is_dir() {
            println!("SKIP: no {}", path.display());
            continue;
        }
        let model = Reranker::load(path).unwrap();
        let pairs: Vec<_> = row.rows.iter().map(|(document, _)| (row.query, *document)).collect();
        for (scored, (_, published)) in model.score(&pairs).unwrap().iter().zip(row.rows) {
            let ours = (row.value)(scored);
            assert!((ours - published).abs() <= row.bound, "{}: {ours} instead of {published}", row.model);
        }
    }
}
