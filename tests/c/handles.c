/* A million handles that are forged, stale or freed twice are refused: handles MODEL MODEL_WITH_3_LABELS SCRATCH */
#include "check.h"

enum { STALE = 300000, FORGED = 350000 };

/* xorshift64*: pseudo-random numbers. */
static uint64_t random_id(void) {
    static uint64_t state = 88172645463325252U;
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 2685821657736338717U;
}

static size_t refused;

static void refuse(crossrank_status status, uint64_t id) {
    if (status != CROSSRANK_ERR_HANDLE) {
        fprintf(stderr, "handle %llx gave %s\n", (unsigned long long)id, crossrank_status_name(status));
        exit(1);
    }
    refused++;
}

/* One function for each kind of handle. */
static void use(uint64_t id) {
    crossrank_model model = {id};
    crossrank_options options = {id};
    crossrank_cancel cancel = {id};
    crossrank_info info = {.size = sizeof info};
    size_t found = 99;
    crossrank_ranked result;
    switch (id % 4) {
    case 0:
        refuse(crossrank_model_info(model, &info), id);
        refuse(crossrank_options_set_top_k(options, 1), id);
        refuse(crossrank_cancel_trigger(cancel), id);
        break;
    case 1:
        refuse(crossrank_rerank(model, QUERY, documents(), 1, CROSSRANK_DEFAULTS, &result, 1, &found), id);
        refuse(crossrank_options_set_strict_utf8(options, true), id);
        refuse(crossrank_cancel_progress(cancel, &found, &found), id);
        break;
    case 2:
        refuse(crossrank_model_trim(model), id);
        refuse(crossrank_model_warmup(model), id);
        refuse(crossrank_options_set_executor(options, 1, NULL, NULL), id);
        refuse(crossrank_cancel_free(cancel), id);
        break;
    default:
        refuse(crossrank_model_free(model), id);
        refuse(crossrank_options_free(options), id);
        refuse(crossrank_cancel_free(cancel), id);
        break;
    }
    CHECK(found == 99);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    crossrank_model model = load(argv[1]);
    crossrank_options options = {0};
    crossrank_cancel cancel = {0};
    OK(crossrank_options_new(&options));
    OK(crossrank_cancel_new(&cancel));

    use(0);
    for (size_t i = 0; i < FORGED; i++) use(random_id());

    /* A valid handle of one kind is invalid as another kind, and with any bit flipped. */
    crossrank_model not_model = {options.id};
    crossrank_options not_options = {cancel.id};
    crossrank_cancel not_cancel = {model.id};
    refuse(crossrank_model_trim(not_model), options.id);
    refuse(crossrank_options_set_top_k(not_options, 1), cancel.id);
    refuse(crossrank_cancel_trigger(not_cancel), model.id);
    for (int bit = 0; bit < 64; bit++) {
        crossrank_model near = {model.id ^ (uint64_t)1 << bit};
        refuse(crossrank_model_free(near), near.id);
    }

    /* After it was freed, the first handle stays invalid, although its slot is used again and again. */
    crossrank_options first = {0}, stale = {0};
    OK(crossrank_options_new(&first));
    OK(crossrank_options_free(first));
    for (size_t i = 0; i < STALE; i++) {
        OK(crossrank_options_new(&stale));
        CHECK(stale.id != first.id && stale.id != options.id);
        OK(crossrank_options_free(stale));
        refuse(crossrank_options_free(stale), stale.id);
        refuse(crossrank_options_set_threads(first, 1), first.id);
    }

    /* Calls refuse options that were freed, too. */
    size_t found = 99;
    crossrank_ranked result;
    refuse(crossrank_rerank(model, QUERY, documents(), 1, stale, &result, 1, &found), stale.id);
    crossrank_model other = {0};
    refuse(crossrank_model_load(argv[1], stale, &other), stale.id);
    OK(crossrank_cancel_free(cancel));
    refuse(crossrank_options_set_cancel(options, cancel), cancel.id);
    CHECK(found == 99 && other.id == 0);

    /* Objects that were not freed still work. */
    OK(crossrank_rerank(model, QUERY, documents(), 1, options, &result, 1, &found));
    CHECK(found == 1 && refused > 1000000);
    OK(crossrank_model_free(model));
    refuse(crossrank_model_free(model), model.id);
    OK(crossrank_options_free(options));
    return 0;
}
