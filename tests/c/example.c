/* The first example of the C interface, as the documentation prints it. */
#include <crossrank.h>
#include <stdio.h>

int main(void) {
    crossrank_model model = {0};
    if (crossrank_model_load("models/crossrank-mini", CROSSRANK_DEFAULTS, &model) != CROSSRANK_OK) { puts(crossrank_last_message()); return 1; }
    crossrank_str docs[2] = { CROSSRANK_STR("Paris is the capital of France."), CROSSRANK_STR("Bananas are yellow.") };
    crossrank_ranked best[2]; size_t found = 0;
    crossrank_rerank(model, CROSSRANK_STR("capital of France"), docs, 2, CROSSRANK_DEFAULTS, best, 2, &found);
    crossrank_model_free(model);

    for (size_t i = 0; i < found; i++) printf("%zu %.4f\n", best[i].index, best[i].score);
    return 0;
}
