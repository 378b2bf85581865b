// Ranks the documents of examples/documents.jsonl by a query: rank [MODEL [QUERY]].
//
// c++ -std=c++17 rank.cpp $(pkg-config --cflags --libs crossrank) -o rank
#include <crossrank.hpp>

#include <array>
#include <cstdio>

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "models/crossrank-mini";
    const char *query = argc > 2 ? argv[2] : "how do I keep a process running after logout";
    const std::array documents = {
        "Start a command with nohup, or in a tmux or screen session, and it keeps running after you log out or the connection drops.",
        "Cron starts programs at fixed times: each line of a crontab gives minute, hour, day, month and weekday, then the command.",
        "A nice value from -20 to 19 tells the scheduler how much processor time a process should get when others compete for it.",
        "The kill command sends a signal to a process. SIGTERM asks it to end; SIGKILL ends it without giving it a chance to clean up.",
        "With a key pair, ssh logs you in without a password: the private key stays on your machine, the public key goes to the server.",
        "A pipe connects the standard output of one program to the standard input of the next, and both run at the same time.",
        "A process that has ended but whose parent has not yet read its exit status is called a zombie. It takes no memory, only a slot in the process table.",
        "A systemd unit describes a service: the command that starts it, what it depends on, and whether to restart it when it fails.",
        "The du command adds up the space that files and folders take, and df shows how much of each file system is free.",
        "Each file has an owner and a group, and separate rights to read, write and execute for the owner, the group and everyone else.",
        "Rsync copies a folder to another machine and sends only the parts of files that have changed since the last time.",
        "When memory runs short, the kernel moves pages that were not used for a while to swap space on disk and gives their memory to others.",
    };

    const auto model = crossrank::Model::load(path);
    if (!model) {
        std::fprintf(stderr, "%s\n", model.message.c_str());
        return 1;
    }
    const auto ranking = model->rerank(query, documents, crossrank::Options().top_k(3));
    if (!ranking) {
        std::fprintf(stderr, "%s: %s\n", crossrank::name(ranking.status), ranking.message.c_str());
        return 1;
    }
    for (const crossrank::Ranked &result : *ranking) {
        std::printf("%.4f  %s\n", result.score, documents[result.index]);
    }
    return 0;
}
