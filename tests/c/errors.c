/* Provokes every status, and checks that outputs are written only on success: errors MODEL MODEL_WITH_3_LABELS SCRATCH */
#define _GNU_SOURCE
#include "check.h"

#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool seen[128];

static void fails(crossrank_status wanted, crossrank_status got, const char *text, int line) {
    expect(wanted, got, text, __FILE__, line);
    CHECK(*crossrank_last_message() != 0);
    seen[wanted] = true;
}
#define FAILS(status, call) fails(status, call, #call, __LINE__)

static crossrank_str config, tokenizer, tokenizer_config, weights;

/* A copy of a file with the first `old` replaced by `new`, which has the same length. */
static crossrank_str with(crossrank_str file, const char *old, const char *new) {
    char *copy = keep(file.len);
    CHECK(strlen(old) == strlen(new));
    memcpy(copy, file.data, file.len);
    char *place = memmem(copy, file.len, old, strlen(old));
    CHECK(place != NULL);
    memcpy(place, new, strlen(new));
    crossrank_str result = {copy, file.len};
    return result;
}

/* A load that fails does not change the handle. */
static void load_fails(crossrank_status status, crossrank_str own_config, crossrank_str own_weights, crossrank_options options) {
    crossrank_model model = {42};
    FAILS(status, crossrank_model_load_memory("tiny", own_config, tokenizer, tokenizer_config, &own_weights, 1, options, &model));
    CHECK(model.id == 42);
}

static void loading(const char *scratch) {
    crossrank_options options = load_options();
    crossrank_model model = {42};
    crossrank_region none = {-1, 0, 0};
    FAILS(CROSSRANK_ERR_NOT_FOUND, crossrank_model_load("no/such/model", options, &model));
    CHECK(strstr(crossrank_last_message(), "no/such/model") != NULL);
    FAILS(CROSSRANK_ERR_UTF8, crossrank_model_load("\xff", options, &model));
    /* A directory in place of config.json. */
    const char *broken = join(scratch, "broken");
    CHECK(mkdir(broken, 0700) == 0 || access(broken, F_OK) == 0);
    const char *folder = join(broken, "config.json");
    CHECK(mkdir(folder, 0700) == 0 || access(folder, F_OK) == 0);
    FAILS(CROSSRANK_ERR_IO, crossrank_model_load(broken, options, &model));

    /* Descriptors: none, closed, a pipe, and regions past the end of the file. */
    int pipes[2], memory = memfd_create("sparse", 0);
    CHECK(pipe(pipes) == 0 && memory >= 0 && ftruncate(memory, (off_t)1 << 62) == 0);
    crossrank_region closed = {1000000, 0, 10}, pipe_end = {pipes[0], 0, 10};
    crossrank_region past = {memory, (uint64_t)1 << 62, 1}, over = {memory, UINT64_MAX, UINT64_MAX};
    crossrank_region huge = {memory, 0, (uint64_t)1 << 62};
    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_model_load_fd("fd", none, none, none, &none, 1, options, &model));
    FAILS(CROSSRANK_ERR_IO, crossrank_model_load_fd("fd", closed, none, none, &none, 1, options, &model));
    FAILS(CROSSRANK_ERR_IO, crossrank_model_load_fd("fd", pipe_end, none, none, &none, 1, options, &model));
    FAILS(CROSSRANK_ERR_IO, crossrank_model_load_fd("fd", past, none, none, &none, 1, options, &model));
    FAILS(CROSSRANK_ERR_IO, crossrank_model_load_fd("fd", over, none, none, &none, 1, options, &model));
    FAILS(CROSSRANK_ERR_OUT_OF_MEMORY, crossrank_model_load_fd("fd", huge, none, none, &none, 1, options, &model));
    CHECK(model.id == 42);
    CHECK(close(pipes[0]) == 0 && close(pipes[1]) == 0 && close(memory) == 0);

    load_fails(CROSSRANK_ERR_FORMAT, with(config, "{", "["), weights, options);
    crossrank_str half = {weights.data, weights.len / 2};
    load_fails(CROSSRANK_ERR_FORMAT, config, half, options);
    load_fails(CROSSRANK_ERR_MISSING_TENSOR, config, with(weights, "bert.pooler.dense.bias", "bert.pooler.dense.wine"), options);
    load_fails(CROSSRANK_ERR_TENSOR_SHAPE, with(config, "\"intermediate_size\": 256", "\"intermediate_size\": 255"), weights, options);
    load_fails(CROSSRANK_ERR_TENSOR_TYPE, config, with(weights, "\"F32\"", "\"I32\""), options);
    load_fails(CROSSRANK_ERR_UNSUPPORTED, with(config, "BertForSequence", "WhatForSequence"), weights, options);
    OK(crossrank_options_set_memory_limit(options, 1000));
    load_fails(CROSSRANK_ERR_MEMORY_LIMIT, config, weights, options);
    OK(crossrank_options_set_memory_limit(options, UINT64_MAX));
    OK(crossrank_options_set_threads(options, 0));
    load_fails(CROSSRANK_ERR_ARGUMENT, config, weights, options);
    /* INT8 is for the CPU only, whether there is a GPU or not. */
    OK(crossrank_options_set_threads(options, 2));
    OK(crossrank_options_set_backend(options, CROSSRANK_BACKEND_GPU));
    OK(crossrank_options_set_precision(options, CROSSRANK_PRECISION_INT8));
    load_fails(CROSSRANK_ERR_ARGUMENT, config, weights, options);
    CHECK(strstr(crossrank_last_message(), "precision") != NULL && strstr(crossrank_last_message(), "GPU") != NULL);
    OK(crossrank_options_free(options));

    uint64_t bytes[2] = {7, 7};
    FAILS(CROSSRANK_ERR_NOT_FOUND, crossrank_model_plan("no/such/model", CROSSRANK_DEFAULTS, &bytes[0], &bytes[1]));
    CHECK(bytes[0] == 7 && bytes[1] == 7);
}

