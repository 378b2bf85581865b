"""Variants of the files beside a fixture's weights: each is the fixture with up to five random edits, the same ones on
every machine."""

import copy
import json
import random

# Rows of the word table that no token of the trimmed vocabulary names: new tokens get the ids of these rows.
FREE_ROWS = 20

BERT, BERT_FAST = "BertTokenizer", "BertTokenizerFast"
# The classes that model cards of each family name, the fast one last.
CLASSES = {
    "bert": [BERT, BERT_FAST],
    "jinabert": [BERT, BERT_FAST],
    "distilbert": ["DistilBertTokenizer", "DistilBertTokenizerFast"],
    "electra": ["ElectraTokenizer", "ElectraTokenizerFast"],
    "mpnet": ["MPNetTokenizer", "MPNetTokenizerFast"],
    "roberta": ["RobertaTokenizer", "RobertaTokenizerFast"],
    "xlm-roberta": ["XLMRobertaTokenizer", "XLMRobertaTokenizerFast"],
    "gte": ["XLMRobertaTokenizer", "XLMRobertaTokenizerFast"],
    "camembert": ["CamembertTokenizer", "CamembertTokenizerFast"],
    "deberta-v2": ["DebertaV2Tokenizer", "DebertaV2TokenizerFast"],
    "modernbert": ["PreTrainedTokenizerFast", "PreTrainedTokenizerFast"],
}

# Of each family: a token of its vocabulary that could take the place of a special one, and a plain word.
SPARE = {
    "bert": ("##ing", "server"),
    "roberta": ("Ġserver", "server"),
    "xlm-roberta": ("▁server", "server"),
}


def kind(family):
    """The family whose kind of tokenizer this one has."""
    if family in ("bert", "jinabert", "distilbert", "electra", "mpnet"):
        return "bert"
    return "roberta" if family in ("roberta", "modernbert") else "xlm-roberta"


def trimmed(tokenizer):
    """A tokenizer.json whose last tokens, and the merges that make them, are left out."""
    tokenizer = copy.deepcopy(tokenizer)
    model = tokenizer["model"]
    if isinstance(model["vocab"], list):
        model["vocab"] = model["vocab"][:-FREE_ROWS]
    else:
        last = len(model["vocab"]) - FREE_ROWS
        model["vocab"] = {token: id for token, id in model["vocab"].items() if id < last}
    if "merges" in model:
        pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
        known = model["vocab"]
        model["merges"] = [[a, b] for a, b in pairs if a in known and b in known and a + b in known]
    return tokenizer


class Variant:
    """The files that a variant replaces: a dictionary each, or None for a file that is not there."""

    def __init__(self, family, tokenizer, tokenizer_config, model_config):
        self.family = family
        self.names = []
        self.original = tokenizer
        # Top-level keys that replace those of the trimmed tokenizer.json.
        self.tokenizer = {}
        self.config = copy.deepcopy(tokenizer_config)
        self.special_tokens_map = None
        self.added_tokens = None
        self.model_config = copy.deepcopy(model_config)

    def part(self, key):
        """A top-level part of tokenizer.json, to be changed in place."""
        if key not in self.tokenizer:
            self.tokenizer[key] = copy.deepcopy(self.original[key])
        return self.tokenizer[key]

    def files(self):
        files = {
            "tokenizer_config.json": self.config,
            "special_tokens_map.json": self.special_tokens_map,
            "added_tokens.json": self.added_tokens,
            "config.json": self.model_config,
        }
        return {name: content for name, content in files.items() if content is not None}


def setter(key, values):
    """An edit that gives a key of tokenizer_config.json one of some values."""

    def edit(rng, variant):
        variant.config[key] = rng.choice(values)
        return f"{key}={json.dumps(variant.config[key])}"

    return edit


def tokenizer_class(rng, variant):
    choices = CLASSES[variant.family] * 3 + ["PreTrainedTokenizerFast", "TokenizersBackend", None]
    choice = rng.choice(choices)
    # Transformers itself has no class for the model type of the GTE fixture.
    if choice is None and variant.family != "gte":
        variant.config.pop("tokenizer_class", None)
    elif choice == "TokenizersBackend" and version(variant) == 4:
        variant.config["tokenizer_class"] = "PreTrainedTokenizerFast"
    elif choice is not None:
        variant.config["tokenizer_class"] = choice
    return f"tokenizer_class={variant.config.get('tokenizer_class')}"


