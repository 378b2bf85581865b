"""The pairs that every variant is asked for: case, accents, scripts without spaces, spaces at edges, special tokens in the text,
and more tokens than fit."""

LONG = "This task localises the desktop in Esperanto. Guide Alex through the jungle, and save the girlfriend from the monster! "
# Special tokens of both kinds of vocabulary, and the tokens that variants add.
SPELLED = [
    ("[CLS] [SEP] word [MASK]", "a[SEP]b [UNK] [PAD] [mask]"),
    ("<s> </s> word <mask>", "a</s>b <unk> <pad> <Mask>"),
    ("the <extra> server", "<extra><extra> [NEW]a a[NEW] servers server"),
    ("two words desktop", "Two  Words two words. Desktop desktops esperanto"),
]
# Query, document, and the window of the call in tokens (None: the model's).
PAIRS = [
    ("Esperanto desktop", "This task localises the desktop in Esperanto.", None),
    ("", "an empty query", None),
    ("an empty document", "", None),
    (" leading", "trailing ", None),
    ("  two  spaces ", "\ttabs\nand\r\nlines ", None),
    ("Café 北京 Naïve", "Ünïcode 今天天气 Straße and Résumé", None),
    ("e\u0301 combining", "ﬁ ligature ½ İstanbul ΣΑΣ", None),
    ("日本語のドキュメント", "한국어 العربية русский", None),
    ("don't stop-me (now)!", "x=1;y[2]={3.14} a@b.c #tag $5 100%", None),
    ("zero\u200bwidth\u00a0space", "\u3000ideographic\ufeff \u0001control\u007f", None),
    ("emoji 😀👩\u200d👧", "🇩🇪 flag…", None),
    ("UPPER lower MiXeD", "SERVER Server server", None),
    *((query, document, None) for query, document in SPELLED),
    (LONG, LONG * 8, None),
    ("short query", LONG * 8, None),
    (LONG * 8, "short document", None),
    (LONG * 2, LONG, 24),
    ("short query", LONG, 16),
    ("[SEP] </s> query", f"{LONG}[SEP] </s>", 20),
    ("word", "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 8, None),
]