/* Numbers that are not a value of their option are refused, and change nothing. */
static void options_with_wrong_values(void) {
    crossrank_options options = {0};
    OK(crossrank_options_new(&options));
    for (int i = 0; i < 2; i++) {
        int32_t wrong = i == 0 ? -1 : 99;
        FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_options_set_backend(options, wrong));
        FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_options_set_isa(options, wrong));
        FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_options_set_truncation(options, wrong));
        FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_options_set_precision(options, wrong));
        CHECK(strstr(crossrank_last_message(), "precision") != NULL);
        FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_options_set_gpu_precision(options, wrong));
    }
    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_options_set_threshold(options, (double)NAN));
    FAILS(CROSSRANK_ERR_UTF8, crossrank_options_set_prompt(options, CROSSRANK_STR("secret \xff")));
    CHECK(strstr(crossrank_last_message(), "prompt") != NULL && strstr(crossrank_last_message(), "secret") == NULL);
    FAILS(CROSSRANK_ERR_UTF8, crossrank_options_set_prompt_name(options, "\xff"));
    FAILS(CROSSRANK_ERR_HANDLE, crossrank_options_set_top_k(CROSSRANK_DEFAULTS, 1));
    OK(crossrank_options_free(options));
}

/* An executor that does not run its tasks. */
static void lazy(void *user, size_t count, void (*task)(void *context, size_t index), void *context) {
    (void)user, (void)count, (void)task, (void)context;
}

static void calls(const char *path, const char *labels_path) {
    crossrank_model model = load(path), labels = load(labels_path);
    crossrank_options options = {0};
    OK(crossrank_options_new(&options));
    crossrank_ranked results[DOCUMENTS], painted[DOCUMENTS];
    size_t found = 99, length = 99;
    float logits[DOCUMENTS], painted_logits[DOCUMENTS];
    double scores[DOCUMENTS], painted_scores[DOCUMENTS];
    memset(results, 0xa5, sizeof results), memcpy(painted, results, sizeof results);
    memset(logits, 0xa5, sizeof logits), memcpy(painted_logits, logits, sizeof logits);
    memset(scores, 0xa5, sizeof scores), memcpy(painted_scores, scores, sizeof scores);
    crossrank_str queries[2] = {QUERY, QUERY};
#define RERANK(model, query, docs, count) crossrank_rerank(model, query, docs, count, options, results, DOCUMENTS, &found)

    crossrank_model none = {0};
    FAILS(CROSSRANK_ERR_HANDLE, RERANK(none, QUERY, documents(), DOCUMENTS));
    FAILS(CROSSRANK_ERR_NULL, RERANK(model, QUERY, NULL, DOCUMENTS));
    FAILS(CROSSRANK_ERR_SEVERAL_LABELS, RERANK(labels, QUERY, documents(), DOCUMENTS));
    OK(crossrank_options_set_label(options, 3));
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK(labels, QUERY, documents(), DOCUMENTS));
    OK(crossrank_options_set_label(options, 0));
    /* Counts that exceed the address space, and memory that is not aligned. */
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK(model, QUERY, documents(), SIZE_MAX));
    crossrank_str endless = {"x", SIZE_MAX};
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK(model, endless, documents(), DOCUMENTS));
    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_rerank(model, QUERY, documents(), 1, options, results, SIZE_MAX, &found));
    const void *odd = (const char *)documents() + 1;
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK(model, QUERY, (const crossrank_str *)odd, 1));

    FAILS(CROSSRANK_ERR_BUFFER, crossrank_score(model, queries, documents(), 2, options, logits, scores, 1, results));
    FAILS(CROSSRANK_ERR_BUFFER, crossrank_score(labels, queries, documents(), 2, options, logits, scores, 5, results));
    FAILS(CROSSRANK_ERR_BUFFER, crossrank_score(labels, queries, documents(), SIZE_MAX / 2, options, logits, scores, 5, results));
    crossrank_set sets[2] = {{QUERY, documents(), 7}, {QUERY, documents(), 7}};
    FAILS(CROSSRANK_ERR_BUFFER, crossrank_rerank_many(model, sets, 2, options, results, DOCUMENTS, &found));

    /* Texts in one buffer: offsets that descend or pass the end, numbers that contradict each other. */
    static const uint64_t RIGHT[4] = {0, 3, 3, 7}, DESCENDING[4] = {0, 5, 3, 7}, PASSING[4] = {0, 3, 5, 8};
    static const uint64_t HUGE[4] = {0, 3, UINT64_MAX, 7};
    const uint64_t *const wrong[3] = {DESCENDING, PASSING, HUGE};
    crossrank_texts packed = {"a b c d", 7, RIGHT, 3};
