/* Makes the calls of bindings/cases.json through the C header. Run it in the repository's root. */
#include "cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints what differs, and gives false. */
static bool differs(const char *what, double expected, double found) {
    printf("  %s: expected %.9g, found %.9g\n", what, expected, found);
    return false;
}

static bool same(const char *what, double expected, double found) {
    return expected == found || differs(what, expected, found);
}

static bool close_to(const char *what, double expected, double found) {
    return fabs(expected - found) <= TOLERANCE || differs(what, expected, found);
}

static bool same_text(const char *what, crossrank_str expected, const char *found, size_t length) {
    if (expected.len == length && memcmp(expected.data, found, length) == 0) return true;
    printf("  %s: expected %.*s, found %.*s\n", what, (int)expected.len, expected.data, (int)length, found);
    return false;
}

static void *room(size_t count, size_t size) {
    void *memory = calloc(count + 1, size);
    if (memory == NULL) abort();
    return memory;
}

static crossrank_status set_option(crossrank_options o, const struct option *option) {
    const double value = option->value;
    const struct {
        const char *name;
        crossrank_status (*set)(crossrank_options, int32_t);
    } enums[] = {
        {"backend", crossrank_options_set_backend},
        {"isa", crossrank_options_set_isa},
        {"precision", crossrank_options_set_precision},
        {"truncation", crossrank_options_set_truncation},
    };
    const struct {
        const char *name;
        crossrank_status (*set)(crossrank_options, size_t);
    } sizes[] = {
        {"threads", crossrank_options_set_threads},
        {"max_tokens", crossrank_options_set_max_tokens},
        {"top_k", crossrank_options_set_top_k},
        {"windows", crossrank_options_set_windows},
        {"window_overlap", crossrank_options_set_window_overlap},
    };
    for (size_t i = 0; i < sizeof enums / sizeof *enums; i++) {
        if (strcmp(option->name, enums[i].name) == 0) return enums[i].set(o, (int32_t)value);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (strcmp(option->name, sizes[i].name) == 0) return sizes[i].set(o, (size_t)value);
    }
    if (strcmp(option->name, "prompt") == 0) return crossrank_options_set_prompt(o, option->text);
    if (strcmp(option->name, "prompt_name") == 0) return crossrank_options_set_prompt_name(o, option->text.data);
    if (strcmp(option->name, "memory_limit") == 0) return crossrank_options_set_memory_limit(o, (uint64_t)value);
    if (strcmp(option->name, "time_limit") == 0) return crossrank_options_set_time_limit(o, (uint64_t)value);
    if (strcmp(option->name, "threshold") == 0) return crossrank_options_set_threshold(o, value);
    if (strcmp(option->name, "strict_utf8") == 0) return crossrank_options_set_strict_utf8(o, value != 0);
    printf("  no option %s\n", option->name);
    return CROSSRANK_ERR_INTERNAL;
}

/* The contents of a file; `*owned` is to be freed. */
static crossrank_str content(const struct content *file, char **owned) {
    *owned = NULL;
    if (file->path == NULL) return file->text;
    FILE *stream = fopen(file->path, "rb");
    if (stream == NULL || fseek(stream, 0, SEEK_END) != 0) abort();
    const long length = ftell(stream);
    if (length < 0) abort();
    rewind(stream);
    *owned = room((size_t)length, 1);
    if (fread(*owned, 1, (size_t)length, stream) != (size_t)length) abort();
    fclose(stream);
    const crossrank_str text = {*owned, (size_t)length};
    return text;
}

static crossrank_status load_memory(const struct memory *m, crossrank_options options, crossrank_model *model) {
    char **owned = room(3 + m->weight_count, sizeof *owned);
    crossrank_str *weights = room(m->weight_count, sizeof *weights);
    const crossrank_str config = content(&m->config, &owned[0]);
    const crossrank_str tokenizer = content(&m->tokenizer, &owned[1]);
    const crossrank_str extra = content(&m->tokenizer_config, &owned[2]);
    for (size_t i = 0; i < m->weight_count; i++) weights[i] = content(&m->weights[i], &owned[3 + i]);
    const crossrank_status status =
        crossrank_model_load_memory("memory", config, tokenizer, extra, weights, m->weight_count, options, model);
    for (size_t i = 0; i < 3 + m->weight_count; i++) free(owned[i]);
    free(owned);
    free(weights);
    return status;
}

