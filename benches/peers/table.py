#!/usr/bin/env python3
"""Print the tables of docs/measured.md from benches/results: ratios first, the medians and the range of each beside them.

usage: table.py RESULTS_DIR
"""
import json, os, sys

folder = sys.argv[1]
load = lambda name: json.load(open(os.path.join(folder, name))) if os.path.exists(os.path.join(folder, name)) else None
ms = lambda value: f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"
ranged = lambda ratio: f"**{ratio['median']:.2f}** ({ratio['min']:.2f} to {ratio['max']:.2f})"
WHAT = {"rerank100": "`rerank100`: 100 passages, 9 049 tokens", "chunks32": "`chunks32`: 32 chunks, 10 750 tokens", "pair1": "`pair1`: one pair of 73 tokens"}

print("| Workload | Precision | Ratio | crossrank | ONNX Runtime |\n| --- | --- | ---: | ---: | ---: |")
for name in ("", "base-"):
    for precision in ("f32", "int8"):
        result = load(f"{name}workloads-{precision}.json")
        for row in result["rows"] if result else ():
            what = WHAT[row["workload"]] if not name else f"`{row['workload']}` in the shape of bge-reranker-base"
            print(f"| {what} | {precision} | {ranged(row['ratio'])} | {ms(row['ours']['median_ms']['median'])} | {ms(row['peer']['median_ms']['median'])} |")
for precision in ("f32", "int8"):
    for row in (load(f"workloads-{precision}.json") or {"rows": ()})["rows"]:
        if row["workload"] == "pair1":
            ours, peer = row["ours"]["first_ms"], row["peer"]["first_ms"]
            ratios = [p / o for o, p in zip(ours["rounds"], peer["rounds"])]
            ratio = {"median": sorted(ratios)[len(ratios) // 2], "min": min(ratios), "max": max(ratios)}
            print(f"| Load to first score | {precision} | {ranged(ratio)} | {ms(ours['median'])} | {ms(peer['median'])} |")
