/* Eight threads use one model, which is freed meanwhile: threads MODEL MODEL_WITH_3_LABELS SCRATCH */
#include "check.h"

#include <pthread.h>

enum { THREADS = 8, CALLS = 25 };

static crossrank_model model;
static const crossrank_str *texts;
static crossrank_ranked wanted[DOCUMENTS];
static pthread_barrier_t halfway;

static crossrank_status rerank_once(void) {
    crossrank_ranked results[DOCUMENTS];
    size_t found = 99;
    crossrank_status status =
        crossrank_rerank(model, QUERY, texts, DOCUMENTS, CROSSRANK_DEFAULTS, results, DOCUMENTS, &found);
    if (status != CROSSRANK_OK) {
        CHECK(found == 99);
        return status;
    }
    CHECK(found == DOCUMENTS);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        CHECK(results[i].index == wanted[i].index);
        CHECK(memcmp(&results[i].logit, &wanted[i].logit, sizeof results[i].logit) == 0);
    }
    return status;
}

static void *work(void *user) {
    size_t *freed = user;
    for (int i = 0; i < CALLS; i++) OK(rerank_once());
    /* Each thread has its own message of its last failure. */
    crossrank_options none = {*freed + 12345};
    EXPECT(CROSSRANK_ERR_HANDLE, crossrank_options_free(none));
    CHECK(strstr(crossrank_last_message(), "options object") != NULL);
    pthread_barrier_wait(&halfway);
    /* From here on the model may be freed at any time, also during a call, which finishes. */
    for (;;) {
        crossrank_status status = rerank_once();
        if (status == CROSSRANK_OK) continue;
        EXPECT(CROSSRANK_ERR_HANDLE, status);
        *freed += 1;
        return NULL;
    }
}

/* Trims the model, and makes and frees options, while the other threads compute. */
static void *disturb(void *user) {
    (void)user;
    crossrank_status status = CROSSRANK_OK;
    while (status == CROSSRANK_OK) {
        crossrank_options options = {0};
        OK(crossrank_options_new(&options));
        OK(crossrank_options_free(options));
        status = crossrank_model_trim(model);
    }
    EXPECT(CROSSRANK_ERR_HANDLE, status);
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    model = load(argv[1]);
    size_t found = 0;
    texts = documents();
    OK(crossrank_rerank(model, QUERY, texts, DOCUMENTS, CROSSRANK_DEFAULTS, wanted, DOCUMENTS, &found));
    CHECK(pthread_barrier_init(&halfway, NULL, THREADS + 1) == 0);
    pthread_t threads[THREADS], disturber;
    size_t freed[THREADS] = {0};
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, &freed[i]) == 0);
    CHECK(pthread_create(&disturber, NULL, disturb, NULL) == 0);
    pthread_barrier_wait(&halfway);
    OK(rerank_once());
    OK(crossrank_model_free(model));
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(freed[i] == 1);
    }
    CHECK(pthread_join(disturber, NULL) == 0);
    EXPECT(CROSSRANK_ERR_HANDLE, crossrank_model_free(model));
    return 0;
}