/* The fact of a name, among what a call has filled. */
static double fact(const char *name, const crossrank_info *info, const crossrank_usage *usage, uint64_t weight_bytes) {
    if (strcmp(name, "layers") == 0) return info->layers;
    if (strcmp(name, "hidden") == 0) return info->hidden;
    if (strcmp(name, "heads") == 0) return info->heads;
    if (strcmp(name, "labels") == 0) return info->labels;
    if (strcmp(name, "max_tokens") == 0) return info->max_tokens;
    if (strcmp(name, "vocabulary") == 0) return info->vocabulary;
    if (strcmp(name, "threads") == 0) return info->threads;
    if (strcmp(name, "backend") == 0) return info->backend;
    if (strcmp(name, "precision") == 0) return info->precision;
    if (strcmp(name, "tokens") == 0) return (double)usage->tokens;
    if (strcmp(name, "tokens_cut") == 0) return (double)usage->tokens_cut;
    if (strcmp(name, "weight_bytes") == 0) return (double)weight_bytes;
    printf("  no fact %s\n", name);
    return NAN;
}

static bool same_result(const struct expected *e, const crossrank_ranked *r, const float *logits,
                        const double *scores) {
    bool ok = same("index", (double)e->index, (double)r->index) && same("status", e->status, r->status) &&
              same("tokens", e->tokens, r->tokens) && same("query_cut", e->query_cut, r->query_cut) &&
              same("document_cut", e->document_cut, r->document_cut) &&
              same("window", e->window_start, (double)r->window_start) &&
              same("window", e->window_end, (double)r->window_end);
    if (e->status != CROSSRANK_OK) return ok && (isnan(r->score) || differs("score", NAN, r->score));
    for (size_t i = 0; i < e->logit_count; i++) ok = ok && close_to("logit", e->logits[i], logits[i]);
    for (size_t i = 0; i < e->score_count; i++) ok = ok && close_to("score", e->scores[i], scores[i]);
    return ok && close_to("score", e->score, r->score);
}

/* What a call gives, in the order of the header's outputs. */
struct outputs {
    crossrank_ranked *results;
    size_t *found;
    float *logits;
    double *scores;
    size_t labels;
    uint64_t weight_bytes;
    char text[100];
    size_t text_length;
};

