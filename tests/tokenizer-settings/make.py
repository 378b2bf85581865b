"""Writes cases.json: what the installed transformers reads where a file beside tokenizer.json has an edit.

    make.py 4|5      with transformers of that major version installed; run it with both

Each case is named for the row of the table in src/text/settings.rs that it shows. Its `files` are merged into the files of the
fixture: an object key by key, with null for a key to remove; a file that the fixture lacks is made. `changes` says whether
the tokens differ from those of the unedited fixture in the same version.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "critical"

import tokenizers  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

HERE = Path(__file__).parent
MAJOR = int(transformers.__version__.split(".")[0])
PAIRS = [
    ("Café 北京 Naïve", "Ünïcode 今天天气 Straße and Résumé of the Server"),
    (" the [SEP] </s> server", "[CLS] <s> word [MASK] <mask> desktop servers "),
]
LONG = ("the desktop", "Guide Alex through the jungle, and save the girlfriend from the monster, in Esperanto and other words!")
BERT = {"tokenizer_class": "BertTokenizer"}
ROBERTA = {"tokenizer_class": "RobertaTokenizer"}
# The fixture has the special tokens of BERT, and no rows for those of the class.
MPNET = {"tokenizer_class": "MPNetTokenizer", "bos_token": "[CLS]", "eos_token": "[SEP]", "cls_token": "[CLS]",
         "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
NO_CLASS = {"tokenizer_class": None}
TOKEN = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}


def config(**keys):
    return {"tokenizer_config.json": keys}


# The row, the fixture, and the files.
CASES = [
    ("tokenizer_class", "bert", config(**NO_CLASS, do_lower_case=False)),
    ("tokenizer_class", "distilbert", config(tokenizer_class="DistilBertTokenizerFast", do_lower_case=False)),
    ("tokenizer_class", "roberta", config(**NO_CLASS, add_prefix_space=True)),
    ("do_lower_case", "bert", config(**BERT, do_lower_case=False)),
    ("do_lower_case", "electra", config(tokenizer_class="ElectraTokenizer", do_lower_case=False)),
    ("do_lower_case", "mpnet", config(**MPNET, do_lower_case=False)),
    ("strip_accents", "bert", config(**BERT, strip_accents=False)),
    ("strip_accents", "distilbert", config(tokenizer_class="DistilBertTokenizer", strip_accents=False)),
    ("tokenize_chinese_chars", "bert", config(**BERT, tokenize_chinese_chars=False)),
    ("tokenize_chinese_chars", "mpnet", config(**MPNET, tokenize_chinese_chars=False)),
    ("add_prefix_space", "roberta", config(**ROBERTA, add_prefix_space=True)),
    ("add_prefix_space", "modernbert", config(add_prefix_space=True)),
    ("trim_offsets", "roberta", config(**ROBERTA, trim_offsets=False)),
    ("truncation_side", "bert", config(**BERT, truncation_side="left")),
    ("truncation_side", "xlm-roberta", config(truncation_side="left")),
    ("truncation_side", "roberta", config(truncation_side="left")),
    ("truncation_side", "bert", {"tokenizer.json": {"truncation": {
        "direction": "Left", "max_length": 64, "strategy": "LongestFirst", "stride": 0}}}),
    ("model_input_names", "bert", config(**BERT, model_input_names=["input_ids", "attention_mask"])),
    ("model_input_names", "bert", config(model_input_names=["input_ids", "token_type_ids", "attention_mask"])),
    ("model_input_names", "electra", config(tokenizer_class="ElectraTokenizer")),
    ("split_special_tokens", "bert", config(**BERT, split_special_tokens=True)),
    ("split_special_tokens", "roberta", config(split_special_tokens=True)),
    ("special tokens", "bert", config(**BERT, cls_token="[MASK]", sep_token="[UNK]")),
    ("special tokens", "xlm-roberta", config(tokenizer_class="XLMRobertaTokenizer", bos_token="<mask>", eos_token="<unk>")),
    ("special tokens", "bert", config(**BERT, unk_token="the")),
    ("special tokens", "roberta", config(mask_token={"__type": "AddedToken", **TOKEN, "content": "<mask>", "lstrip": True})),
    ("additional_special_tokens", "bert", config(**BERT, additional_special_tokens=["server"])),
    ("additional_special_tokens", "roberta", config(additional_special_tokens=["server"])),
    ("extra_special_tokens", "bert", config(**BERT, extra_special_tokens={"tool": "server"})),
    ("extra_special_tokens", "roberta", config(extra_special_tokens={"tool": "server"})),
    ("added_tokens_decoder", "bert", config(added_tokens_decoder={"4": {**TOKEN, "content": "[MASK]", "rstrip": True, "single_word": True},
                                                                  "10": {**TOKEN, "content": "server"}})),
    ("special_tokens_map.json", "bert", {"special_tokens_map.json": {"additional_special_tokens": ["serv"]}}),
    ("special_tokens_map.json", "roberta", {"special_tokens_map.json": {"additional_special_tokens": ["server"]}}),
    ("added_tokens.json", "bert", {"added_tokens.json": {"serv": 200}}),
    ("class defaults", "bert", {**config(**BERT), "tokenizer.json": {"normalizer": {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}}}),
    ("class defaults", "distilbert", {**config(tokenizer_class="DistilBertTokenizer"), "tokenizer.json": {"normalizer": {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}}}),
    ("model_max_length", "bert", config(model_max_length=12)),
    ("model_max_length", "bert", config(model_max_length=None, max_len=12)),
    ("ignored", "bert", config(**BERT, padding_side="left", clean_up_tokenization_spaces=True, do_basic_tokenize=False,
                               never_split=["server"], wordpieces_prefix="#", add_bos_token=True, legacy=False)),
    ("ignored", "roberta", config(errors="ignore", use_fast=False, add_eos_token=False, stride=4, padding="max_length")),
]


def merged(folder, files):
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    for name, keys in files.items():
        content = found.setdefault(name, {})
        for key, value in keys.items():
            if value is None:
                content.pop(key, None)
            else:
                content[key] = value
    return found


def read(fixture, files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in merged(HERE.parent / "fixtures" / fixture, files).items():
            (Path(folder) / name).write_text(json.dumps(content))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if MAJOR == 5 and type(tokenizer).__name__ == "XLMRobertaTokenizer":
            # Transformers 5 drops these parts of the file. Ours are the file's: docs/models.md says so.
            of_file = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
            tokenizer.backend_tokenizer.normalizer = of_file.normalizer
            tokenizer.backend_tokenizer.pre_tokenizer = of_file.pre_tokenizer
        rows = []
        for query, document, tokens in [*((q, d, 10**9) for q, d in PAIRS), (*LONG, 20)]:
            limit = min(tokens, tokenizer.model_max_length, 128)
            encoded = tokenizer([(query, document)], truncation="longest_first", max_length=limit)
            ids = encoded["input_ids"][0]
            rows.append({
                "query": query, "document": document, "max_tokens": min(tokens, 128), "ids": ids,
                "token_types": encoded.get("token_type_ids", [[0] * len(ids)])[0],
            })
        return rows


def main():
    if str(MAJOR) != sys.argv[1]:
        sys.exit(f"transformers {transformers.__version__} is installed")
    path = HERE / "cases.json"
    known = json.loads(path.read_text()) if path.exists() else []
    cases = [case for case in known if case["major"] != MAJOR]
    for row, fixture, files in CASES:
        written_by = {"transformers_version": transformers.__version__}
        files = {**files, "config.json": written_by}
        pairs = read(fixture, files)
        changes = pairs != read(fixture, {"config.json": written_by})
        cases.append({"row": row, "fixture": fixture, "major": MAJOR, "files": files, "changes": changes, "pairs": pairs})
        print(MAJOR, row, fixture, changes)
    cases.sort(key=lambda case: case["major"])
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    path.write_text(f"[\n{lines}\n]\n")


main()