#define RERANK_TEXTS(texts) crossrank_rerank_texts(model, QUERY, texts, options, results, DOCUMENTS, &found)
    for (size_t i = 0; i < 3; i++) {
        packed.offsets = wrong[i];
        FAILS(CROSSRANK_ERR_ARGUMENT, RERANK_TEXTS(packed));
        CHECK(strstr(crossrank_last_message(), i == 1 ? "`documents` 2" : "`documents` 1") != NULL);
    }
    packed.offsets = RIGHT;
    packed.count = SIZE_MAX;
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK_TEXTS(packed));
    packed.count = 3, packed.len = SIZE_MAX;
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK_TEXTS(packed));
    packed.len = 7;
    crossrank_texts fewer = packed;
    fewer.count = 2;
    const size_t too_few[3] = {1, 1, 0}, too_many[3] = {SIZE_MAX, 3, 3};
    size_t each[3];
#define RERANK_MANY_TEXTS(counts, capacity) \
    crossrank_rerank_many_texts(model, packed, packed, counts, options, results, capacity, each)
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK_MANY_TEXTS(too_few, DOCUMENTS));
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK_MANY_TEXTS(too_many, DOCUMENTS));
    const size_t right[3] = {1, 1, 1};
    FAILS(CROSSRANK_ERR_BUFFER, RERANK_MANY_TEXTS(right, 2));
    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_score_texts(model, fewer, packed, options, logits, scores, 3, results));
    FAILS(CROSSRANK_ERR_BUFFER, crossrank_score_texts(model, packed, packed, options, logits, scores, 2, results));

    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_model_text(model, 99, 0, NULL, 0, &length));
    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_model_text(model, CROSSRANK_TEXT_LABEL, 1, NULL, 0, &length));
    CHECK(length == 99);
    crossrank_info info;
    memset(&info, 0xa5, sizeof info);
    info.size = 0;
    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_model_info(model, &info));
    crossrank_usage usage;
    memset(&usage, 0xa5, sizeof usage);
    usage.size = 0;
    FAILS(CROSSRANK_ERR_ARGUMENT, crossrank_last_usage(&usage));
    CHECK(info.backend == usage.backend && info.backend == (int32_t)0xa5a5a5a5);

    /* Ill-formed UTF-8: U+FFFD by default, an error with the index on request. The message does not contain the text. */
    crossrank_str texts[3] = {documents()[0], CROSSRANK_STR("secret \xff\xc0"), documents()[1]};
    OK(crossrank_options_set_strict_utf8(options, true));
    FAILS(CROSSRANK_ERR_UTF8, RERANK(model, QUERY, texts, 3));
    CHECK(strstr(crossrank_last_message(), "1") != NULL && strstr(crossrank_last_message(), "secret") == NULL);
    const uint64_t bounds[4] = {0, 3, 5, 6};
    const crossrank_texts ill_formed = {"abc\xff\xc0" "d", 6, bounds, 3};
    FAILS(CROSSRANK_ERR_UTF8, RERANK_TEXTS(ill_formed));
    CHECK(strstr(crossrank_last_message(), "`documents` 1") != NULL);
    OK(crossrank_options_set_strict_utf8(options, false));

    OK(crossrank_options_set_max_tokens(options, 8));
    OK(crossrank_options_set_truncation(options, CROSSRANK_TRUNCATION_ERROR));
    FAILS(CROSSRANK_ERR_TOO_LONG, RERANK(model, QUERY, documents(), DOCUMENTS));
    OK(crossrank_options_set_max_tokens(options, 2));
    FAILS(CROSSRANK_ERR_ARGUMENT, RERANK(model, QUERY, documents(), DOCUMENTS));
    OK(crossrank_options_set_max_tokens(options, 128));
    OK(crossrank_options_set_truncation(options, CROSSRANK_TRUNCATION_DEFAULT));

    crossrank_cancel cancel = {0};
    OK(crossrank_cancel_new(&cancel));
    OK(crossrank_cancel_trigger(cancel));
    OK(crossrank_options_set_cancel(options, cancel));
    FAILS(CROSSRANK_ERR_CANCELLED, RERANK(model, QUERY, documents(), DOCUMENTS));
    FAILS(CROSSRANK_ERR_CANCELLED, crossrank_score(model, queries, documents(), 2, options, logits, scores, 2, results));
    crossrank_cancel no_cancel = {0};
    OK(crossrank_options_set_cancel(options, no_cancel));
    OK(crossrank_cancel_free(cancel));

    /* An executor that does not run its tasks is reported as an internal error. */
    crossrank_options host = load_options();
    crossrank_model on_host = {0};
    OK(crossrank_options_set_executor(host, 2, lazy, NULL));
    OK(crossrank_model_load(path, host, &on_host));
    FAILS(CROSSRANK_ERR_INTERNAL, RERANK(on_host, QUERY, documents(), DOCUMENTS));
    OK(crossrank_model_free(on_host));
    OK(crossrank_options_free(host));

    /* None of the failed calls wrote anything. */
    CHECK(found == 99 && memcmp(results, painted, sizeof results) == 0);
    CHECK(memcmp(logits, painted_logits, sizeof logits) == 0);
    CHECK(memcmp(scores, painted_scores, sizeof scores) == 0);

    /* Lossy conversion, and a time limit: statuses per document, not for the call. */
    OK(RERANK(model, QUERY, texts, 3));
    CHECK(found == 3);
    OK(crossrank_options_set_time_limit(options, 0));
    OK(RERANK(model, QUERY, documents(), DOCUMENTS));
    CHECK(found == DOCUMENTS && results[0].status == CROSSRANK_ERR_NOT_SCORED);
    seen[CROSSRANK_ERR_NOT_SCORED] = true;
    OK(crossrank_options_free(options));
    OK(crossrank_model_free(model));
    OK(crossrank_model_free(labels));
}

