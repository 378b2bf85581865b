/* Uses every function of the interface once: smoke MODEL MODEL_WITH_3_LABELS SCRATCH */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static void rerank(crossrank_model model, crossrank_options options, crossrank_ranked *results) {
    size_t found = 0;
    OK(crossrank_rerank(model, QUERY, documents(), DOCUMENTS, options, results, DOCUMENTS, &found));
    CHECK(found == DOCUMENTS);
}

static void check_same(const crossrank_ranked *a, const crossrank_ranked *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        CHECK(a[i].index == b[i].index && a[i].tokens == b[i].tokens);
        CHECK(memcmp(&a[i].logit, &b[i].logit, sizeof a[i].logit) == 0);
        CHECK(memcmp(&a[i].score, &b[i].score, sizeof a[i].score) == 0);
    }
}

static void check_same_bits(const crossrank_ranked *a, const crossrank_ranked *b) {
    check_same(a, b, DOCUMENTS);
}

static void facts(crossrank_model model, const char *path) {
    crossrank_info info = {.size = sizeof info};
    OK(crossrank_model_info(model, &info));
    CHECK(info.size == sizeof info && info.backend == CROSSRANK_BACKEND_CPU && info.isa != CROSSRANK_ISA_AUTO);
    CHECK(info.layers == 2 && info.hidden == 64 && info.heads == 4 && info.labels == 1 && info.max_tokens == 128);
    CHECK(info.precision == CROSSRANK_PRECISION_F32 && info.reserved == 0);
    CHECK(info.vocabulary == 2500 && info.threads == 2 && info.weight_bytes > 0 && info.hash != 0 && info.load_ms > 0);

    /* A program of an older version has a smaller struct: the library does not write after its end. */
    crossrank_info older;
    memset(&older, 0x5c, sizeof older);
    older.size = offsetof(crossrank_info, layers);
    OK(crossrank_model_info(model, &older));
    CHECK(older.threads == 2 && older.layers == 0x5c5c5c5c && older.size == offsetof(crossrank_info, layers));

    size_t length = 0;
    EXPECT(CROSSRANK_ERR_BUFFER, crossrank_model_text(model, CROSSRANK_TEXT_NAME, 0, NULL, 0, &length));
    CHECK(length == strlen(path));
    char *name = malloc(length);
    CHECK(name != NULL);
    OK(crossrank_model_text(model, CROSSRANK_TEXT_NAME, 0, name, length, &length));
    CHECK(memcmp(name, path, length) == 0);
    free(name);
    char text[64];
    OK(crossrank_model_text(model, CROSSRANK_TEXT_ARCHITECTURE, 0, text, sizeof text, &length));
    CHECK(length == strlen("BertForSequenceClassification"));
    OK(crossrank_model_text(model, CROSSRANK_TEXT_ACTIVATION, 0, text, sizeof text, &length));
    CHECK(length == strlen("identity") && memcmp(text, "identity", length) == 0);
    OK(crossrank_model_text(model, CROSSRANK_TEXT_LABEL, 0, text, sizeof text, &length));
    CHECK(length == strlen("LABEL_0") && memcmp(text, "LABEL_0", length) == 0);

    crossrank_options options = load_options();
    uint64_t weights = 0, work = 0;
    OK(crossrank_model_plan(path, options, &weights, &work));
    CHECK(weights == info.weight_bytes && work > 0);
    OK(crossrank_options_set_memory_limit(options, weights + work));
    crossrank_model fits = {0};
    OK(crossrank_model_load(path, options, &fits));
    OK(crossrank_model_free(fits));
    OK(crossrank_options_free(options));
}

