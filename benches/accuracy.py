#!/usr/bin/env python3
"""What a precision costs: logits and rankings of crossrank against its own in f32.

usage: benches/accuracy.py [--precision int8] [--exe target/release/crossrank] [--write RESULT.md]
                           [--collections DIR [--top 25] [--queries 40]] [MODEL_DIR ...]
Needs Python 3 and `cargo build --release --features cli`.

By default the bundled model and every model of tests/fixtures, on the three workloads of benches/peers: greatest and mean
error of the logits, the standard deviation of the f32 logits to compare them with, Kendall's tau-b, and how many of the
first ten documents are the same.

--collections also measures nDCG@10 of the first model, reranking the best of BM25 for queries of two classic test
collections, and that of BM25 alone, which the bundled model does not reach: cran.{all,qry,rel} (Cranfield, 1 400 abstracts)
and cacm.{all,qry,rel} (CACM, 3 204), which are not ours to give away: ir.dcs.gla.ac.uk/resources/test_collections has them.
"""
import argparse, collections, json, math, os, random, re, statistics, subprocess, tempfile

a = argparse.ArgumentParser()
a.add_argument("--precision", default="int8"); a.add_argument("--exe"); a.add_argument("--write"); a.add_argument("--collections")
a.add_argument("--top", type=int, default=25); a.add_argument("--queries", type=int, default=40); a.add_argument("models", nargs="*")
o = a.parse_args()
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
exe = o.exe or os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target")), "release", "crossrank")
fixtures = os.path.join(root, "tests", "fixtures")
models = o.models or [os.path.join(root, "models", "crossrank-mini")] + [
    os.path.join(fixtures, name) for name in sorted(os.listdir(fixtures)) if os.path.exists(os.path.join(fixtures, name, "config.json"))]

def logits(model, precision, pairs):
    """The first logit of each pair."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.writelines(json.dumps({"query": q, "document": d}) + "\n" for q, d in pairs)
        f.flush()
        command = [exe, "score", "--model", model, "--backend", "cpu", "--precision", precision, "--pairs", f.name, "--format", "jsonl"]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = [json.loads(line)["logits"][0] for line in lines if line.startswith("{")]
    assert len(found) == len(pairs), f"{len(found)} of {len(pairs)} pairs were scored"
    return found

def tau(x, y):
    """Kendall's tau-b."""
    sign = lambda v: (v > 0) - (v < 0)
    pairs = [(sign(x[i] - x[j]), sign(y[i] - y[j])) for i in range(len(x)) for j in range(i)]
    norm = math.sqrt(sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs))
    return sum(a * b for a, b in pairs) / norm if norm else None

best = lambda scores, k: sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
show = lambda value, form: "-" if value is None else form % value

def say(line):
    print(line, flush=True)
    said.append(line)

said = []
say(f"| Model | Workload | Largest error | Mean error | Deviation of logits | Kendall's tau | Same in the top 10 |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |")
for model in models:
    for workload in ("rerank100", "chunks32", "pair1"):
        work = json.load(open(os.path.join(root, "benches", "peers", workload + ".json")))
        pairs = [(work["query"], doc) for doc in work["docs"]]
        full, other = logits(model, "f32", pairs), logits(model, o.precision, pairs)
        errors, several = [abs(x - y) for x, y in zip(full, other)], len(pairs) > 1
        top = min(10, len(pairs))
        row = {"model": os.path.basename(model.rstrip("/")), "workload": workload, "max_error": max(errors), "mean_error": statistics.mean(errors),
               "deviation": statistics.pstdev(full) if several else None, "tau": tau(full, other) if several else None,
               "top10": len(set(best(full, top)) & set(best(other, top))) if several else None}
        say(f"| {row['model']} | {workload} | {row['max_error']:.4f} | {row['mean_error']:.4f} | {show(row['deviation'], '%.3f')} | "
              f"{show(row['tau'], '%.3f')} | {show(row['top10'], f'%d of {top}')} |")

def records(path):
    """Records of SMART's format: `.I 1` begins one, `.W` and the like a field of it."""
    found, field = [], None
    for line in open(path, errors="ignore"):
        if re.match(r"^\.I \d", line): found.append(collections.defaultdict(str)); field = None
        elif re.match(r"^\.[A-Z]\b", line): field = line[1]
        elif field: found[-1][field] += line
    return found

