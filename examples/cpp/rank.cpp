// Ranks documents by a query: rank [MODEL [QUERY]].
//
// c++ -std=c++17 rank.cpp $(pkg-config --cflags --libs crossrank) -o rank
#include <crossrank.hpp>

#include <array>
#include <cstdio>

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "models/crossrank-mini";
    const char *query = argc > 2 ? argv[2] : "how do I keep a process running after logout";
    const std::array documents = {
        "Cron starts programs at fixed times: each line of a crontab gives time and command.",
        "Start a command with nohup, or in a tmux session, and it keeps running after you log out.",
        "A nice value tells the scheduler how much processor time a process should get.",
        "The kill command sends a signal to a process. SIGTERM asks it to end.",
        "The du command adds up the space that files and folders take.",
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