/* Texts in one buffer give the bits of texts in an array. */
static void packed(crossrank_model model, const crossrank_ranked *all) {
    static char bytes[4096], query_bytes[4096];
    uint64_t offsets[DOCUMENTS + 1] = {0}, query_offsets[DOCUMENTS + 1] = {0};
    for (size_t i = 0; i < DOCUMENTS; i++) {
        const crossrank_str document = documents()[i];
        CHECK(offsets[i] + document.len <= sizeof bytes && query_offsets[i] + QUERY.len <= sizeof query_bytes);
        memcpy(bytes + offsets[i], document.data, document.len);
        memcpy(query_bytes + query_offsets[i], QUERY.data, QUERY.len);
        offsets[i + 1] = offsets[i] + document.len;
        query_offsets[i + 1] = query_offsets[i] + QUERY.len;
    }
    const crossrank_texts texts = {bytes, (size_t)offsets[DOCUMENTS], offsets, DOCUMENTS};
    crossrank_ranked some[DOCUMENTS], details[DOCUMENTS];
    size_t found = 0, counts[3] = {2, 0, DOCUMENTS - 2}, each[3] = {99, 99, 99};
    OK(crossrank_rerank_texts(model, QUERY, texts, CROSSRANK_DEFAULTS, some, DOCUMENTS, &found));
    CHECK(found == DOCUMENTS);
    check_same_bits(some, all);
    OK(crossrank_rerank_texts(model, QUERY, texts, CROSSRANK_DEFAULTS, some, 3, &found));
    CHECK(found == 3 && some[2].index == all[2].index);
    const crossrank_texts none = {NULL, 0, NULL, 0};
    OK(crossrank_rerank_texts(model, QUERY, none, CROSSRANK_DEFAULTS, NULL, 0, &found));
    CHECK(found == 0);

    /* The first bytes need not be the first text's. */
    const crossrank_texts rest = {bytes, (size_t)offsets[DOCUMENTS], offsets + 2, DOCUMENTS - 2};
    OK(crossrank_rerank_texts(model, QUERY, rest, CROSSRANK_DEFAULTS, some, DOCUMENTS, &found));
    CHECK(found == DOCUMENTS - 2);
    for (size_t i = 0; i < found; i++) some[i].index += 2;

    const crossrank_texts three = {query_bytes, (size_t)query_offsets[3], query_offsets, 3};
    crossrank_ranked many[DOCUMENTS];
    OK(crossrank_rerank_many_texts(model, three, texts, counts, CROSSRANK_DEFAULTS, many, DOCUMENTS, each));
    CHECK(each[0] == 2 && each[1] == 0 && each[2] == DOCUMENTS - 2);
    for (size_t i = 2; i < DOCUMENTS; i++) {
        CHECK(many[i].index + 2 == some[i - 2].index && memcmp(&many[i].logit, &some[i - 2].logit, sizeof(float)) == 0);
    }

    const crossrank_texts queries = {query_bytes, (size_t)query_offsets[DOCUMENTS], query_offsets, DOCUMENTS};
    float logits[DOCUMENTS];
    double scores[DOCUMENTS];
    OK(crossrank_score_texts(model, queries, texts, CROSSRANK_DEFAULTS, logits, scores, DOCUMENTS, details));
    for (size_t i = 0; i < DOCUMENTS; i++) {
        CHECK(memcmp(&logits[all[i].index], &all[i].logit, sizeof(float)) == 0);
        CHECK(memcmp(&scores[all[i].index], &all[i].score, sizeof(double)) == 0 && details[i].index == i);
    }
}