def collection(name):
    squeeze = lambda text: re.sub(r"\s+", " ", text).strip()
    path = os.path.join(o.collections, name)
    # Cranfield repeats the title in the abstract; many records of CACM are titles alone.
    docs = [squeeze(d["W"] or d["T"]) if name == "cran" else squeeze(d["T"] + " . " + d["W"]) for d in records(path + ".all")]
    relevant = collections.defaultdict(set)
    for line in open(path + ".rel"):
        f = line.split()
        # Cranfield grades from 1 to 4; what is -1 is not relevant.
        if len(f) >= (3 if name == "cran" else 2) and (name != "cran" or f[2] in "1234"): relevant[int(f[0]) - 1].add(int(f[1]) - 1)
    return docs, [squeeze(q["W"]) for q in records(path + ".qry")], relevant

def bm25(docs, k1=0.9, b=0.4):
    words = lambda text: re.findall(r"[a-z0-9]+", text.lower())
    counts = [collections.Counter(words(d)) for d in docs]
    length = [sum(c.values()) for c in counts]; mean = statistics.mean(length)
    postings = collections.defaultdict(list)
    for i, c in enumerate(counts):
        for word, n in c.items(): postings[word].append((i, n))
    def top(query, k):
        score = collections.defaultdict(float)
        for word in words(query):
            found = postings.get(word, ()); idf = math.log(1 + (len(docs) - len(found) + 0.5) / (len(found) + 0.5))
            for i, n in found: score[i] += idf * n * (k1 + 1) / (n + k1 * (1 - b + b * length[i] / mean))
        return [i for i, _ in sorted(score.items(), key=lambda x: (-x[1], x[0]))[:k]]
    return top

def ndcg(ranked, relevant, k=10):
    gain = lambda hits: sum(1 / math.log2(i + 2) for i in hits)
    return gain(i for i, d in enumerate(ranked[:k]) if d in relevant) / gain(range(min(k, len(relevant))))

metrics = []
if o.collections: say(f"\n| nDCG@10 | BM25 | f32 | {o.precision} | Change |\n| --- | ---: | ---: | ---: | ---: |")
for name in ("cran", "cacm") if o.collections else ():
    docs, queries, relevant = collection(name); top = bm25(docs)
    chosen = [i for i in range(len(queries)) if relevant.get(i)]; random.Random(0).shuffle(chosen)
    lists = [(i, top(queries[i], o.top)) for i in chosen[:o.queries]]
    mean = {"bm25": statistics.mean(ndcg(c, relevant[i]) for i, c in lists)}
    for precision in ("f32", o.precision):
        scores = iter(logits(models[0], precision, [(queries[i], docs[d]) for i, c in lists for d in c]))
        reranked = [(i, sorted(c, key=lambda d, s={d: next(scores) for d in c}: -s[d])) for i, c in lists]
        mean[precision] = statistics.mean(ndcg(c, relevant[i]) for i, c in reranked)
    change = mean[o.precision] / mean["f32"] - 1
    metrics.append(mean)
    say(f"| {name}, {len(lists)} queries, first {o.top} | {mean['bm25']:.4f} | {mean['f32']:.4f} | {mean[o.precision]:.4f} | {change:+.2%} |")
if metrics:
    base, full, other = (statistics.mean(m[key] for m in metrics) for key in ("bm25", "f32", o.precision))
    say(f"| mean | {base:.4f} | {full:.4f} | {other:.4f} | {other / full - 1:+.2%} |")

if o.write:
    head = [f"# What {o.precision} costs", "", f"Logits and rankings of crossrank in {o.precision} against its own in f32, on the texts of benches/peers. crossrank-mini is the bundled",
            "model; the others are small random models of tests/fixtures, whose logits lie closer together than those of trained ones.",
            "The last table has BM25 alone beside it: a change of %s says nothing about what the model itself gains or loses." % o.precision,
            "`benches/accuracy.py` measures this; every instruction set gives the same bits.", ""]
    with open(o.write, "w") as f: f.writelines(line + "\n" for line in head + said)
