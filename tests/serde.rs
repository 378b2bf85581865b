//! The feature `serde`: what is written is read again, and the names stay.

use std::time::Duration;

use crossrank::{
    Backend, CancelToken, Error, GpuPrecision, Isa, Item, Label, ModelInfo, PairStatus, Precision, Ranking,
    RerankOptions, Reranker, RerankerBuilder, Scores, Truncation, Usage, Windows,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, from_value, json, to_value};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn model() -> Reranker {
    Reranker::builder().backend(Backend::Cpu).threads(1).load(format!("{FIXTURES}/bert")).unwrap()
}

/// Compared as they are shown, because NaN is unequal to itself.
fn round_trip<T: Serialize + DeserializeOwned + std::fmt::Debug>(value: &T) {
    let read: T = from_value(to_value(value).unwrap()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{value:?}"));
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn rankings_and_scores_are_read_as_they_were_written() {
    let model = model();
    let documents = ["one text", "the desktop", "words ".repeat(300).leak()];
    let options = RerankOptions::new().windows(Windows { overlap: 8, max_windows: 3 });
    let ranking = model.rerank("desktop", &documents, &options).unwrap();
    round_trip(&ranking);
    let written = to_value(&ranking).unwrap();
    assert_eq!(keys(&written), ["results", "usage"]);
    let best = &written["results"][0];
    let names = ["id", "index", "logit", "score", "status", "tokens", "truncated", "window"];
    assert_eq!(keys(best), names);
    assert_eq!((&best["id"], &best["status"]), (&Value::Null, &json!("scored")));
    assert_eq!(keys(&best["truncated"]), ["at_least", "document", "query"]);
    assert_eq!(keys(&best["window"]), ["end", "start"]);
    let names = [
        "backend",
        "compute_ms",
        "gpu_failure",
        "groups",
        "isa",
        "tokenize_ms",
        "tokens",
        "total_ms",
        "truncated_at_least",
        "truncated_tokens",
    ];
    assert_eq!(keys(&written["usage"]), names);
    assert_eq!(written["usage"]["backend"], "cpu");

    // No score is null, and NaN again.
    let none = model.rerank("desktop", &documents, &RerankOptions::new().time_limit(Duration::ZERO)).unwrap();
    let written = to_value(&none).unwrap();
    assert_eq!(written["results"][0]["status"], "not_scored");
    assert_eq!(
        (&written["results"][0]["logit"], &written["results"][0]["score"]),
        (&Value::Null, &Value::Null)
    );
    let read: Ranking = from_value(written).unwrap();
    assert!(read.results[0].logit.is_nan() && read.results[0].score.is_nan());
    round_trip(&none);
    let pairs = [("desktop", "the desktop")];
    round_trip::<Scores>(&model.score_with(&pairs, &RerankOptions::new()).unwrap());
    let none = model.score_with(&pairs, &RerankOptions::new().time_limit(Duration::ZERO)).unwrap();
    assert_eq!(to_value(&none).unwrap()["results"][0]["logits"], json!([null]));
    round_trip::<Scores>(&none);
    round_trip(&Item { id: "a".into(), text: "b".into() });
}

#[test]
fn facts_about_a_model_are_read_as_they_were_written() {
    for family in ["bert", "bert-3-labels", "modernbert"] {
        let info = Reranker::load(format!("{FIXTURES}/{family}")).unwrap().info().clone();
        let written = to_value(&info).unwrap();
        assert_eq!(from_value::<ModelInfo>(written.clone()).unwrap(), info);
        let names = [
            "activation",
            "adapter",
            "architecture",
            "backend",
            "default_prompt_name",
            "hash",
            "heads",
            "hidden",
            "intermediate",
            "isa",
            "labels",
            "layers",
            "load_ms",
            "max_tokens",
            "name",
            "precision",
            "prompt_names",
            "threads",
            "tier",
            "vocabulary",
            "warnings",
            "weight_bytes",
        ];
        assert_eq!(keys(&written), names);
        for (key, value) in
            [("activation", json!("nonsense")), ("tier", json!("nonsense")), ("tier", json!(1))]
        {
            let mut wrong = written.clone();
            wrong[key] = value;
            let error = from_value::<ModelInfo>(wrong).unwrap_err().to_string();
            assert!(error.contains("nonsense") || error.contains("invalid type"), "{error}");
        }
        let mut on_gpu = written;
        on_gpu["tier"] = json!("cooperative");
        assert_eq!(from_value::<ModelInfo>(on_gpu).unwrap().tier, Some("cooperative"));
    }
}

#[test]
fn options_are_read_from_any_part_of_their_names() {
    let written = json!({
        "top_k": 3, "threshold": 0.5, "label": "relevant", "truncation": "longest_first", "max_tokens": 64,
        "windows": {"overlap": 8}, "prompt": "Given a web query: ", "prompt_name": "web",
    });
    let options: RerankOptions = from_value(written).unwrap();
    assert_eq!((options.top_k, options.threshold, options.max_tokens), (Some(3), Some(0.5), Some(64)));
    assert_eq!(options.label, Some(Label::Name("relevant".into())));
    assert_eq!(options.truncation, Some(Truncation::LongestFirst));
    assert_eq!(options.windows, Some(Windows { overlap: 8, max_windows: Windows::default().max_windows }));
    assert_eq!(
        (options.prompt.as_deref(), options.prompt_name.as_deref()),
        (Some("Given a web query: "), Some("web"))
    );
    round_trip(&options);
    let none: RerankOptions = from_value(json!({})).unwrap();
    assert_eq!(format!("{none:?}"), format!("{:?}", RerankOptions::new()));
    assert_eq!(from_value::<RerankOptions>(json!({"label": 1})).unwrap().label, Some(Label::Index(1)));
    // What belongs to one process is left out.
    let own =
        RerankOptions::new().cancel(CancelToken::new()).time_limit(Duration::MAX / 4).on_progress(|_| ());
    assert_eq!(to_value(&own).unwrap(), to_value(RerankOptions::new()).unwrap());
    for wrong in [
        json!({"top": 3}),
        json!({"cancel": true}),
        json!({"truncation": "some"}),
        json!({"windows": {"size": 1}}),
    ] {
        assert!(from_value::<RerankOptions>(wrong.clone()).is_err(), "{wrong}");
    }

    let written = json!({"backend": "cpu", "isa": "scalar", "threads": 1, "precision": "f16_weights", "gpu_precision": "f16"});
    let builder: RerankerBuilder = from_value(written).unwrap();
    round_trip(&builder);
    let info = builder.load(format!("{FIXTURES}/bert")).unwrap().info().clone();
    assert_eq!((info.isa, info.precision, info.threads), (Some(Isa::Scalar), Precision::F16Weights, 1));
    assert!(from_value::<RerankerBuilder>(json!({"executor": null})).is_err());
    assert_eq!(to_value([GpuPrecision::F32, GpuPrecision::F16]).unwrap(), json!(["f32", "f16"]));
    assert_eq!(to_value([Isa::Neon, Isa::Avx2, Isa::Avx512]).unwrap(), json!(["neon", "avx2", "avx512"]));
    assert_eq!(to_value([Backend::Auto, Backend::Reference]).unwrap(), json!(["auto", "reference"]));
    assert_eq!(to_value([Precision::Auto, Precision::Int8]).unwrap(), json!(["auto", "int8"]));
}

#[test]
fn errors_are_read_as_they_were_written() {
    let io = std::io::Error::from(std::io::ErrorKind::NotFound);
    for error in [
        Error::NotFound { name: "a".into(), hint: "b".into() },
        Error::Io { path: "a".into(), source: io.into() },
        Error::Format { file: "a".into(), message: "b".into() },
        Error::MissingTensor { file: "a".into(), tensor: "b".into() },
        Error::TensorShape { tensor: "a".into(), expected: vec![1, 2], found: vec![] },
        Error::TensorType { tensor: "a".into(), found: "b".into() },
        Error::Unsupported { what: "a".into(), hint: "b".into() },
        Error::MemoryLimit { needed: 2, limit: 1 },
        Error::OutOfMemory { bytes: 1 },
        Error::TooLong { index: 1, tokens: 2, max_tokens: 1 },
        Error::NonFinite { index: 1 },
        Error::SeveralLabels { labels: 3 },
        Error::Cancelled,
        Error::Gpu { message: "a".into() },
        Error::Internal { message: "a".into() },
    ] {
        let status = PairStatus::Failed(error.clone());
        assert_eq!(from_value::<PairStatus>(to_value(&status).unwrap()).unwrap(), status);
        let usage = Usage::default();
        let usage = from_value::<Usage>({
            let mut usage = to_value(usage).unwrap();
            usage["gpu_failure"] = to_value(&error).unwrap();
            usage
        });
        assert_eq!(usage.unwrap().gpu_failure, Some(error));
    }
    assert_eq!(to_value(Error::NonFinite { index: 1 }).unwrap(), json!({"kind": "non_finite", "index": 1}));
    let failed = to_value(PairStatus::Failed(Error::Cancelled)).unwrap();
    assert_eq!(failed, json!({"failed": {"kind": "cancelled"}}));
}

#[test]
fn every_option_that_an_error_may_name_can_be_read() {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "error")]
        _error: Error,
    }
    let mut found = 0;
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let code = std::fs::read_to_string(&path).unwrap();
            for after in code.split("option: \"").skip(1) {
                let option = after.split('"').next().unwrap();
                let error = json!({"kind": "invalid_option", "option": option, "message": ""});
                assert!(from_value::<Named>(json!({"error": error})).is_ok(), "{path:?}: `{option}`");
                found += 1;
            }
        }
    }
    assert!(found > 8, "{found}");
    let unknown = json!({"kind": "invalid_option", "option": "nonsense", "message": ""});
    assert!(from_value::<Error>(unknown).is_err());
}
