/* Valid arguments for every function. The programs that tests/capi/generated.rs writes use these names. */
#ifndef CALLS_H
#define CALLS_H

#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

/* Each program uses only some of the following. */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"

/* Everything that a call may write to. */
struct outputs {
    crossrank_model model;
    crossrank_options options;
    crossrank_cancel cancel;
    crossrank_info info;
    crossrank_usage usage;
    uint64_t weight_bytes, work_bytes;
    size_t done, total, length, found[2];
    char buffer[64];
    float logits[8];
    double scores[8];
    crossrank_ranked results[8], details[8];
};
static struct outputs out, painted;

static const char *path, *name = "tiny";
static crossrank_model model, spare_model;
static crossrank_options options, settings, spare_options;
static crossrank_cancel cancel, spare_cancel;
static crossrank_str query, texts[2], no_text = {NULL, 3}, no_texts[2] = {{NULL, 3}, {NULL, 3}};
static crossrank_str config, tokenizer, tokenizer_config, weights[1];
static crossrank_region config_region, tokenizer_region, tokenizer_config_region, weights_regions[1];
static crossrank_set sets[2], no_sets[2];
static char bytes[256];
static uint64_t offsets[3];
static crossrank_texts packed, no_bytes, no_offsets;
static size_t counts[2] = {1, 1};

static void progress(void *user, size_t done, size_t total, const crossrank_ranked *partial, size_t count) {
    (void)user, (void)done, (void)total, (void)partial, (void)count;
}

static void parallel(void *user, size_t count, void (*task)(void *context, size_t index), void *context) {
    (void)user;
    for (size_t i = 0; i < count; i++) task(context, i);
}

static void log_message(void *user, int32_t level, crossrank_str message) {
    (void)user, (void)level, (void)message;
}

static crossrank_region region(const char *folder, const char *file) {
    int fd = open(join(folder, file), O_RDONLY);
    CHECK(fd >= 0);
    off_t length = lseek(fd, 0, SEEK_END);
    CHECK(length > 0);
    crossrank_region result = {fd, 0, (uint64_t)length};
    return result;
}

static void set_up(const char *folder) {
    path = folder;
    options = load_options();
    /* The setters change this object, so that they do not affect other calls. */
    OK(crossrank_options_new(&settings));
    OK(crossrank_cancel_new(&cancel));
    OK(crossrank_model_load(path, options, &model));
    query = str("capital of France"), texts[0] = str(TEXTS[0]), texts[1] = str(TEXTS[1]);
    config = read_file(path, "config.json"), tokenizer = read_file(path, "tokenizer.json");
    tokenizer_config = read_file(path, "tokenizer_config.json"), weights[0] = read_file(path, "model.safetensors");
    config_region = region(path, "config.json"), tokenizer_region = region(path, "tokenizer.json");
    tokenizer_config_region = region(path, "tokenizer_config.json");
    weights_regions[0] = region(path, "model.safetensors");
    for (size_t i = 0; i < 2; i++) {
        CHECK(offsets[i] + texts[i].len <= sizeof bytes);
        memcpy(bytes + offsets[i], texts[i].data, texts[i].len);
        offsets[i + 1] = offsets[i] + texts[i].len;
    }
    packed = (crossrank_texts){bytes, (size_t)offsets[2], offsets, 2};
    no_bytes = packed, no_bytes.data = NULL;
    no_offsets = packed, no_offsets.offsets = NULL;
    for (size_t i = 0; i < 2; i++) {
        sets[i].query = query, sets[i].documents = texts, sets[i].count = 2;
        no_sets[i].query = query, no_sets[i].documents = NULL, no_sets[i].count = 2;
    }
}

/* Before a call: fills everything that it may write to with a pattern. */
static void paint(void) {
    memset(&out, 0xa5, sizeof out);
    painted = out;
}

/* After a call that failed: the pattern must be unchanged. */
static void untouched(const char *call) {
    if (memcmp(&out, &painted, sizeof out) != 0) {
        fprintf(stderr, "%s wrote to an output though it failed\n", call);
        exit(1);
    }
}

#endif