static crossrank_status make(const struct call *c, crossrank_model model, crossrank_options options,
                             struct outputs *out) {
    size_t documents = 0;
    for (size_t i = 0; i < c->set_count; i++) documents += c->sets[i].count;
    out->results = room(documents, sizeof *out->results);
    out->found = room(c->set_count, sizeof *out->found);
    if (strcmp(c->function, "rerank") == 0) {
        const crossrank_set *set = &c->sets[0];
        return crossrank_rerank(model, set->query, set->documents, set->count, options, out->results, documents,
                                out->found);
    }
    if (strcmp(c->function, "rerank_many") == 0) {
        return crossrank_rerank_many(model, c->sets, c->set_count, options, out->results, documents, out->found);
    }
    crossrank_info info = {sizeof info, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    if (strcmp(c->function, "score") == 0) {
        const crossrank_status status = crossrank_model_info(model, &info);
        if (status != CROSSRANK_OK) return status;
        out->labels = info.labels;
        out->logits = room(documents * info.labels, sizeof *out->logits);
        out->scores = room(documents * info.labels, sizeof *out->scores);
        crossrank_str *queries = room(documents, sizeof *queries), *texts = room(documents, sizeof *texts);
        for (size_t i = 0; i < documents; i++) {
            queries[i] = c->sets[i].query;
            texts[i] = c->sets[i].documents[0];
            out->found[i] = 1;
        }
        const crossrank_status scored = crossrank_score(model, queries, texts, documents, options, out->logits,
                                                        out->scores, documents * info.labels, out->results);
        free(queries);
        free(texts);
        return scored;
    }
    if (strcmp(c->function, "text") == 0) {
        return crossrank_model_text(model, c->code, c->index, out->text, sizeof out->text, &out->text_length);
    }
    if (strcmp(c->function, "trim") == 0) return crossrank_model_trim(model);
    return crossrank_model_info(model, &info);
}

static bool as_expected(const struct call *c, crossrank_model model, const struct outputs *out) {
    bool ok = true;
    size_t result = 0;
    for (size_t set = 0; set < c->set_count; set++) {
        ok = ok && same("results", (double)c->found[set], (double)out->found[set]);
        for (size_t i = 0; ok && i < c->found[set]; i++, result++) {
            const float *logits = out->logits == NULL ? NULL : out->logits + result * out->labels;
            const double *scores = out->scores == NULL ? NULL : out->scores + result * out->labels;
            ok = same_result(&c->results[result], &out->results[result], logits, scores);
        }
    }
    ok = ok && same("results", (double)c->result_count, (double)result);
    crossrank_info info = {sizeof info, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    crossrank_usage usage = {sizeof usage, 0, 0, 0, 0, 0, 0, 0, 0};
    if (model.id != 0) crossrank_model_info(model, &info);
    crossrank_last_usage(&usage);
    for (size_t i = 0; i < c->fact_count; i++) {
        const char *name = c->facts[i].name;
        ok = same(name, c->facts[i].value, fact(name, &info, &usage, out->weight_bytes)) && ok;
    }
    for (size_t i = 0; i < c->label_count; i++) {
        char text[100];
        size_t length = 0;
        crossrank_model_text(model, c->labels[i].text, c->labels[i].index, text, sizeof text, &length);
        ok = same_text("text", c->labels[i].value, text, length) && ok;
    }
    return same_text("text", c->text, out->text, out->text_length) && ok;
}

static bool passes(const struct call *c) {
    struct outputs out = {NULL, NULL, NULL, NULL, 0, 0, {0}, 0};
    if (strcmp(c->function, "status_name") == 0) {
        const char *name = crossrank_status_name(c->code);
        return same_text("name", c->text, name, strlen(name));
    }
    crossrank_options options = {0};
    crossrank_cancel cancel = {0};
    crossrank_model model = {0};
    crossrank_status status = crossrank_options_new(&options);
    for (size_t i = 0; status == CROSSRANK_OK && i < c->option_count; i++) status = set_option(options, &c->options[i]);
    if (c->cancelled) {
        crossrank_cancel_new(&cancel);
        crossrank_cancel_trigger(cancel);
        crossrank_options_set_cancel(options, cancel);
    }
    if (status == CROSSRANK_OK && strcmp(c->function, "plan") == 0) {
        uint64_t work_bytes = 0;
        status = crossrank_model_plan(c->path, options, &out.weight_bytes, &work_bytes);
    } else if (status == CROSSRANK_OK) {
        if (c->path != NULL) status = crossrank_model_load(c->path, options, &model);
        if (c->memory != NULL) status = load_memory(c->memory, options, &model);
        if (status == CROSSRANK_OK) status = make(c, model, options, &out);
    }
    bool ok = same("status", c->status, status);
    if (ok && status != CROSSRANK_OK && crossrank_last_message()[0] == '\0') {
        puts("  no message");
        ok = false;
    }
    if (ok && status == CROSSRANK_OK) ok = as_expected(c, model, &out);
    free(out.results);
    free(out.found);
    free(out.logits);
    free(out.scores);
    if (model.id != 0) crossrank_model_free(model);
    if (cancel.id != 0) crossrank_cancel_free(cancel);
    crossrank_options_free(options);
    return ok;
}

int main(void) {
    const size_t count = sizeof calls / sizeof calls[0];
    size_t passed = 0;
    for (size_t i = 0; i < count; i++) {
        if (passes(&calls[i])) {
            passed++;
        } else {
            printf("FAILED %s\n", calls[i].name);
        }
    }
    printf("%zu passed, %zu failed\n", passed, count - passed);
    return passed == count ? 0 : 1;
}
