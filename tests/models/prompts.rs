//! Prompts of config_sentence_transformers.json, which go before the query.

use crossrank::{Backend, Error, ModelFiles, RerankOptions, Reranker, Result, Scored};
use serde_json::{Value, json};

use crate::craft::{fixture, format, read, with_weights};

const FILE: &str = "config_sentence_transformers.json";
const QUERY: &str = "Esperanto desktop";
const DOCUMENTS: [&str; 2] = [
    "This task localises the desktop in Esperanto.",
    "Guide Alex the Allegator through the jungle in order to save",
];

/// The `bert` fixture with these keys in the file.
fn files(keys: Value) -> ModelFiles {
    let mut files = ModelFiles::find(&fixture("bert")).unwrap();
    files.sentence_transformers = Some(keys.to_string().into_bytes());
    files
}

/// As sentence-transformers 6.2.0 saves a cross-encoder with prompts.
fn saved(prompts: Value, default: Value) -> Value {
    json!({
        "__version__": {"pytorch": "2.15.0+cu132", "sentence_transformers": "6.2.0", "transformers": "5.24.0"},
        "activation_fn": "torch.nn.modules.linear.Identity",
        "default_prompt_name": default,
        "model_type": "CrossEncoder",
        "prompts": prompts,
    })
}

fn web(default: Value) -> Value {
    saved(json!({"web": "Given a web query: ", "none": null, "docs": ""}), default)
}

fn load(keys: Value) -> Result<Reranker> {
    Reranker::builder().backend(Backend::Cpu).load_files(files(keys))
}

fn bits(results: &[Scored]) -> Vec<u32> {
    results.iter().map(|scored| scored.logits[0].to_bits()).collect()
}

/// The bits of the logits of the query with both documents.
fn scored(model: &Reranker, query: &str, options: &RerankOptions) -> Vec<u32> {
    bits(&model.score_with(&DOCUMENTS.map(|document| (query, document)), options).unwrap().results)
}

#[test]
fn the_default_prompt_goes_before_the_query() {
    // Float64 logits of sentence-transformers 6.2.0.
    let golden = [0.827203, 0.549917];
    for backend in [Backend::Reference, Backend::Cpu] {
        let files = files(saved(json!({"web": "Given a web query: "}), json!("web")));
        let model = Reranker::builder().backend(backend).load_files(files).unwrap();
        assert_eq!(model.info().prompt_names, ["web"]);
        assert_eq!(model.info().default_prompt_name.as_deref(), Some("web"));
        let scored = model.score(&DOCUMENTS.map(|document| (QUERY, document))).unwrap();
        let ranked = model.rerank(QUERY, &DOCUMENTS, &RerankOptions::new()).unwrap().results;
        let sets = [("", &DOCUMENTS[..0]), (QUERY, &DOCUMENTS[..])];
        let many = &model.rerank_many(&sets, &RerankOptions::new()).unwrap()[1].results;
        assert_eq!(many, &ranked);
        for (index, golden) in golden.into_iter().enumerate() {
            for logit in [scored[index].logits[0], ranked.iter().find(|r| r.index == index).unwrap().logit] {
                assert!((f64::from(logit) - golden).abs() <= 1e-5, "{backend:?}: {logit} {golden}");
            }
        }
    }
}

#[test]
fn a_prompt_and_a_name_decide_as_in_sentence_transformers() {
    let options = RerankOptions::new;
    for default in [json!("web"), Value::Null] {
        let model = load(web(default.clone())).unwrap();
        assert_eq!(model.info().prompt_names, ["docs", "none", "web"]);
        let with = |prompt: &str| scored(&model, &format!("{prompt}{QUERY}"), &options().prompt(""));
        let (plain, prompted) = (with(""), with("Given a web query: "));
        assert_ne!(plain, prompted);
        let no_option = if default.is_null() { &plain } else { &prompted };
        for (options, expected) in [
            (options(), no_option),
            (options().prompt(""), &plain),
            (options().prompt("Given a web query: "), &prompted),
            (options().prompt("No web query: "), &with("No web query: ")),
            (options().prompt_name("web"), &prompted),
            // Both are empty prompts.
            (options().prompt_name("none"), &plain),
            (options().prompt_name("docs"), &plain),
            // The prompt counts, and the name is not even looked up.
            (options().prompt("").prompt_name("web"), &plain),
            (options().prompt("").prompt_name("unknown"), &plain),
        ] {
            assert_eq!(&scored(&model, QUERY, &options), expected, "{default} {options:?}");
        }
    }
}

