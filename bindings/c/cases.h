/* The calls of bindings/cases.json as C and C++ see them. tests/bindings/table.rs writes the table, cases.inc. */
#ifndef CASES_H
#define CASES_H

#include <crossrank.h>

/* A fact with its value: every number in cases.json is exact in a double. */
struct number {
    const char *name;
    double value;
};

/* A setter with its value, a number or a text that ends with a NUL. */
struct option {
    const char *name;
    double value;
    crossrank_str text;
};

/* One of the CROSSRANK_TEXT_ values of a model. */
struct label {
    int32_t text;
    size_t index;
    crossrank_str value;
};

/* The contents of a file: of the one at `path`, or `text` where that is NULL. */
struct content {
    const char *path;
    crossrank_str text;
};

struct memory {
    struct content config, tokenizer, tokenizer_config;
    const struct content *weights;
    size_t weight_count;
};

struct expected {
    size_t index;
    int32_t status;
    double score;
    uint32_t tokens, query_cut, document_cut, window_start, window_end;
    /* One per label each, in `score`; else NULL. */
    const double *logits;
    size_t logit_count;
    const double *scores;
    size_t score_count;
};

struct call {
    const char *name, *function;
    /* The model is at `path`, or in `memory`; neither stands for the null handle. */
    const char *path;
    const struct memory *memory;
    const struct option *options;
    size_t option_count;
    bool cancelled;
    /* `score` has one set per pair. */
    const crossrank_set *sets;
    size_t set_count;
    /* The arguments of `text` and `status_name`. */
    int32_t code;
    size_t index;

    int32_t status;
    /* How many results each set has, and the results of all sets. */
    const size_t *found;
    const struct expected *results;
    size_t result_count;
    const struct number *facts;
    size_t fact_count;
    const struct label *labels;
    size_t label_count;
    /* What `text` and `status_name` give. */
    crossrank_str text;
};

#include "cases.inc"

#endif