static void ranking(crossrank_model model, const crossrank_ranked *all) {
    bool seen[DOCUMENTS] = {false};
    uint64_t tokens = 0;
    for (size_t i = 0; i < DOCUMENTS; i++) {
        CHECK(all[i].size == sizeof(crossrank_ranked) && (sizeof(void *) != 8 || sizeof(crossrank_ranked) == 64));
        CHECK(all[i].status == CROSSRANK_OK && all[i].index < DOCUMENTS && !seen[all[i].index]);
        CHECK(i == 0 || all[i].score <= all[i - 1].score);
        CHECK(isfinite(all[i].score) && all[i].tokens >= 3 && all[i].window_end == 0 && all[i].reserved == 0);
        seen[all[i].index] = true;
        tokens += all[i].tokens;
    }
    crossrank_usage usage = {.size = sizeof usage};
    OK(crossrank_last_usage(&usage));
    CHECK(usage.tokens == tokens && usage.tokens_cut == 0 && usage.backend == CROSSRANK_BACKEND_CPU);
    CHECK(usage.groups > 0 && usage.total_ms >= usage.compute_ms && usage.compute_ms > 0);

    /* The scores in input order equal those of the ranking. */
    crossrank_str queries[DOCUMENTS];
    for (size_t i = 0; i < DOCUMENTS; i++) queries[i] = QUERY;
    float logits[DOCUMENTS];
    double scores[DOCUMENTS];
    crossrank_ranked details[DOCUMENTS];
    OK(crossrank_score(model, queries, documents(), DOCUMENTS, CROSSRANK_DEFAULTS, logits, scores, DOCUMENTS, details));
    for (size_t i = 0; i < DOCUMENTS; i++) {
        CHECK(memcmp(&logits[all[i].index], &all[i].logit, sizeof(float)) == 0);
        CHECK(memcmp(&scores[all[i].index], &all[i].score, sizeof(double)) == 0);
        CHECK(details[i].index == i && memcmp(&details[i].logit, &logits[i], sizeof(float)) == 0);
    }
    /* Outputs that may be NULL are left out. */
    const float first = logits[0];
    memset(logits, 0, sizeof logits), memset(scores, 0, sizeof scores);
    OK(crossrank_score(model, queries, documents(), DOCUMENTS, CROSSRANK_DEFAULTS, logits, NULL, DOCUMENTS, NULL));
    OK(crossrank_score(model, queries, documents(), DOCUMENTS, CROSSRANK_DEFAULTS, NULL, scores, DOCUMENTS, NULL));
    CHECK(logits[0] == first && scores[0] == details[0].score);

    /* Fewer results: by capacity, by top_k, by threshold. */
    crossrank_ranked some[DOCUMENTS];
    size_t found = 0;
    OK(crossrank_rerank(model, QUERY, documents(), DOCUMENTS, CROSSRANK_DEFAULTS, some, 3, &found));
    CHECK(found == 3 && some[2].index == all[2].index);
    crossrank_options options = {0};
    OK(crossrank_options_new(&options));
    OK(crossrank_options_set_top_k(options, 2));
    OK(crossrank_rerank(model, QUERY, documents(), DOCUMENTS, options, some, DOCUMENTS, &found));
    CHECK(found == 2 && some[1].index == all[1].index);
    OK(crossrank_options_set_top_k(options, DOCUMENTS));
    OK(crossrank_options_set_threshold(options, all[4].score));
    OK(crossrank_rerank(model, QUERY, documents(), DOCUMENTS, options, some, DOCUMENTS, &found));
    CHECK(found == 5 && some[4].index == all[4].index);
    OK(crossrank_options_free(options));
    OK(crossrank_rerank(model, QUERY, NULL, 0, CROSSRANK_DEFAULTS, NULL, 0, &found));
    CHECK(found == 0);

    /* Two sets in one call. */
    crossrank_set sets[3] = {{QUERY, documents(), DOCUMENTS}, {CROSSRANK_STR("bananas"), NULL, 0}, {QUERY, documents(), 4}};
    crossrank_ranked many[DOCUMENTS + 5];
    memset(many, 0xa5, sizeof many);
    size_t counts[3] = {99, 99, 99};
    OK(crossrank_rerank_many(model, sets, 3, CROSSRANK_DEFAULTS, many, DOCUMENTS + 5, counts));
    CHECK(counts[0] == DOCUMENTS && counts[1] == 0 && counts[2] == 4);
    check_same_bits(many, all);
    packed(model, all);
    OK(crossrank_rerank(model, QUERY, documents(), 4, CROSSRANK_DEFAULTS, some, 4, &found));
    check_same(many + DOCUMENTS, some, 4);
    CHECK(many[DOCUMENTS + 4].size == 0xa5a5a5a5);
}

