//! Retrieve, rerank, generate: finds the passages of a folder of text files that answer a question, and prints the
//! prompt to give to a language model of your own.
//!
//! ```text
//! cargo run --release --features bundled-model --example rag_pipeline -- "QUESTION" [FOLDER]
//! ```

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs;

use crossrank::{RerankOptions, Reranker};

/// Passages that the first stage hands to the reranker: many, because it is cheap and only has to miss nothing.
const RETRIEVED: usize = 50;

/// Passages that go into the prompt.
const KEPT: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let question =
        arguments.next().unwrap_or_else(|| "How do I keep a program running after I log out?".to_owned());
    let folder =
        arguments.next().unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/examples/notes").to_owned());

    let passages = read_passages(&folder)?;
    let candidates: Vec<&str> = Bm25::new(&passages)
        .best(&question, RETRIEVED)
        .into_iter()
        .map(|position| passages[position].as_str())
        .collect();

    let reranker = Reranker::bundled()?;
    let ranking = reranker.rerank(&question, &candidates, &RerankOptions::new().top_k(KEPT))?;

    println!("Answer the question from the passages alone. Name the passages you used by their numbers.\n");
    for (number, ranked) in ranking.results.iter().enumerate() {
        println!("[{}] {}\n", number + 1, candidates[ranked.index]);
    }
    println!("Question: {question}\nAnswer:");
    Ok(())
}

/// The paragraphs of every `.txt` file of a folder.
fn read_passages(folder: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("cannot read `{folder}`: {error}"))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let mut passages = Vec::new();
    for path in paths {
        let text = String::from_utf8_lossy(&fs::read(path)?).replace("\r\n", "\n");
        let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
        passages.extend(paragraphs.map(str::to_owned));
    }
    Ok(passages)
}

/// Ranks passages by the words they share with a question: rare words count more, repeated ones less each time
/// (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009).
struct Bm25 {
    /// Per word: the passages that hold it, and how often.
    postings: HashMap<String, Vec<(usize, f64)>>,
    /// Words per passage, divided by their mean.
    lengths: Vec<f64>,
}

impl Bm25 {
    fn new(passages: &[String]) -> Self {
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = vec![0.0; passages.len()];
        for (position, passage) in passages.iter().enumerate() {
            for word in words(passage) {
                lengths[position] += 1.0;
                let list = postings.entry(word).or_default();
                match list.last_mut() {
                    Some((last, count)) if *last == position => *count += 1.0,
                    _ => list.push((position, 1.0)),
                }
            }
        }
        let mean = lengths.iter().sum::<f64>() / passages.len().max(1) as f64;
        lengths.iter_mut().for_each(|length| *length /= mean);
        Self { postings, lengths }
    }

    /// Positions of the best passages that share a word with the question, best first.
    fn best(&self, question: &str, count: usize) -> Vec<usize> {
        // The usual constants: k1 limits what repetition gives, b how much long passages lose.
        let (k1, b) = (1.2, 0.75);
        let mut scores = vec![0.0; self.lengths.len()];
        for list in words(question).filter_map(|word| self.postings.get(&word)) {
            let (total, holding) = (scores.len() as f64, list.len() as f64);
            let rarity = (1.0 + (total - holding + 0.5) / (holding + 0.5)).ln();
            for &(position, times) in list {
                let length = 1.0 - b + b * self.lengths[position];
                scores[position] += rarity * times * (k1 + 1.0) / (times + k1 * length);
            }
        }
        let mut order: Vec<usize> = (0..scores.len()).filter(|&position| scores[position] > 0.0).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.truncate(count);
        order
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}
