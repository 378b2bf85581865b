/* Shared by the C programs: checks that report place and reason, and files. */
#ifndef CHECK_H
#define CHECK_H

#include <crossrank.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) check(condition, #condition, __FILE__, __LINE__)
#define EXPECT(status, call) expect(status, call, #call, __FILE__, __LINE__)
#define OK(call) EXPECT(CROSSRANK_OK, call)

static inline void check(bool holds, const char *text, const char *file, int line) {
    if (!holds) {
        fprintf(stderr, "%s:%d: %s\n    last message: %s\n", file, line, text, crossrank_last_message());
        exit(1);
    }
}

static inline void expect(crossrank_status wanted, crossrank_status got, const char *text, const char *file, int line) {
    if (wanted != got) {
        fprintf(stderr, "%s:%d: %s, not %s, from %s\n", file, line, crossrank_status_name(got),
                crossrank_status_name(wanted), text);
        check(false, "the status above", file, line);
    }
}

static inline crossrank_str str(const char *text) {
    crossrank_str result = {text, strlen(text)};
    return result;
}

/* Memory that lives as long as the program. A list points to it, so that leak checkers do not report it. */
static inline char *keep(size_t size) {
    static void **kept;
    void **block = malloc(2 * sizeof *block + size);
    CHECK(block != NULL);
    *block = kept;
    kept = block;
    return (char *)(block + 2);
}

/* The path `folder`/`name`. */
static inline const char *join(const char *folder, const char *name) {
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = keep(size);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

/* The bytes of a file. */
static inline crossrank_str read_file(const char *folder, const char *name) {
    FILE *file = fopen(join(folder, name), "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    CHECK(size > 0 && fseek(file, 0, SEEK_SET) == 0);
    char *bytes = keep((size_t)size);
    CHECK(fread(bytes, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    crossrank_str result = {bytes, (size_t)size};
    return result;
}

/* Options for loading. CROSSRANK_TEST_ISA limits the instruction set, for tools that do not support the newest. */
static inline crossrank_options load_options(void) {
    crossrank_options options = {0};
    OK(crossrank_options_new(&options));
    const char *isa = getenv("CROSSRANK_TEST_ISA");
    if (isa != NULL) OK(crossrank_options_set_isa(options, atoi(isa)));
    OK(crossrank_options_set_threads(options, 2));
    return options;
}

static inline crossrank_model load(const char *path) {
    crossrank_options options = load_options();
    crossrank_model model = {0};
    OK(crossrank_model_load(path, options, &model));
    OK(crossrank_options_free(options));
    return model;
}

/* Documents to rank. */
enum { DOCUMENTS = 12 };
static const char *const TEXTS[DOCUMENTS] = {
    "Paris is the capital of France.",
    "Bananas are yellow.",
    "",
    "The capital of a country is where its government sits.",
    "France is a country in Europe, and Paris, Lyon and Marseille are its largest cities by population.",
    "A cross-encoder reads the query and the document together.",
    "Rivers run to the sea.",
    "London, Paris, Rome, Madrid, Berlin, Vienna and Prague are capitals.",
    "capital capital capital",
    "The price of copper rose.",
    "Caf\xc3\xa9 cr\xc3\xa8me",
    "One more document, so that there are twelve of them.",
};
#define QUERY CROSSRANK_STR("capital of France")

static inline const crossrank_str *documents(void) {
    static crossrank_str all[DOCUMENTS];
    for (size_t i = 0; i < DOCUMENTS; i++) all[i] = str(TEXTS[i]);
    return all;
}

#endif
