// Makes the calls of bindings/cases.json through crossrank.hpp. Run it in the repository's root.
#include "cases.h"
#include "crossrank.hpp"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

namespace {

using crossrank::Model;
using crossrank::Outcome;
using crossrank::Ranked;
using crossrank::Ranking;
using crossrank::Status;

template <class T> bool differs(const char *what, const T &expected, const T &found) {
    std::ostringstream line;
    line << "  " << what << ": expected " << expected << ", found " << found;
    std::puts(line.str().c_str());
    return false;
}

bool same(const char *what, double expected, double found) {
    return expected == found || differs(what, expected, found);
}

bool same(const char *what, std::string_view expected, std::string_view found) {
    return expected == found || differs(what, expected, found);
}

bool close_to(const char *what, double expected, double found) {
    return std::fabs(expected - found) <= TOLERANCE || differs(what, expected, found);
}

std::string_view text(crossrank_str view) { return {view.data, view.len}; }

std::string content(const content &file) {
    if (file.path == nullptr) return std::string(text(file.text));
    std::ifstream stream(file.path, std::ios::binary);
    std::ostringstream all;
    all << stream.rdbuf();
    return all.str();
}

std::vector<std::string_view> documents(const crossrank_set &set) {
    std::vector<std::string_view> texts;
    for (std::size_t i = 0; i < set.count; i++) texts.push_back(text(set.documents[i]));
    return texts;
}

// The outcome of an option in the table that this runner does not support.
const Outcome unknown{Status::internal, "unknown"};

Outcome set_option(crossrank::Options &options, const option &option) {
    const std::string_view name = option.name;
    const double value = option.value;
    const auto number = static_cast<std::int32_t>(value);
    // Sizes are never negative in the cases.
    const auto size = value < 0 ? std::size_t{0} : static_cast<std::size_t>(value);
    if (name == "backend") return options.backend(number).outcome();
    if (name == "isa") return options.isa(number).outcome();
    if (name == "precision") return options.precision(number).outcome();
    if (name == "truncation") return options.truncation(number).outcome();
    if (name == "threads") return options.threads(size).outcome();
    if (name == "max_tokens") return options.max_tokens(size).outcome();
    if (name == "top_k") return options.top_k(size).outcome();
    if (name == "windows") return options.windows(size).outcome();
    if (name == "window_overlap") return options.window_overlap(size).outcome();
    if (name == "memory_limit") return options.memory_limit(size).outcome();
    if (name == "time_limit") return options.time_limit(size).outcome();
    if (name == "threshold") return options.threshold(value).outcome();
    if (name == "prompt") return options.prompt(text(option.text)).outcome();
    if (name == "prompt_name") return options.prompt_name(option.text.data).outcome();
    if (name == "strict_utf8") return options.strict_utf8(value != 0).outcome();
    return unknown;
}

bool same_result(const expected &e, const Ranked &r) {
    const bool ok = same("index", double(e.index), double(r.index)) && same("status", e.status, r.status) &&
                    same("tokens", e.tokens, r.tokens) && same("query_cut", e.query_cut, r.query_cut) &&
                    same("document_cut", e.document_cut, r.document_cut) &&
                    same("window", e.window_start, double(r.window_start)) &&
                    same("window", e.window_end, double(r.window_end));
    if (e.status != CROSSRANK_OK) return ok && (std::isnan(r.score) || differs<double>("score", NAN, r.score));
    return ok && close_to("score", e.score, r.score);
}

bool same_facts(const call &c, const Model &model, double weight_bytes) {
    const auto info = model.info();
    const auto usage = crossrank::last_usage();
    bool ok = true;
    for (std::size_t i = 0; i < c.fact_count; i++) {
        const std::string_view name = c.facts[i].name;
        double found = NAN;
        if (info && name == "layers") found = info->layers;
        if (info && name == "hidden") found = info->hidden;
        if (info && name == "heads") found = info->heads;
        if (info && name == "labels") found = info->labels;
        if (info && name == "max_tokens") found = info->max_tokens;
        if (info && name == "vocabulary") found = info->vocabulary;
        if (info && name == "threads") found = info->threads;
        if (info && name == "backend") found = info->backend;
        if (info && name == "precision") found = info->precision;
        if (usage && name == "tokens") found = static_cast<double>(usage->tokens);
        if (usage && name == "tokens_cut") found = static_cast<double>(usage->tokens_cut);
        if (name == "weight_bytes") found = weight_bytes;
        ok = same(c.facts[i].name, c.facts[i].value, found) && ok;
    }
    return ok;
}

// Makes the call `c`; `ok` becomes false where a value is not as expected.
Outcome make(const call &c, bool &ok) {
    const std::string_view function = c.function;
    if (function == "status_name") {
        ok = same("name", text(c.text), crossrank::name(static_cast<Status>(c.code)));
        return {};
    }
    crossrank::Options options;
    auto cancel = crossrank::Cancel::make();
    if (!cancel) return cancel;
    for (std::size_t i = 0; i < c.option_count; i++) {
        const auto outcome = set_option(options, c.options[i]);
        // The calls below must report it; only an unsupported option ends the case here.
        if (outcome.message == unknown.message) return outcome;
    }
    if (c.cancelled) {
        if (const auto outcome = cancel->trigger(); !outcome) return outcome;
        options.cancel(*cancel);
    }
    if (function == "plan") {
        const auto plan = Model::plan(c.path, options);
        if (plan) ok = same_facts(c, Model(), static_cast<double>(plan->weight_bytes));
        return plan;
    }

    Model model;
    if (c.path != nullptr) {
        auto loaded = Model::load(c.path, options);
        if (!loaded) return loaded;
        model = *std::move(loaded);
    } else if (c.memory != nullptr) {
        std::vector<std::string> weights;
        for (std::size_t i = 0; i < c.memory->weight_count; i++) weights.push_back(content(c.memory->weights[i]));
        auto loaded = Model::load_memory("memory", content(c.memory->config), content(c.memory->tokenizer),
                                         content(c.memory->tokenizer_config), weights, options);
        if (!loaded) return loaded;
        model = *std::move(loaded);
    }

    std::vector<Ranking> rankings;
    if (function == "rerank") {
        auto ranking = model.rerank(text(c.sets[0].query), documents(c.sets[0]), options);
        if (!ranking) return ranking;
        rankings.push_back(*std::move(ranking));
    } else if (function == "rerank_many") {
        std::vector<crossrank::Set> sets;
        for (std::size_t i = 0; i < c.set_count; i++) sets.push_back({text(c.sets[i].query), documents(c.sets[i])});
        auto many = model.rerank_many(sets, options);
        if (!many) return many;
        rankings = *std::move(many);
    } else if (function == "score") {
        std::vector<std::string_view> queries, texts;
        for (std::size_t i = 0; i < c.set_count; i++) {
            queries.push_back(text(c.sets[i].query));
            texts.push_back(text(c.sets[i].documents[0]));
        }
        const auto scores = model.score(queries, texts, options);
        if (!scores) return scores;
        for (std::size_t i = 0; i < c.set_count && i < c.result_count; i++) {
            rankings.push_back({scores->details[i]});
            for (std::size_t label = 0; label < c.results[i].logit_count; label++) {
                ok = close_to("logit", c.results[i].logits[label], scores->logits[i * scores->labels + label]) && ok;
            }
            for (std::size_t label = 0; label < c.results[i].score_count; label++) {
                ok = close_to("score", c.results[i].scores[label], scores->scores[i * scores->labels + label]) && ok;
            }
        }
    } else if (function == "text") {
        const auto found = model.text(c.code, c.index);
        if (found) ok = same("text", text(c.text), *found);
        return found;
    } else if (function == "trim") {
        return model.trim();
    } else {
        for (std::size_t i = 0; i < c.label_count; i++) {
            const auto found = model.text(c.labels[i].text, c.labels[i].index);
            ok = found && same("text", text(c.labels[i].value), *found) && ok;
        }
    }

    ok = same("sets", double(c.set_count), double(rankings.size())) && ok;
    std::size_t result = 0;
    for (std::size_t set = 0; ok && set < rankings.size(); set++) {
        ok = same("results", double(c.found[set]), double(rankings[set].size()));
        for (std::size_t i = 0; ok && i < c.found[set]; i++) ok = same_result(c.results[result++], rankings[set][i]);
    }
    ok = ok && same("results", double(c.result_count), double(result));
    ok = same_facts(c, model, NAN) && ok;
    return {};
}

bool passes(const call &c) {
    bool ok = true;
    const Outcome outcome = make(c, ok);
    ok = same("status", c.status, static_cast<std::int32_t>(outcome.status)) && ok;
    if (!outcome && outcome.message.empty()) ok = same("message", "some", "");
    return ok;
}

} // namespace

int main() {
    std::size_t passed = 0, failed = 0;
    for (const call &c : calls) {
        if (passes(c)) {
            passed++;
        } else {
            failed++;
            std::printf("FAILED %s\n", c.name);
        }
    }
    std::printf("%zu passed, %zu failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
