/* Ranks documents by a query: rank [MODEL [QUERY]].
 *
 * cc rank.c $(pkg-config --cflags --libs crossrank) -o rank
 */
#include <crossrank.h>
#include <stdio.h>
#include <string.h>

/* Three of them are wanted. */
#define BEST 3

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "models/crossrank-mini";
    const char *query = argc > 2 ? argv[2] : "how do I keep a process running after logout";
    const crossrank_str documents[] = {
        CROSSRANK_STR("Cron starts programs at fixed times: each line of a crontab gives time and command."),
        CROSSRANK_STR("Start a command with nohup, or in a tmux session, and it keeps running after you log out."),
        CROSSRANK_STR("A nice value tells the scheduler how much processor time a process should get."),
        CROSSRANK_STR("The kill command sends a signal to a process. SIGTERM asks it to end."),
        CROSSRANK_STR("The du command adds up the space that files and folders take."),
    };
    const size_t count = sizeof documents / sizeof documents[0];

    crossrank_model model = {0};
    if (crossrank_model_load(path, CROSSRANK_DEFAULTS, &model) != CROSSRANK_OK) {
        fprintf(stderr, "%s\n", crossrank_last_message());
        return 1;
    }

    const crossrank_str text = {query, strlen(query)};
    crossrank_ranked best[BEST];
    size_t found = 0;
    const crossrank_status status =
        crossrank_rerank(model, text, documents, count, CROSSRANK_DEFAULTS, best, BEST, &found);
    crossrank_model_free(model);
    if (status != CROSSRANK_OK) {
        fprintf(stderr, "%s: %s\n", crossrank_status_name(status), crossrank_last_message());
        return 1;
    }
    for (size_t i = 0; i < found; i++) {
        printf("%.4f  %s\n", best[i].score, documents[best[i].index].data);
    }
    return 0;
}
