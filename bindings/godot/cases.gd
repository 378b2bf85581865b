# Runs bindings/cases.json through CrossrankReranker in Godot, without a window:
#   godot --headless --path <project with crossrank.gdextension> --script cases.gd -- <repository's root>
extends SceneTree

var repository: String
var tolerance: float
var passed := 0
var failed := 0
var skipped := 0


func _init() -> void:
	repository = OS.get_cmdline_user_args()[0]
	var file: Dictionary = JSON.parse_string(FileAccess.get_file_as_string(repository.path_join("bindings/cases.json")))
	tolerance = file["tolerance"]
	for test: Dictionary in file["cases"]:
		if is_possible(test):
			report(test["name"], run(test))
		else:
			skipped += 1
			print("skipped: ", test["name"])
	report("a started ranking is watched, and is that of a call", started())
	report("a started ranking is cancelled", cancelled())
	report("an untyped call checks its arguments", untyped())
	print("%d passed, %d failed, %d skipped" % [passed, failed, skipped])
	quit(0 if failed == 0 and passed > 0 else 1)


func report(test: String, mismatch: String) -> void:
	if mismatch == "":
		passed += 1
	else:
		failed += 1
		print("failed: ", test, ": ", mismatch)


# Not applicable: Godot's strings are always well-formed and have no NUL; this class has neither sets nor a plan; and a call
# cannot be cancelled before it starts, because start() makes the cancel object.
func is_possible(test: Dictionary) -> bool:
	if test["call"] in ["rerank_many", "plan", "text", "status_name"] or test.has("cancelled"):
		return false
	for text: Variant in [test.get("query", "")] + test.get("documents", []) + test.get("pairs", []):
		for one: Variant in (text if text is Array else [text]):
			if not one is String or "\ufffd" in one:
				return false
	return true


func run(test: Dictionary) -> String:
	var expect: Dictionary = test["expect"]
	var reranker := CrossrankReranker.new()
	var status := set_options(reranker, test.get("options", {}))
	if status == CrossrankReranker.OK and test["model"] != null:
		status = load_model(reranker, test["model"])
	var results := []
	if status == CrossrankReranker.OK:
		match test["call"]:
			"rerank":
				results = reranker.rerank(test["query"], PackedStringArray(test["documents"]))
			"score":
				results = reranker.score(
					PackedStringArray(test["pairs"].map(func(pair): return pair[0])),
					PackedStringArray(test["pairs"].map(func(pair): return pair[1])))
			"trim":
				reranker.trim()
		status = reranker.status()
	if status != status_of(expect):
		return "status is %d (%s)" % [status, reranker.message()]
	if (status == CrossrankReranker.OK) != (reranker.message() == ""):
		return "message and status disagree"
	var info := reranker.info()
	for fact: String in expect.get("facts", {}):
		if info.has(fact) and info[fact] != int(expect["facts"][fact]):
			return "%s is %s" % [fact, info[fact]]
	if expect.has("results"):
		return compare(expect["results"], results)
	return ""


func compare(expected: Array, found: Array) -> String:
	if expected.size() != found.size():
		return "%d results" % found.size()
	for i in found.size():
		var wanted: Dictionary = expected[i]
		var result: Dictionary = found[i]
		if result["status"] != status_of(wanted) or result["index"] != int(wanted.get("index", i)):
			return "result %d is %s" % [i, result]
		var window: Array = wanted.get("window", [0, 0])
		if result["window_start"] != int(window[0]) or result["window_end"] != int(window[1]):
			return "result %d is %s" % [i, result]
		for key: String in ["tokens", "query_cut", "document_cut"]:
			if result[key] != int(wanted.get(key, 0)):
				return "result %d is %s" % [i, result]
		# NaN, which stands for no score, is near nothing.
		if wanted.has("score") != (absf(result["score"] - wanted.get("score", 0.0)) <= tolerance):
			return "result %d is %s" % [i, result]
		for key: String in ["logits", "scores"]:
			for label in wanted.get(key, []).size():
				if not absf(result[key][label] - wanted[key][label]) <= tolerance:
					return "result %d is %s" % [i, result]
	return ""


func status_of(expect: Dictionary) -> int:
	return constant(expect.get("status", "CROSSRANK_OK").trim_prefix("CROSSRANK_"))


# A constant of the class by name.
func constant(key: String) -> int:
	return ClassDB.class_get_integer_constant("CrossrankReranker", key)


func set_options(reranker: CrossrankReranker, options: Dictionary) -> int:
	for key: String in options:
		var value: Variant = options[key]
		if value is String and not key in ["prompt", "prompt_name"]:
			value = constant("%s_%s" % [key.to_upper(), value])
		var status: int = reranker.call("set_" + key, value)
		if status != CrossrankReranker.OK:
			return status
	return CrossrankReranker.OK


func load_model(reranker: CrossrankReranker, model: Variant) -> int:
	if model is String:
		return reranker.load(repository.path_join(model))
	return reranker.load_memory(
		"a model in memory", bytes(model["config"]), bytes(model["tokenizer"]), bytes(model["tokenizer_config"]),
		model["weights"].map(bytes))


func bytes(value: Variant) -> PackedByteArray:
	if value is Dictionary:
		return FileAccess.get_file_as_bytes(repository.path_join(value["path"]))
	return value.to_utf8_buffer() if value is String else PackedByteArray()


func started() -> String:
	var reranker := CrossrankReranker.new()
	reranker.load(repository.path_join("tests/fixtures/bert"))
	var documents := PackedStringArray(["x", "desktop", "y"])
	if reranker.start("desktop", documents) != CrossrankReranker.OK:
		return "it did not start: " + reranker.message()
	if reranker.start("desktop", documents) != CrossrankReranker.ERR_ARGUMENT:
		return "it started twice"
	while reranker.is_running():
		OS.delay_msec(1)
	if reranker.progress() != 1.0:
		return "progress is %f" % reranker.progress()
	var ranking := reranker.take()
	if ranking.is_empty() or ranking != reranker.rerank("desktop", documents):
		return "the rankings differ"
	return ""


func cancelled() -> String:
	var reranker := CrossrankReranker.new()
	reranker.set_threads(1)
	reranker.load(repository.path_join("tests/fixtures/bert"))
	# Enough work that the ranking is still under way when it is cancelled after the first scores.
	var documents := PackedStringArray()
	documents.resize(20000)
	documents.fill("desktop ".repeat(100))
	reranker.start("desktop", documents)
	while reranker.progress() == 0.0 and reranker.is_running():
		OS.delay_msec(1)
	reranker.cancel()
	if reranker.take() != [] or reranker.status() != CrossrankReranker.ERR_CANCELLED:
		return "status is %d" % reranker.status()
	# A reranker that is freed while it works stops working.
	reranker.start("desktop", documents)
	return ""


func untyped() -> String:
	var reranker: Variant = CrossrankReranker.new()
	if reranker.set_threshold(1) != CrossrankReranker.OK:
		return "an int is no float"
	reranker.load(repository.path_join("tests/fixtures/bert"))
	reranker.set_threshold(-1000)
	if reranker.rerank("desktop", ["x", "y"]).size() != 2:
		return "an Array is no PackedStringArray"
	return ""
