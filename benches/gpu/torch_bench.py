#!/usr/bin/env python3
"""Time PyTorch reranking a workload, text in, scores out (tokenization included).

usage: torch_bench.py MODEL_DIR WORKLOAD.json [--how eager|sentence-transformers] [--device cuda] [--half] [--batch 8,16,32,64,128]
                      [--seconds 4] [--scores]
needs: pip install torch transformers sentence-transformers

eager: transformers' model, batches sorted by length and padded to their longest pair; the fastest batch size is reported: the
peer at its best. sentence-transformers: CrossEncoder.predict as it is called by default.
Prints one JSON object: engine, version, card, workload, documents, tokens, batch, median_ms, min_ms, documents_per_second.
"""
import argparse, json, os, time

import torch, transformers

a = argparse.ArgumentParser()
a.add_argument("model"); a.add_argument("workload")
a.add_argument("--how", choices=["eager", "sentence-transformers"], default="eager")
a.add_argument("--device", default="cuda"); a.add_argument("--half", action="store_true")
a.add_argument("--batch", default="8,16,32,64,128"); a.add_argument("--seconds", type=float, default=4.0)
a.add_argument("--max-length", type=int, default=512); a.add_argument("--scores", action="store_true")
o = a.parse_args()
work = json.load(open(o.workload))
query, docs = work["query"], work["docs"]
dtype = torch.float16 if o.half else torch.float32
# TF32 would be a smaller format under the name of f32.
torch.backends.cuda.matmul.allow_tf32 = False
sync = torch.cuda.synchronize if o.device.startswith("cuda") else lambda: None

t0 = time.perf_counter()
if o.how == "eager":
    tok = transformers.AutoTokenizer.from_pretrained(o.model)
    net = transformers.AutoModelForSequenceClassification.from_pretrained(o.model, dtype=dtype).to(o.device).eval()

    def run(batch):
        order = sorted(range(len(docs)), key=lambda i: -len(docs[i]))
        scores, tokens = torch.empty(len(docs)), 0
        for i in range(0, len(order), batch):
            part = order[i : i + batch]
            enc = tok([query] * len(part), [docs[j] for j in part], truncation=True, max_length=o.max_length, padding=True, return_tensors="pt")
            tokens += int(enc["attention_mask"].sum())
            with torch.inference_mode():
                scores[part] = net(**enc.to(o.device)).logits[:, 0].float().cpu()
        return scores.tolist(), tokens

    batches = sorted({min(int(b), len(docs)) for b in o.batch.split(",")})
else:
    from sentence_transformers import CrossEncoder

    net = CrossEncoder(o.model, device=o.device, model_kwargs={"dtype": dtype})

    def run(_):
        scores = net.predict([(query, d) for d in docs], show_progress_bar=False)
        return [float(s) for s in scores], 0

    batches = [32]  # the default of predict
load_ms = (time.perf_counter() - t0) * 1e3

best = None
for batch in batches:
    run(batch)
    sync()
    times, end = [], time.perf_counter() + o.seconds
    while time.perf_counter() < end or len(times) < 3:
        t = time.perf_counter()
        scores, tokens = run(batch)
        sync()
        times.append((time.perf_counter() - t) * 1e3)
    times.sort()
    median = times[len(times) // 2]
    if best is None or median < best["median_ms"]:
        card = torch.cuda.get_device_name() if o.device.startswith("cuda") else o.device
        best = {"engine": o.how, "version": torch.__version__, "card": card, "precision": "f16" if o.half else "f32", "workload": os.path.basename(o.workload),
                "documents": len(docs), "tokens": tokens, "batch": batch, "median_ms": median, "min_ms": times[0],
                "documents_per_second": len(docs) / median * 1e3, "load_ms": load_ms}
        if o.scores: best["scores"] = scores
print(json.dumps(best))