def foreign_class(rng, variant):
    variant.config["tokenizer_class"] = rng.choice(sorted({c for row in CLASSES.values() for c in row}))
    return f"tokenizer_class={variant.config['tokenizer_class']}"


def added_token(content, rng, special=None):
    """A token in the form in which transformers 4 and 5 write it."""
    flag = lambda: rng.random() < 0.3
    token = {"content": content, "lstrip": flag(), "normalized": flag(), "rstrip": flag(), "single_word": flag()}
    if special is not None:
        token["special"] = special
    return token


def new_content(rng, variant):
    _, word = SPARE[kind(variant.family)]
    return rng.choice(["<extra>", "[NEW]", word, "esper", "two words", "Desktop"])


def changed_special_token(rng, variant):
    token, _ = SPARE[kind(variant.family)]
    name = rng.choice(["cls_token", "sep_token", "unk_token", "pad_token", "mask_token", "bos_token", "eos_token"])
    content = rng.choice([token, variant.config.get("mask_token"), "[NEW]", variant.config.get("pad_token")])
    if rng.random() < 0.4:
        content = {"__type": "AddedToken", **added_token(content, rng)}
    variant.config[name] = content
    return f"{name}={json.dumps(content, ensure_ascii=False)}"


def missing_special_token(rng, variant):
    name = rng.choice(["cls_token", "sep_token", "unk_token", "mask_token"])
    variant.config.pop(name, None)
    return f"no {name}"


def extra_special_tokens(rng, variant):
    key = rng.choice(["additional_special_tokens", "extra_special_tokens"])
    contents = [new_content(rng, variant) for _ in range(rng.randrange(1, 3))]
    if rng.random() < 0.3:
        contents = [{"__type": "AddedToken", **added_token(content, rng)} for content in contents]
    if key == "extra_special_tokens" and rng.random() < 0.5:
        contents = {f"extra_{i}_token": content for i, content in enumerate(contents)}
    variant.config[key] = contents
    return f"{key}={json.dumps(contents)}"


def added_tokens_decoder(rng, variant):
    """As save_pretrained writes it: the tokens of tokenizer.json, one of them with other flags, and maybe a new one."""
    tokens = {}
    for token in variant.original["added_tokens"]:
        tokens[str(token["id"])] = {key: value for key, value in token.items() if key != "id"}
    name = "added_tokens_decoder"
    if rng.random() < 0.6:
        changed = rng.choice(list(tokens))
        flag = rng.choice(["lstrip", "rstrip", "single_word", "normalized", "special"])
        tokens[changed][flag] = not tokens[changed][flag]
        name += f" {tokens[changed]['content']} {flag}"
    if rng.random() < 0.5:
        content = new_content(rng, variant)
        tokens[str(len(variant.original["model"]["vocab"]))] = added_token(content, rng, rng.random() < 0.5)
        name += f" new {content}"
    variant.config["added_tokens_decoder"] = tokens
    return name


def tokenizer_added_token(rng, variant):
    """A token that is added in tokenizer.json itself."""
    tokens = variant.part("added_tokens")
    content = new_content(rng, variant)
    id = max(len(variant.original["model"]["vocab"]), 1 + max(token["id"] for token in tokens))
    tokens.append({"id": id, **added_token(content, rng, rng.random() < 0.5)})
    return f"tokenizer.json adds {json.dumps(tokens[-1])}"


def special_tokens_map(rng, variant):
    names = ["cls_token", "sep_token", "unk_token", "pad_token", "mask_token"]
    tokens = {name: variant.config[name] for name in names if name in variant.config}
    edit = rng.choice(["same", "same", "changed", "flags", "extra"])
    if edit == "changed" and tokens:
        tokens[rng.choice(sorted(tokens))] = SPARE[kind(variant.family)][0]
    if edit == "flags" and isinstance(tokens.get("mask_token"), str):
        tokens["mask_token"] = added_token(tokens["mask_token"], rng)
    if edit == "extra":
        tokens["additional_special_tokens"] = [new_content(rng, variant)]
    variant.special_tokens_map = tokens
    if rng.random() < 0.3:
        for name in names:
            variant.config.pop(name, None)
    return f"special_tokens_map.json {edit}"


def added_tokens_file(rng, variant):
    content = new_content(rng, variant)
    variant.added_tokens = {content: len(variant.original["model"]["vocab"])}
    return f"added_tokens.json {content}"


