"""Asks transformers which token ids and token type ids every variant of every fixture gives.

    generate.py FIXTURES OUT [VARIANTS]

FIXTURES is tests/fixtures; OUT gets pairs.json, FAMILY.tokenizer.json, which the variants of a family share, and cases-V.jsonl, one
line per variant for the installed major version V of transformers: the files that it replaces, and for each pair the ids,
or the exception with which transformers refuses the variant. VARIANTS is how many are made per family; those whose files say
that the other version wrote them are left out.
"""

import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

import variants  # noqa: E402
from pairs import PAIRS  # noqa: E402

# Of these, transformers 5 makes the normalizer and the pre-tokenizer anew.
UNIGRAM_CLASSES = ["XLMRobertaTokenizer", "CamembertTokenizer", "DebertaV2Tokenizer"]
MAJOR = int(transformers.__version__.split(".")[0])


def read(path):
    return json.loads(path.read_text())


def window(model_config):
    """Tokens that the model has positions for: MPNet's and the RoBERTas' first position comes after the padding's."""
    offset = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2}.get(model_config["model_type"], 0)
    return model_config["max_position_embeddings"] - offset


def answer(folder, positions):
    """What transformers reads for every pair."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if MAJOR == 5 and type(tokenizer).__name__ in UNIGRAM_CLASSES:
        # Transformers 5 drops these parts of the file. Ours are the file's: docs/models.md says so.
        of_file = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        tokenizer.backend_tokenizer.normalizer = of_file.normalizer
        tokenizer.backend_tokenizer.pre_tokenizer = of_file.pre_tokenizer
    rows = []
    for query, document, max_tokens in PAIRS:
        limit = min(positions, tokenizer.model_max_length, max_tokens or positions)
        # A list, as sentence-transformers gives them: beside a text, transformers takes an empty second text for none.
        encoded = tokenizer([(query, document)], truncation="longest_first", max_length=int(limit))
        rows.append([encoded["input_ids"][0], encoded.get("token_type_ids", [None])[0]])
    return rows


def case(variant, index, tokenizer):
    line = {"family": variant.family, "index": index, "edits": variant.names, "tokenizer": variant.tokenizer}
    line["files"] = variant.files()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**line["files"], "tokenizer.json": {**tokenizer, **variant.tokenizer}}.items():
            (Path(folder) / name).write_text(json.dumps(content))
        try:
            line["tokens"] = answer(folder, window(variant.model_config))
        # Whatever it is: transformers does not run this model.
        except Exception as refusal:
            line["refused"] = f"{type(refusal).__name__}: {refusal}"[:300]
    return line


def main():
    fixtures, out = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    out.mkdir(parents=True, exist_ok=True)
    (out / "pairs.json").write_text(json.dumps(PAIRS))
    with open(out / f"cases-{MAJOR}.jsonl", "w") as cases:
        for family in variants.CLASSES:
            files = fixtures / family
            tokenizer = variants.trimmed(read(files / "tokenizer.json"))
            # Not what the fixture's file has: it is a variant of its own.
            tokenizer["truncation"] = tokenizer["padding"] = None
            (out / f"{family}.tokenizer.json").write_text(json.dumps(tokenizer))
            configs = read(files / "tokenizer_config.json"), read(files / "config.json")
            refused = 0
            for index in range(count):
                variant = variants.make(family, index, tokenizer, *configs)
                if variants.version(variant) != MAJOR:
                    continue
                line = case(variant, index, tokenizer)
                refused += "refused" in line
                cases.write(json.dumps(line) + "\n")
            print(f"transformers {transformers.__version__} refuses {refused} variants of {family}")


if __name__ == "__main__":
    main()