#[test]
fn a_prompt_of_an_unknown_name_is_refused_with_the_names_of_the_others() {
    let named = |model: &Reranker, documents: &[&str]| {
        model.rerank(QUERY, documents, &RerankOptions::new().prompt_name("nonsense")).unwrap_err()
    };
    let refused = |known: &str| Error::InvalidOption {
        option: "prompt_name",
        message: format!("the model has no prompt of that name: it has {known}"),
    };
    let model = load(web(Value::Null)).unwrap();
    assert_eq!(named(&model, &DOCUMENTS), refused("docs, none, web"));
    assert_eq!(named(&model, &[]), refused("docs, none, web"));
    let model = Reranker::load(fixture("bert")).unwrap();
    assert!(model.info().prompt_names.is_empty() && model.info().default_prompt_name.is_none());
    assert_eq!(named(&model, &DOCUMENTS), refused("no prompts"));
}

#[test]
fn the_prompts_of_an_embedding_model_do_not_apply() {
    for model_type in [json!("SentenceTransformer"), json!("SparseEncoder"), Value::Null] {
        let mut keys = web(json!("web"));
        keys["model_type"] = model_type;
        let model = load(keys).unwrap();
        assert!(model.info().prompt_names.is_empty() && model.info().default_prompt_name.is_none());
        let plain = Reranker::load(fixture("bert")).unwrap();
        let options = RerankOptions::new();
        assert_eq!(scored(&model, QUERY, &options), scored(&plain, QUERY, &options));
    }
}

#[test]
fn what_is_no_prompt_is_refused_with_its_key() {
    let key = |key: &str, message: &str| format(FILE, format!("key `{key}`: {message}"));
    for (keys, expected) in [
        (
            web(json!("wrong")),
            key("default_prompt_name", "`wrong` is none of the file's prompts (docs, none, web)"),
        ),
        (web(json!("")), key("default_prompt_name", "`` is none of the file's prompts (docs, none, web)")),
        (web(json!(1)), key("default_prompt_name", "expected a string")),
        (saved(json!({"web": 1}), Value::Null), key("prompts", "`web`: expected a string")),
        (saved(json!(["web"]), Value::Null), key("prompts", "expected an object")),
    ] {
        // In memory, where no folder comes before the file's name.
        let mut files = with_weights(read(fixture("bert").join("model.safetensors")));
        files.sentence_transformers = Some(keys.to_string().into_bytes());
        assert_eq!(Reranker::builder().load_files(files).err().unwrap(), expected, "{keys}");
    }
    let model = load(saved(Value::Null, Value::Null)).unwrap();
    assert!(model.info().prompt_names.is_empty());
}

#[test]
fn tokens_at_the_border_are_those_of_prompt_and_query_as_one_text_and_are_cut_with_the_query() {
    let model = load(web(Value::Null)).unwrap();
    // `desk` + `top` is one word, and no prompt would begin with a space of its own.
    let joined = scored(&model, "top of the page", &RerankOptions::new().prompt("desk"));
    assert_eq!(joined, scored(&model, "desktop of the page", &RerankOptions::new()));
    let options = RerankOptions::new().max_tokens(12).prompt("Given a web query: ".repeat(9));
    let cut = model.score_with(&[(QUERY, DOCUMENTS[0])], &options).unwrap().results.remove(0);
    assert_eq!(cut.tokens, 12);
    assert!(cut.truncated.query > 20, "{:?}", cut.truncated);
}
