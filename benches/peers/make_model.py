#!/usr/bin/env python3
"""Write a BERT cross-encoder with seeded random weights: the shape of a larger model, without its download.

usage: make_model.py OUT_DIR [--layers 12] [--hidden 768] [--heads 12] [--intermediate 3072]
needs: pip install numpy safetensors

Without options it has the shape of bge-reranker-base. The tokenizer is that of models/crossrank-mini. Scores mean nothing; the
work is that of the real model.
"""
import argparse, json, os, shutil
import numpy as np
from safetensors.numpy import save_file

a = argparse.ArgumentParser()
a.add_argument("out"); a.add_argument("--layers", type=int, default=12); a.add_argument("--hidden", type=int, default=768)
a.add_argument("--heads", type=int, default=12); a.add_argument("--intermediate", type=int, default=3072)
o = a.parse_args()
mini = os.path.join(os.path.dirname(__file__), "../../models/crossrank-mini")
config = json.load(open(os.path.join(mini, "config.json")))
config.update(hidden_size=o.hidden, num_hidden_layers=o.layers, num_attention_heads=o.heads, intermediate_size=o.intermediate, torch_dtype="float32")
random = np.random.default_rng(1)
h, f = o.hidden, o.intermediate
tensors = {}

def table(name, *shape):
    # As transformers initializes, but for a little more spread, so that attention is not flat.
    tensors[name] = random.standard_normal(shape, dtype=np.float32) * np.float32(0.04)

def linear(name, outputs, inputs):
    table(f"{name}.weight", outputs, inputs)
    table(f"{name}.bias", outputs)

def norm(name):
    tensors[f"{name}.weight"] = np.ones(h, np.float32)
    tensors[f"{name}.bias"] = np.zeros(h, np.float32)

for name, rows in (("word", config["vocab_size"]), ("position", config["max_position_embeddings"]), ("token_type", config["type_vocab_size"])):
    table(f"bert.embeddings.{name}_embeddings.weight", rows, h)
norm("bert.embeddings.LayerNorm")
for i in range(o.layers):
    p = f"bert.encoder.layer.{i}."
    for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        linear(p + part, h, h)
    norm(p + "attention.output.LayerNorm")
    linear(p + "intermediate.dense", f, h)
    linear(p + "output.dense", h, f)
    norm(p + "output.LayerNorm")
linear("bert.pooler.dense", h, h)
linear("classifier", 1, h)

os.makedirs(o.out, exist_ok=True)
json.dump(config, open(os.path.join(o.out, "config.json"), "w"), indent=2)
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(os.path.join(mini, name), o.out)
save_file(tensors, os.path.join(o.out, "model.safetensors"), metadata={"format": "pt"})