/* The same files from memory, and from inside a larger file. */
static void other_loads(const char *path, const char *scratch, const crossrank_ranked *all) {
    static const char *const NAMES[4] = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"};
    crossrank_str files[4];
    crossrank_region regions[4];
    int fd = open(join(scratch, "archive"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "junk", 4) == 4);
    uint64_t offset = 4;
    for (size_t i = 0; i < 4; i++) {
        files[i] = read_file(path, NAMES[i]);
        CHECK(write(fd, files[i].data, files[i].len) == (ssize_t)files[i].len && write(fd, "junk", 4) == 4);
        regions[i].fd = fd, regions[i].offset = offset, regions[i].length = files[i].len;
        offset += files[i].len + 4;
    }
    crossrank_options options = load_options();
    crossrank_model memory = {0}, archive = {0};
    OK(crossrank_model_load_memory("memory", files[0], files[1], files[2], &files[3], 1, options, &memory));
    OK(crossrank_model_load_fd("archive", regions[0], regions[1], regions[2], &regions[3], 1, options, &archive));
    CHECK(close(fd) == 0);
    /* The library must not use the files' memory after the load. */
    for (size_t i = 0; i < 4; i++) memset((void *)(uintptr_t)files[i].data, 0xa5, files[i].len);

    crossrank_info info[2] = {{.size = sizeof(crossrank_info)}, {.size = sizeof(crossrank_info)}};
    OK(crossrank_model_info(memory, &info[0]));
    OK(crossrank_model_info(archive, &info[1]));
    CHECK(info[0].hash == info[1].hash);
    crossrank_ranked results[DOCUMENTS];
    rerank(memory, CROSSRANK_DEFAULTS, results);
    check_same_bits(results, all);
    rerank(archive, CROSSRANK_DEFAULTS, results);
    check_same_bits(results, all);
    OK(crossrank_model_free(memory));
    OK(crossrank_model_free(archive));
    OK(crossrank_options_free(options));

    crossrank_model bundled = {0};
    crossrank_status status = crossrank_model_load_bundled(CROSSRANK_DEFAULTS, &bundled);
    CHECK(status == CROSSRANK_OK || status == CROSSRANK_ERR_UNSUPPORTED);
    if (status == CROSSRANK_OK) OK(crossrank_model_free(bundled));
}

struct progress {
    size_t calls, done, total, pairs;
    bool seen[DOCUMENTS];
};

static void on_progress(void *user, size_t done, size_t total, const crossrank_ranked *partial, size_t count) {
    struct progress *progress = user;
    CHECK(done >= progress->done && done <= total);
    progress->calls++, progress->done = done, progress->total = total, progress->pairs += count;
    for (size_t i = 0; i < count; i++) {
        CHECK(partial[i].index < DOCUMENTS && !progress->seen[partial[i].index]);
        progress->seen[partial[i].index] = true;
    }
}

static void watching(crossrank_model model, const crossrank_ranked *all) {
    struct progress progress;
    memset(&progress, 0, sizeof progress);
    crossrank_cancel cancel = {0};
    crossrank_options options = {0};
    crossrank_ranked results[DOCUMENTS];
    OK(crossrank_options_new(&options));
    OK(crossrank_cancel_new(&cancel));
    OK(crossrank_options_set_progress(options, on_progress, &progress));
    OK(crossrank_options_set_cancel(options, cancel));
    rerank(model, options, results);
    check_same_bits(results, all);
    CHECK(progress.calls > 0 && progress.done == DOCUMENTS && progress.total == DOCUMENTS && progress.pairs == DOCUMENTS);
    size_t done = 0, total = 0;
    OK(crossrank_cancel_progress(cancel, &done, &total));
    CHECK(done == DOCUMENTS && total == DOCUMENTS);
    /* Removed: the function is not called. */
    OK(crossrank_options_set_progress(options, NULL, NULL));
    crossrank_cancel none = {0};
    OK(crossrank_options_set_cancel(options, none));
    size_t calls = progress.calls;
    rerank(model, options, results);
    CHECK(progress.calls == calls);
    OK(crossrank_cancel_free(cancel));
    OK(crossrank_options_free(options));
}

static void on_log(void *user, int32_t level, crossrank_str message) {
    CHECK(level == CROSSRANK_LOG_INFO || level == CROSSRANK_LOG_WARNING);
    CHECK(message.len > 0);
    ++*(size_t *)user;
}

static void logging(const char *path) {
    size_t messages = 0;
    OK(crossrank_set_log(on_log, &messages));
    OK(crossrank_model_free(load(path)));
    CHECK(messages > 0);
    OK(crossrank_set_log(NULL, NULL));
    size_t before = messages;
    OK(crossrank_model_free(load(path)));
    CHECK(messages == before);
}

/* A program's own threads. */
struct job {
    void (*task)(void *context, size_t index);
    void *context;
    size_t first, step, count;
};

static void *work(void *user) {
    struct job *job = user;
    for (size_t i = job->first; i < job->count; i += job->step) job->task(job->context, i);
    return NULL;
}

enum { THREADS = 3 };
static size_t tasks_run;

