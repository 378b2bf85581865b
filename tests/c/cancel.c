/* Cancelling before, during and after a call, and deadlines: cancel MODEL MODEL_WITH_3_LABELS SCRATCH */
#include "check.h"

#include <math.h>
#include <pthread.h>

/* Enough documents to keep a call busy while another thread cancels it. */
enum { MANY = 20000 };
static crossrank_str many[MANY];
static crossrank_ranked results[MANY], painted[MANY];

static crossrank_status rerank(crossrank_model model, crossrank_options options, size_t count, size_t *found) {
    return crossrank_rerank(model, QUERY, many, count, options, results, MANY, found);
}

/* Triggers as soon as the call has made progress, which it polls for. */
static void *trigger_when_running(void *user) {
    crossrank_cancel cancel = *(crossrank_cancel *)user;
    size_t done = 0, total = 0;
    while (done == 0) OK(crossrank_cancel_progress(cancel, &done, &total));
    CHECK(done < total && total == MANY);
    OK(crossrank_cancel_trigger(cancel));
    return NULL;
}

static void trigger_from_callback(void *user, size_t done, size_t total, const crossrank_ranked *partial, size_t count) {
    (void)done, (void)total, (void)partial, (void)count;
    OK(crossrank_cancel_trigger(*(crossrank_cancel *)user));
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    for (size_t i = 0; i < MANY; i++) many[i] = str(TEXTS[i % DOCUMENTS]);
    memset(results, 0xa5, sizeof results);
    memcpy(painted, results, sizeof results);
    crossrank_model model = load(argv[1]);
    crossrank_options options = {0};
    crossrank_cancel cancel = {0};
    OK(crossrank_options_new(&options));
    OK(crossrank_cancel_new(&cancel));
    OK(crossrank_options_set_cancel(options, cancel));

    /* During: from another thread. */
    size_t found = 99;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, trigger_when_running, &cancel) == 0);
    EXPECT(CROSSRANK_ERR_CANCELLED, rerank(model, options, MANY, &found));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(found == 99 && memcmp(results, painted, sizeof results) == 0);

    /* After that call, and so before the next: the cancel stays triggered, for every function. */
    EXPECT(CROSSRANK_ERR_CANCELLED, rerank(model, options, 4, &found));
    float logit = 7;
    crossrank_str query = QUERY;
    EXPECT(CROSSRANK_ERR_CANCELLED, crossrank_score(model, &query, many, 1, options, &logit, NULL, 1, results));
    crossrank_set set = {query, many, 4};
    EXPECT(CROSSRANK_ERR_CANCELLED, crossrank_rerank_many(model, &set, 1, options, results, MANY, &found));
    CHECK(found == 99 && logit == 7 && memcmp(results, painted, sizeof results) == 0);

    /* A new cancel, triggered from the call's own callback. The handle may be freed: the options keep the object. */
    OK(crossrank_cancel_free(cancel));
    EXPECT(CROSSRANK_ERR_CANCELLED, rerank(model, options, 4, &found));
    OK(crossrank_cancel_new(&cancel));
    OK(crossrank_options_set_cancel(options, cancel));
    OK(rerank(model, options, 4, &found));
    CHECK(found == 4);
    OK(crossrank_options_set_progress(options, trigger_from_callback, &cancel));
    EXPECT(CROSSRANK_ERR_CANCELLED, rerank(model, options, MANY, &found));
    OK(crossrank_options_set_progress(options, NULL, NULL));

    /* Removed from the options, and triggered after a call has ended. */
    crossrank_cancel none = {0};
    OK(crossrank_options_set_cancel(options, none));
    OK(rerank(model, options, 4, &found));
    OK(crossrank_cancel_trigger(cancel));
    OK(crossrank_cancel_trigger(cancel));
    OK(crossrank_cancel_free(cancel));

    /* A time limit is not an error: pairs that were not scored have a status that says so, and come last. */
    OK(crossrank_options_set_time_limit(options, 0));
    OK(rerank(model, options, DOCUMENTS, &found));
    CHECK(found == DOCUMENTS);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        CHECK(results[i].status == CROSSRANK_ERR_NOT_SCORED && results[i].index == i);
        CHECK(isnan(results[i].score) && isnan(results[i].logit));
    }
    OK(crossrank_options_free(options));
    OK(crossrank_model_free(model));
    return 0;
}
