/* Ranks the documents of examples/documents.jsonl by a query: rank [MODEL [QUERY]].
 *
 * cc rank.c $(pkg-config --cflags --libs crossrank) -o rank
 */
#include <crossrank.h>
#include <stdio.h>
#include <string.h>

/* The number of documents to print. */
#define BEST 3

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "models/crossrank-mini";
    const char *query = argc > 2 ? argv[2] : "how do I keep a process running after logout";
    const crossrank_str documents[] = {
        CROSSRANK_STR("Start a command with nohup, or in a tmux or screen session, and it keeps running after you log out or the connection drops."),
        CROSSRANK_STR("Cron starts programs at fixed times: each line of a crontab gives minute, hour, day, month and weekday, then the command."),
        CROSSRANK_STR("A nice value from -20 to 19 tells the scheduler how much processor time a process should get when others compete for it."),
        CROSSRANK_STR("The kill command sends a signal to a process. SIGTERM asks it to end; SIGKILL ends it without giving it a chance to clean up."),
        CROSSRANK_STR("With a key pair, ssh logs you in without a password: the private key stays on your machine, the public key goes to the server."),
        CROSSRANK_STR("A pipe connects the standard output of one program to the standard input of the next, and both run at the same time."),
        CROSSRANK_STR("A process that has ended but whose parent has not yet read its exit status is called a zombie. It takes no memory, only a slot in the process table."),
        CROSSRANK_STR("A systemd unit describes a service: the command that starts it, what it depends on, and whether to restart it when it fails."),
        CROSSRANK_STR("The du command adds up the space that files and folders take, and df shows how much of each file system is free."),
        CROSSRANK_STR("Each file has an owner and a group, and separate rights to read, write and execute for the owner, the group and everyone else."),
        CROSSRANK_STR("Rsync copies a folder to another machine and sends only the parts of files that have changed since the last time."),
        CROSSRANK_STR("When memory runs short, the kernel moves pages that were not used for a while to swap space on disk and gives their memory to others."),
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