static void on_threads(void *user, size_t count, void (*task)(void *context, size_t index), void *context) {
    CHECK(user == &tasks_run);
    tasks_run += count;
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        struct job job = {task, context, i, THREADS, count};
        jobs[i] = job;
        CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void backwards_on_one_thread(void *user, size_t count, void (*task)(void *context, size_t index), void *context) {
    CHECK(user == NULL);
    while (count-- > 0) task(context, count);
}

static void executors(const char *path, const crossrank_ranked *all) {
    crossrank_ranked results[DOCUMENTS];
    crossrank_options options = load_options();
    crossrank_model model = {0};
    OK(crossrank_options_set_executor(options, THREADS, on_threads, &tasks_run));
    OK(crossrank_model_load(path, options, &model));
    crossrank_info info = {.size = sizeof info};
    OK(crossrank_model_info(model, &info));
    CHECK(info.threads == THREADS);
    rerank(model, CROSSRANK_DEFAULTS, results);
    check_same_bits(results, all);
    CHECK(tasks_run > 0);
    OK(crossrank_model_free(model));

    OK(crossrank_options_set_executor(options, 1, backwards_on_one_thread, NULL));
    OK(crossrank_model_load(path, options, &model));
    rerank(model, CROSSRANK_DEFAULTS, results);
    check_same_bits(results, all);
    OK(crossrank_model_free(model));

    size_t before = tasks_run;
    OK(crossrank_options_set_executor(options, 0, NULL, NULL));
    OK(crossrank_model_load(path, options, &model));
    rerank(model, CROSSRANK_DEFAULTS, results);
    check_same_bits(results, all);
    CHECK(tasks_run == before);
    OK(crossrank_model_free(model));
    OK(crossrank_options_free(options));
}

/* The reference backend and plain code agree up to rounding. */
static void other_backends(const char *path, const crossrank_ranked *all) {
    for (int i = 0; i < 2; i++) {
        crossrank_options options = load_options();
        if (i == 0) OK(crossrank_options_set_backend(options, CROSSRANK_BACKEND_REFERENCE));
        else OK(crossrank_options_set_isa(options, CROSSRANK_ISA_SCALAR));
        crossrank_model model = {0};
        OK(crossrank_model_load(path, options, &model));
        crossrank_ranked results[DOCUMENTS];
        rerank(model, CROSSRANK_DEFAULTS, results);
        crossrank_usage usage = {.size = sizeof usage};
        OK(crossrank_last_usage(&usage));
        CHECK(usage.backend == (i == 0 ? CROSSRANK_BACKEND_REFERENCE : CROSSRANK_BACKEND_CPU));
        CHECK(usage.isa == (i == 0 ? CROSSRANK_ISA_AUTO : CROSSRANK_ISA_SCALAR));
        for (size_t j = 0; j < DOCUMENTS; j++) {
            for (size_t k = 0; k < DOCUMENTS; k++) {
                if (results[j].index == all[k].index) CHECK(fabsf(results[j].logit - all[k].logit) < 1e-4F);
            }
        }
        OK(crossrank_model_free(model));
        OK(crossrank_options_free(options));
    }
}

/* Weights of fewer bits take fewer bytes and give the same best document, with other logits. */
static void precisions(const char *path, const crossrank_ranked *all) {
    const int32_t values[] = {CROSSRANK_PRECISION_F32, CROSSRANK_PRECISION_F16_WEIGHTS, CROSSRANK_PRECISION_INT8};
    const float bounds[] = {0, 0.01F, 0.2F};
    uint64_t bytes = UINT64_MAX;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        crossrank_options options = load_options();
        OK(crossrank_options_set_precision(options, values[i]));
        crossrank_model model = {0};
        OK(crossrank_model_load(path, options, &model));
        crossrank_info info = {.size = sizeof info};
        OK(crossrank_model_info(model, &info));
        CHECK(info.precision == values[i] && info.weight_bytes < bytes);
        bytes = info.weight_bytes;
        crossrank_ranked results[DOCUMENTS];
        rerank(model, CROSSRANK_DEFAULTS, results);
        CHECK(results[0].index == all[0].index);
        bool same = true;
        for (size_t j = 0; j < DOCUMENTS; j++) {
            for (size_t k = 0; k < DOCUMENTS; k++) {
                if (results[j].index != all[k].index) continue;
                CHECK(fabsf(results[j].logit - all[k].logit) <= bounds[i]);
                same = same && memcmp(&results[j].logit, &all[k].logit, sizeof all[k].logit) == 0;
            }
        }
        CHECK(same == (values[i] == CROSSRANK_PRECISION_F32));
        OK(crossrank_model_free(model));
        OK(crossrank_options_free(options));
    }
}

