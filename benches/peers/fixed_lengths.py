#!/usr/bin/env python3
"""Write workloads in which every pair has the same number of tokens, of the words of rerank100.json and chunks32.json.

usage: fixed_lengths.py TOKENIZER.json OUT_DIR [--lengths 16,32,64,128,256,512] [--tokens 8192]
needs: pip install tokenizers

OUT_DIR/tokens-N.json has the query of rerank100 and as many documents as take 8192 tokens together with it. A document is
a run of consecutive words; one that does not end at N tokens is left out, beginning with its first word.
"""
import argparse, json, os
from tokenizers import Tokenizer

a = argparse.ArgumentParser()
a.add_argument("tokenizer"); a.add_argument("out")
a.add_argument("--lengths", default="16,32,64,128,256,512"); a.add_argument("--tokens", type=int, default=8192)
o = a.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
sources = [json.load(open(os.path.join(here, name + ".json"))) for name in ("rerank100", "chunks32")]
query, words = sources[0]["query"], " ".join(doc for source in sources for doc in source["docs"]).split()
tok = Tokenizer.from_file(o.tokenizer); tok.no_truncation(); tok.no_padding()
tokens = [len(e.ids) for e in tok.encode_batch(words, add_special_tokens=False)]
fixed = len(tok.encode(query, "").ids)

os.makedirs(o.out, exist_ok=True)
for length in map(int, o.lengths.split(",")):
    docs, start = [], 0
    while len(docs) < o.tokens // length:
        end, have = start, fixed
        while have < length: have += tokens[end % len(words)]; end += 1
        if have > length: start += 1; continue
        docs.append(" ".join(words[i % len(words)] for i in range(start, end)))
        start = end
    assert all(len(e.ids) == length for e in tok.encode_batch([(query, doc) for doc in docs])), length
    path = os.path.join(o.out, f"tokens-{length}.json")
    json.dump({"query": query, "docs": docs}, open(path, "w"))
    print(f"{path}: {len(docs)} documents, {len(set(docs))} different, {length} tokens a pair")