def normalizer(rng, variant):
    """A tokenizer.json that says something else than its class's defaults."""
    if kind(variant.family) != "bert":
        return pre_tokenizer(rng, variant)
    key = rng.choice(["lowercase", "strip_accents", "handle_chinese_chars"])
    variant.part("normalizer")[key] = False
    return f"tokenizer.json {key}=false"


def pre_tokenizer(rng, variant):
    part = variant.part("pre_tokenizer")
    if part["type"] == "ByteLevel":
        part["add_prefix_space"] = not part["add_prefix_space"]
        return f"tokenizer.json add_prefix_space={part['add_prefix_space']}"
    if part["type"] == "Metaspace":
        part["prepend_scheme"] = rng.choice(["first", "never"])
        return f"tokenizer.json prepend_scheme={part['prepend_scheme']}"
    return "nothing"


def truncation(rng, variant):
    direction = rng.choice(["Left", "Right"])
    variant.tokenizer["truncation"] = {
        "direction": direction,
        "max_length": rng.choice([30, 64]),
        "strategy": "LongestFirst",
        "stride": 0,
    }
    return f"tokenizer.json truncation {direction}"


BOOLEAN = [True, False]
# Edits, the ones that change what is read most often named more than once.
EDITS = [
    tokenizer_class,
    tokenizer_class,
    tokenizer_class,
    foreign_class,
    setter("do_lower_case", [True, False, False, None]),
    setter("do_lower_case", [True, False]),
    setter("strip_accents", [True, False, None]),
    setter("tokenize_chinese_chars", [True, False, False]),
    setter("add_prefix_space", BOOLEAN),
    setter("trim_offsets", BOOLEAN),
    setter("truncation_side", ["left", "left", "right"]),
    setter("truncation_side", ["left", "left", "right"]),
    setter("padding_side", ["left", "right"]),
    setter("model_input_names", [["input_ids", "attention_mask"], ["input_ids", "token_type_ids", "attention_mask"]]),
    setter("model_input_names", [["input_ids", "attention_mask"]]),
    setter("split_special_tokens", BOOLEAN),
    setter("clean_up_tokenization_spaces", BOOLEAN),
    setter("model_max_length", [16, 24, 40, 512, 1000000000000000019884624838656]),
    setter("max_len", [24, 512]),
    setter("add_bos_token", BOOLEAN),
    setter("add_eos_token", BOOLEAN),
    setter("split_by_punct", BOOLEAN),
    setter("do_basic_tokenize", BOOLEAN),
    setter("never_split", [["server"], None]),
    setter("wordpieces_prefix", ["##", "#"]),
    setter("legacy", BOOLEAN),
    setter("use_fast", BOOLEAN),
    setter("padding", [True, "max_length"]),
    setter("max_length", [16, 512]),
    setter("stride", [0, 4]),
    setter("truncation_strategy", ["only_first", "longest_first"]),
    setter("errors", ["replace", "ignore"]),
    setter("processor_class", ["BertProcessor"]),
    setter("name_or_path", ["someone/else"]),
    changed_special_token,
    changed_special_token,
    missing_special_token,
    extra_special_tokens,
    extra_special_tokens,
    added_tokens_decoder,
    added_tokens_decoder,
    special_tokens_map,
    special_tokens_map,
    added_tokens_file,
    tokenizer_added_token,
    normalizer,
    normalizer,
    pre_tokenizer,
    truncation,
]


def version(variant):
    """The major version of transformers that decides: 5 where the model says that 5 wrote it, else 4."""
    return 5 if str(variant.model_config.get("transformers_version", "")).startswith("5.") else 4


def make(family, index, tokenizer, tokenizer_config, model_config):
    """Variant `index` of a family. Even ones are models of transformers 4, odd ones of 5; the first two have no other edit."""
    rng = random.Random(f"{family} {index}")
    variant = Variant(family, tokenizer, tokenizer_config, model_config)
    variant.model_config.pop("transformers_version", None)
    written_by = "5.24.0" if index % 2 else rng.choice([None, "4.57.3", "4.30.0"])
    if written_by:
        variant.model_config["transformers_version"] = written_by
    if index < 2:
        return variant
    # The fixtures name no family's class, and the keys of one, such as do_lower_case, mean nothing without it.
    named = [tokenizer_class] if rng.random() < 0.6 else []
    for edit in named + rng.choices(EDITS, k=rng.choice([1, 1, 1, 2, 2, 3, 4])):
        variant.names.append(edit(rng, variant))
    return variant
