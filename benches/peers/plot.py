#!/usr/bin/env python3
"""Draw documents per second over the length of pairs and over threads, ours and the peer's.

usage: plot.py RESULTS_DIR       reads lengths-*.json and threads-*.json there, writes documents_per_second.svg
needs: pip install matplotlib

The same results give the same file. Grey text and no background: legible on light and on dark pages.
"""
import json, os, sys
import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

folder = sys.argv[1]
# Between light and dark: each has a contrast of at least 3 to white and to near black.
TEXT, OURS, PEER = "#7a818c", "#2f81f7", "#d9730d"
LINES = {"f32": ("-", "o"), "int8": ("--", "s")}
plt.rcParams.update({"svg.hashsalt": "crossrank", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10,
    "text.color": TEXT, "axes.labelcolor": TEXT, "axes.edgecolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
    "axes.spines.top": False, "axes.spines.right": False})

def load(kind):
    paths = ((p, os.path.join(folder, f"{kind}-{p}.json")) for p in LINES)
    return {p: json.load(open(path)) for p, path in paths if os.path.exists(path)}

def draw(axes, results, x_of):
    for precision, result in results.items():
        line, marker = LINES[precision]
        for side, colour in (("ours", OURS), ("peer", PEER)):
            who = "crossrank" if side == "ours" else f"ONNX Runtime {result['peer']['version'].removesuffix('.0')}"
            xs = [x_of(row) for row in result["rows"]]
            ys = [row[side]["documents_per_second"]["median"] for row in result["rows"]]
            axes.plot(xs, ys, line, color=colour, marker=marker, markersize=5, linewidth=1.8, label=f"{who}, {precision}")

lengths, threads = load("lengths"), load("threads")
about = next(iter(lengths.values()))
figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), width_ratios=(2, 1), layout="constrained")
figure.patch.set_alpha(0)

draw(left, lengths, lambda row: row["tokens"] // row["documents"])
ticks = [row["tokens"] // row["documents"] for row in about["rows"]]
left.set(xscale="log", yscale="log", xlabel="tokens per pair (query, document, special tokens)", ylabel="documents per second",
    title=f"By length, {about['rows'][0]['threads']} threads", xticks=ticks, xticklabels=ticks)
left.xaxis.set_minor_locator(NullLocator())
# Powers of two, as on the other axis: a straight line of slope -1 is a constant number of tokens per second.
low, high = left.get_ylim()
left.set_yticks([2**n for n in range(16) if low <= 2**n <= high])
left.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}".replace(",", " ")))
left.yaxis.set_minor_formatter(NullFormatter()); left.yaxis.set_minor_locator(NullLocator())
left.legend(frameon=False, labelcolor=TEXT, loc="lower left")

draw(right, threads, lambda row: row["threads"])
counts = sorted({row["threads"] for result in threads.values() for row in result["rows"]})
right.set(xlabel="threads", ylabel="documents per second", title="100 passages of 17 to 328 tokens", xticks=counts)
right.set_xlim(counts[0] - 0.2, counts[-1] + 0.2); right.set_ylim(bottom=0)
for axes in (left, right):
    axes.patch.set_alpha(0); axes.grid(color=TEXT, alpha=0.25, linewidth=0.6)
    axes.title.set_size(11)
figure.suptitle(f"{about['processor']}, {about['instruction_set']}; {about['model']}; higher is better", size=11, color=TEXT)

out = os.path.join(folder, "documents_per_second.svg")
figure.savefig(out, metadata={"Date": None, "Creator": None}, transparent=True)
print("wrote", out)