/* A model with a prompt, which goes before the query: the fixture with the file that sentence-transformers writes. */
static void prompts(const char *path, const char *scratch) {
    static const char *const LINKED[4] = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"};
    const char *folder = join(scratch, "prompts");
    CHECK(mkdir(folder, 0700) == 0 || access(folder, F_OK) == 0);
    for (size_t i = 0; i < 4; i++) {
        unlink(join(folder, LINKED[i]));
        CHECK(symlink(join(path, LINKED[i]), join(folder, LINKED[i])) == 0);
    }
    FILE *file = fopen(join(folder, "config_sentence_transformers.json"), "w");
    CHECK(file != NULL);
    fputs("{\"model_type\": \"CrossEncoder\", \"default_prompt_name\": \"web\", "
          "\"prompts\": {\"web\": \"Given a web query: \", \"docs\": \"Search: \"}}", file);
    CHECK(fclose(file) == 0);
    crossrank_model model = load(folder), plain = load(path);

    char text[64];
    size_t length = 0;
    OK(crossrank_model_text(model, CROSSRANK_TEXT_PROMPT_NAME, 1, text, sizeof text, &length));
    CHECK(length == 3 && memcmp(text, "web", 3) == 0);
    EXPECT(CROSSRANK_ERR_ARGUMENT, crossrank_model_text(model, CROSSRANK_TEXT_PROMPT_NAME, 2, text, sizeof text, &length));
    OK(crossrank_model_text(model, CROSSRANK_TEXT_DEFAULT_PROMPT_NAME, 0, text, sizeof text, &length));
    CHECK(length == 3 && memcmp(text, "web", 3) == 0);
    OK(crossrank_model_text(plain, CROSSRANK_TEXT_DEFAULT_PROMPT_NAME, 0, text, sizeof text, &length));
    CHECK(length == 0);

    /* What the default, a name and a text read, and the same as queries of a model without prompts. */
    crossrank_str documents[1] = {CROSSRANK_STR("This task localises the desktop in Esperanto.")};
    crossrank_str query = CROSSRANK_STR("Esperanto desktop");
    crossrank_str prompted[4] = {CROSSRANK_STR("Given a web query: Esperanto desktop"), CROSSRANK_STR("Search: Esperanto desktop"),
                                 CROSSRANK_STR("Find Esperanto desktop"), CROSSRANK_STR("Esperanto desktop")};
    crossrank_options options = {0};
    OK(crossrank_options_new(&options));
    for (int i = 0; i < 6; i++) {
        if (i == 1) OK(crossrank_options_set_prompt_name(options, "docs"));
        if (i == 2) OK(crossrank_options_set_prompt(options, CROSSRANK_STR("Find ")));
        if (i == 3) OK(crossrank_options_set_prompt(options, CROSSRANK_STR("")));
        /* Neither a text nor a name: the default again. */
        if (i == 4) {
            OK(crossrank_options_free(options));
            OK(crossrank_options_new(&options));
            OK(crossrank_options_set_prompt_name(options, "docs"));
            OK(crossrank_options_set_prompt_name(options, NULL));
        }
        crossrank_str wanted = prompted[i < 4 ? i : 0];
        crossrank_ranked one, other;
        size_t found = 0;
        OK(crossrank_rerank(model, query, documents, 1, options, &one, 1, &found));
        OK(crossrank_rerank(plain, wanted, documents, 1, CROSSRANK_DEFAULTS, &other, 1, &found));
        check_same(&one, &other, 1);
        /* The float64 logit of sentence-transformers 6.2.0. */
        CHECK(i != 0 || fabs((double)one.logit - 0.827203) <= 1e-5);
    }
    OK(crossrank_options_set_prompt_name(options, "nonsense"));
    crossrank_ranked none;
    size_t found = 0;
    EXPECT(CROSSRANK_ERR_ARGUMENT, crossrank_rerank(model, query, documents, 1, options, &none, 1, &found));
    CHECK(strstr(crossrank_last_message(), "docs, web") != NULL);
    OK(crossrank_options_free(options));
    OK(crossrank_model_free(model));
    OK(crossrank_model_free(plain));
}

