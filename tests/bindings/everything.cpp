// The parts of crossrank.hpp that bindings/cases.json cannot describe: other loads, callbacks, the program's threads, the log.
// Arguments: a directory with a model, and a file to write.
#include "crossrank.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

using namespace crossrank;

namespace {

void check(bool holds, int line) {
    if (holds) return;
    std::printf("line %d\n", line);
    std::exit(1);
}
#define CHECK(...) check(static_cast<bool>(__VA_ARGS__), __LINE__)

const Texts documents{"Paris is the capital of France.", "Bananas are yellow.", "", "Berlin is a city.", "x"};

Ranking rank(const Model &model, const Options &options = {}) {
    auto ranking = model.rerank("capital of France", documents, options);
    CHECK(ranking);
    return *std::move(ranking);
}

bool same(const Ranking &a, const Ranking &b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); i++) {
        if (a[i].index != b[i].index || a[i].score != b[i].score) return false;
    }
    return true;
}

std::string content(const std::string &path) {
    std::ostringstream all;
    all << std::ifstream(path, std::ios::binary).rdbuf();
    return all.str();
}

// The same files from inside a larger file.
void archives(const std::string &folder, const char *archive, const Ranking &expected) {
    std::vector<Region> regions;
    std::ofstream out(archive, std::ios::binary);
    out << "junk";
    for (const char *name : {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
        const std::string file = content(folder + "/" + name);
        regions.push_back({});
        regions.back().offset = static_cast<std::uint64_t>(out.tellp());
        regions.back().length = file.size();
        out << file << "junk";
    }
    out.close();
    const int fd = open(archive, O_RDONLY);
    CHECK(fd >= 0);
    for (Region &region : regions) region.fd = fd;
    const auto model = Model::load_fd("archive", regions[0], regions[1], regions[2], {regions[3]});
    close(fd);
    CHECK(model && same(rank(*model), expected));
    CHECK(model->text(CROSSRANK_TEXT_NAME).value() == "archive");
    CHECK(Model::load_fd("closed", regions[0], regions[1], regions[2], {regions[3]}).status == Status::io);
}

struct Watch {
    const Cancel *cancel;
    std::size_t calls, pairs, done;
};

void on_progress(void *user, std::size_t done, std::size_t total, const Ranked *partial, std::size_t count) {
    auto &watch = *static_cast<Watch *>(user);
    // Polling reports the same progress.
    const auto polled = watch.cancel->progress();
    CHECK(polled && polled->first == done && polled->second == total && partial != nullptr);
    watch.calls++, watch.pairs += count, watch.done = done;
}

void callbacks(const Model &model, const Ranking &expected) {
    const auto cancel = Cancel::make();
    CHECK(cancel);
    Watch watch{&*cancel, 0, 0, 0};
    Options options;
    options.progress(on_progress, &watch).cancel(*cancel);
    CHECK(same(rank(model, options), expected));
    CHECK(watch.calls > 0 && watch.pairs == documents.size() && watch.done == documents.size());
    const auto polled = cancel->progress();
    CHECK(polled && polled->first == documents.size() && polled->second == documents.size());
}

void on_threads(void *user, std::size_t count, void (*task)(void *, std::size_t), void *context) {
    *static_cast<std::size_t *>(user) += count;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; i++) threads.emplace_back(task, context, i);
    for (std::thread &thread : threads) thread.join();
}

void on_log(void *user, std::int32_t, crossrank_str message) { *static_cast<std::size_t *>(user) += message.len; }

} // namespace

int main(int count, char **arguments) {
    CHECK(count == 3);
    std::size_t logged = 0, tasks = 0;
    CHECK(set_log(on_log, &logged));
    const auto model = Model::load(arguments[1]);
    CHECK(model && logged > 0 && set_log(nullptr, nullptr));

    const Ranking expected = rank(*model);
    CHECK(last_usage()->backend == CROSSRANK_BACKEND_CPU && last_usage()->tokens > 0);
    archives(arguments[1], arguments[2], expected);
    callbacks(*model, expected);

    const auto hosted = Model::load(arguments[1], Options().executor(2, on_threads, &tasks));
    CHECK(hosted && hosted->info()->threads == 2 && same(rank(*hosted), expected) && tasks > 0);

    const auto int8 = Model::load(arguments[1], Options().precision(CROSSRANK_PRECISION_INT8));
    CHECK(int8 && int8->info()->precision == CROSSRANK_PRECISION_INT8);
    CHECK(model->info()->precision == CROSSRANK_PRECISION_F32);
    const Ranking rounded = rank(*int8);
    CHECK(rounded[0].index == expected[0].index && !same(rounded, expected));

    const auto bundled = Model::load_bundled();
    CHECK(bundled ? rank(*bundled)[0].index == 0 : bundled.status == Status::unsupported && !bundled.message.empty());
    CHECK(model->trim() && same(rank(*model), expected));
    CHECK(model->suspend() && model->resume() && model->warmup() && same(rank(*model), expected));
    CHECK(model->text(CROSSRANK_TEXT_ADAPTER).value().empty());
    return 0;
}
