/* A model on a GPU, which may be a software adapter, ranks as the CPU does, and computes on the CPU while it is suspended. */
#include "check.h"

#include <math.h>

static int32_t backend_of(crossrank_model model, crossrank_options options, crossrank_ranked *results) {
    size_t found = 0;
    OK(crossrank_rerank(model, QUERY, documents(), DOCUMENTS, options, results, DOCUMENTS, &found));
    CHECK(found == DOCUMENTS);
    crossrank_usage usage = {.size = sizeof usage};
    OK(crossrank_last_usage(&usage));
    return usage.backend;
}

static void check_close(const crossrank_ranked *a, const crossrank_ranked *b, float bound) {
    for (size_t i = 0; i < DOCUMENTS; i++) {
        CHECK(a[i].index == b[i].index && fabsf(a[i].logit - b[i].logit) <= bound);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    crossrank_options options = load_options();
    OK(crossrank_options_set_backend(options, CROSSRANK_BACKEND_GPU));
    OK(crossrank_options_set_gpu_cache(options, argv[3]));
    crossrank_model model = {0};
    /* A software adapter must be allowed, else it is refused with a hint. */
    crossrank_status status = crossrank_model_load(argv[1], options, &model);
    if (status == CROSSRANK_ERR_ARGUMENT) {
        OK(crossrank_options_set_allow_software_gpu(options, true));
        status = crossrank_model_load(argv[1], options, &model);
    }
    EXPECT(CROSSRANK_OK, status);
    crossrank_info info = {.size = sizeof info};
    OK(crossrank_model_info(model, &info));
    CHECK(info.backend == CROSSRANK_BACKEND_GPU && info.isa == CROSSRANK_ISA_AUTO);
    char name[256];
    size_t length = 0;
    OK(crossrank_model_text(model, CROSSRANK_TEXT_ADAPTER, 0, name, sizeof name, &length));
    CHECK(length > 0);
    OK(crossrank_model_text(model, CROSSRANK_TEXT_TIER, 0, name, sizeof name, &length));
    CHECK(length == 3 && memcmp(name, "f32", 3) == 0);

    crossrank_model cpu = load(argv[1]);
    crossrank_ranked expected[DOCUMENTS], results[DOCUMENTS];
    CHECK(backend_of(cpu, CROSSRANK_DEFAULTS, expected) == CROSSRANK_BACKEND_CPU);
    OK(crossrank_model_warmup(model));
    CHECK(backend_of(model, CROSSRANK_DEFAULTS, results) == CROSSRANK_BACKEND_GPU);
    check_close(results, expected, 1e-4F);
    OK(crossrank_model_suspend(model));
    CHECK(backend_of(model, CROSSRANK_DEFAULTS, results) == CROSSRANK_BACKEND_CPU);
    check_close(results, expected, 0);
    OK(crossrank_model_resume(model));
    OK(crossrank_model_trim(model));
    CHECK(backend_of(model, CROSSRANK_DEFAULTS, results) == CROSSRANK_BACKEND_GPU);
    check_close(results, expected, 1e-4F);
    OK(crossrank_model_free(model));

    /* float16 weights. */
    OK(crossrank_options_set_gpu_precision(options, CROSSRANK_GPU_PRECISION_F16));
    OK(crossrank_model_load(argv[1], options, &model));
    OK(crossrank_model_text(model, CROSSRANK_TEXT_TIER, 0, name, sizeof name, &length));
    CHECK(length > 0 && memcmp(name, "f32", 3) != 0);
    CHECK(backend_of(model, CROSSRANK_DEFAULTS, results) == CROSSRANK_BACKEND_GPU);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        for (size_t j = 0; j < DOCUMENTS; j++) {
            if (expected[j].index == results[i].index) CHECK(fabsf(expected[j].logit - results[i].logit) <= 5e-3F);
        }
    }
    OK(crossrank_model_free(cpu));
    OK(crossrank_model_free(model));
    OK(crossrank_options_free(options));
    return 0;
}