/* The copy of a message: whole, cut, and only its length. */
static void messages(void) {
    char buffer[256], part[5];
    EXPECT(CROSSRANK_ERR_HANDLE, crossrank_options_set_top_k(CROSSRANK_DEFAULTS, 1));
    const char *message = crossrank_last_message();
    const size_t length = strlen(message);
    CHECK(length > sizeof part && length < sizeof buffer);
    CHECK(crossrank_last_message_copy(NULL, 0) == length && crossrank_last_message_copy(NULL, 9) == length);
    CHECK(crossrank_last_message_copy(buffer, sizeof buffer) == length && strcmp(buffer, message) == 0);
    CHECK(crossrank_last_message_copy(buffer, length + 1) == length && strcmp(buffer, message) == 0);
    CHECK(crossrank_last_message_copy(part, sizeof part) == length && strlen(part) == sizeof part - 1);
    CHECK(memcmp(part, message, sizeof part - 1) == 0);
    buffer[0] = 'x';
    CHECK(crossrank_last_message_copy(buffer, 0) == length && buffer[0] == 'x');
    /* It stays, and is valid after the next failure. */
    CHECK(crossrank_last_message_copy(buffer, sizeof buffer) == length);
    EXPECT(CROSSRANK_ERR_NULL, crossrank_options_new(NULL));
    CHECK(strncmp(buffer, crossrank_last_message(), sizeof buffer) != 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    char nothing[2] = "x";
    CHECK(crossrank_last_message_copy(nothing, sizeof nothing) == 0 && nothing[0] == 0);
    CHECK(crossrank_abi() == CROSSRANK_ABI && strlen(crossrank_version()) >= 5 && *crossrank_last_message() == 0);
    crossrank_usage usage = {.size = sizeof usage, .tokens = 9};
    OK(crossrank_last_usage(&usage));
    CHECK(usage.tokens == 0);

    crossrank_model model = load(argv[1]);
    facts(model, argv[1]);
    crossrank_ranked all[DOCUMENTS];
    rerank(model, CROSSRANK_DEFAULTS, all);
    ranking(model, all);
    crossrank_ranked again[DOCUMENTS];
    OK(crossrank_model_trim(model));
    OK(crossrank_model_warmup(model));
    OK(crossrank_model_suspend(model));
    OK(crossrank_model_resume(model));
    rerank(model, CROSSRANK_DEFAULTS, again);
    check_same_bits(again, all);
    watching(model, all);
    OK(crossrank_model_free(model));

    other_loads(argv[1], argv[3], all);
    logging(argv[1]);
    executors(argv[1], all);
    other_backends(argv[1], all);
    precisions(argv[1], all);
    prompts(argv[1], argv[3]);
    messages();

    /* Several labels: scores, one per label and pair. */
    crossrank_model labels = load(argv[2]);
    crossrank_str queries[2] = {QUERY, QUERY};
    float logits[6];
    double scores[6];
    OK(crossrank_score(labels, queries, documents(), 2, CROSSRANK_DEFAULTS, logits, scores, 6, NULL));
    /* The activation function of this model is the identity. */
    for (size_t i = 0; i < 6; i++) CHECK(isfinite(logits[i]) && scores[i] == (double)logits[i]);
    crossrank_options by_label = {0};
    OK(crossrank_options_new(&by_label));
    for (size_t label = 0; label < 3; label++) {
        OK(crossrank_options_set_label(by_label, label));
        crossrank_ranked one;
        size_t found = 0;
        OK(crossrank_rerank(labels, QUERY, documents(), 1, by_label, &one, 1, &found));
        CHECK(found == 1 && one.logit == logits[label]);
    }
    OK(crossrank_options_free(by_label));
    char name[64];
    size_t length = 0;
    OK(crossrank_model_text(labels, CROSSRANK_TEXT_LABEL, 2, name, sizeof name, &length));
    CHECK(length > 0);
    OK(crossrank_model_free(labels));
    return 0;
}