/* Weights that compute NaN: the pair has a status, and the call succeeds. */
static void not_finite(void) {
    char *copy = keep(weights.len);
    memcpy(copy, weights.data, weights.len);
    uint64_t header = 0;
    memcpy(&header, copy, sizeof header);
    /* The last bytes of the file belong to the last tensor, of the classifier. */
    for (size_t i = 1; i <= 4; i++) copy[weights.len - i] = (char)0xff;
    CHECK(memmem(copy, 8 + header, "classifier", strlen("classifier")) != NULL);
    crossrank_str poisoned = {copy, weights.len};
    crossrank_options options = load_options();
    crossrank_model model = {0};
    OK(crossrank_model_load_memory("nan", config, tokenizer, tokenizer_config, &poisoned, 1, options, &model));
    crossrank_ranked results[DOCUMENTS];
    size_t found = 0;
    OK(crossrank_rerank(model, QUERY, documents(), DOCUMENTS, CROSSRANK_DEFAULTS, results, DOCUMENTS, &found));
    CHECK(found == DOCUMENTS);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        CHECK(results[i].status == CROSSRANK_ERR_NON_FINITE && isnan(results[i].score) && isnan(results[i].logit));
    }
    seen[CROSSRANK_ERR_NON_FINITE] = true;
    OK(crossrank_options_free(options));
    OK(crossrank_model_free(model));
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    config = read_file(argv[1], "config.json"), tokenizer = read_file(argv[1], "tokenizer.json");
    tokenizer_config = read_file(argv[1], "tokenizer_config.json"), weights = read_file(argv[1], "model.safetensors");
    loading(argv[3]);
    options_with_wrong_values();
    calls(argv[1], argv[2]);
    not_finite();
    for (int32_t status = 1; status < 128; status++) {
        /* A program cannot make a driver fail. */
        if (status == CROSSRANK_ERR_GPU) continue;
        if (strcmp(crossrank_status_name(status), "unknown") != 0 && !seen[status]) {
            fprintf(stderr, "%s was not provoked\n", crossrank_status_name(status));
            exit(1);
        }
    }
    return 0;
}
