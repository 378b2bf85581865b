// crossrank for C++17: owners of handles, and results, over crossrank.h, which says what each function does. Works without
// exceptions and RTTI. With CROSSRANK_EXCEPTIONS defined, or_throw(result) turns failures into exceptions.
//
//   auto model = crossrank::Model::load("models/crossrank-mini");
//   if (!model) { std::puts(model.message.c_str()); return 1; }
//   auto ranking = model->rerank("capital of France", {"Bananas are yellow.", "Paris is the capital of France."});

#pragma once

#include "crossrank.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace crossrank {

// The status of the C function that a call made; a later library may return numbers that are not listed.
enum class Status : std::int32_t {
    ok = CROSSRANK_OK,
    null = CROSSRANK_ERR_NULL,
    handle = CROSSRANK_ERR_HANDLE,
    argument = CROSSRANK_ERR_ARGUMENT,
    utf8 = CROSSRANK_ERR_UTF8,
    buffer = CROSSRANK_ERR_BUFFER,
    not_found = CROSSRANK_ERR_NOT_FOUND,
    io = CROSSRANK_ERR_IO,
    format = CROSSRANK_ERR_FORMAT,
    missing_tensor = CROSSRANK_ERR_MISSING_TENSOR,
    tensor_shape = CROSSRANK_ERR_TENSOR_SHAPE,
    tensor_type = CROSSRANK_ERR_TENSOR_TYPE,
    unsupported = CROSSRANK_ERR_UNSUPPORTED,
    memory_limit = CROSSRANK_ERR_MEMORY_LIMIT,
    out_of_memory = CROSSRANK_ERR_OUT_OF_MEMORY,
    too_long = CROSSRANK_ERR_TOO_LONG,
    non_finite = CROSSRANK_ERR_NON_FINITE,
    several_labels = CROSSRANK_ERR_SEVERAL_LABELS,
    cancelled = CROSSRANK_ERR_CANCELLED,
    not_scored = CROSSRANK_ERR_NOT_SCORED,
    gpu = CROSSRANK_ERR_GPU,
    internal = CROSSRANK_ERR_INTERNAL,
};

inline const char *name(Status status) { return crossrank_status_name(static_cast<std::int32_t>(status)); }

// The status of a call. `message` is for people, and empty on success.
struct [[nodiscard]] Outcome {
    Status status = Status::ok;
    std::string message;

    explicit operator bool() const noexcept { return status == Status::ok; }

    // The outcome of the C function that this thread has just called.
    static Outcome of(crossrank_status returned) {
        if (returned == CROSSRANK_OK) return {};
        return {static_cast<Status>(returned), crossrank_last_message()};
    }
};

// The binary interface must be the one that crossrank.h describes. Every call that makes a handle checks this first.
inline Outcome check_abi() {
    const std::uint32_t found = crossrank_abi();
    if (found == CROSSRANK_ABI) return {};
    return {Status::unsupported, "the crossrank library has binary interface " + std::to_string(found) +
            ", but crossrank.h is for " + std::to_string(CROSSRANK_ABI) + ": use library and headers of one version"};
}

// A value, or the reason why there is none. `*` and `->` need success: test it first.
template <class T> struct [[nodiscard]] Result : std::optional<T>, Outcome {
    using std::optional<T>::operator bool;
    Result(T value) : std::optional<T>(std::move(value)) {}
    Result(Outcome failure) : Outcome(std::move(failure)) {}
};

// A value that a C function fills, or the failure of that function.
template <class T, class Call> Result<T> filled(T value, Call call) {
    if (Outcome checked = check_abi(); !checked) return checked;
    const crossrank_status status = call(value);
    if (status != CROSSRANK_OK) return Outcome::of(status);
    return value;
}

#ifdef CROSSRANK_EXCEPTIONS
class Exception : public std::runtime_error {
  public:
    const Status status;
    explicit Exception(const Outcome &failure) : std::runtime_error(failure.message), status(failure.status) {}
};

inline void or_throw(const Outcome &outcome) { if (!outcome) throw Exception(outcome); }

template <class T> T or_throw(Result<T> result) {
    if (!result) throw Exception(result);
    return *std::move(result);
}
#endif

using Ranked = crossrank_ranked;
using Ranking = std::vector<Ranked>;
using Info = crossrank_info;
using Usage = crossrank_usage;
using Region = crossrank_region;

inline crossrank_str view(std::string_view text) { return {text.data(), text.size()}; }

// Texts of the caller, by reference: a braced list, or any range whose elements convert to std::string_view.
class Texts {
  public:
    Texts(std::initializer_list<std::string_view> texts) { add(texts); }
    template <class Range> Texts(const Range &texts) { add(texts); }

    const crossrank_str *data() const noexcept { return views.data(); }
    std::size_t size() const noexcept { return views.size(); }
  private:
    template <class Range> void add(const Range &texts) {
        for (const std::string_view text : texts) views.push_back(view(text));
    }

    std::vector<crossrank_str> views;
};

// A query and its documents, for Model::rerank_many.
struct Set { std::string_view query; Texts documents; };

// The results of Model::score: `labels` logits and scores per pair, and the details of each pair.
struct Scores { std::size_t labels; std::vector<float> logits; std::vector<double> scores; Ranking details; };

// The bytes that a model would take.
struct Plan { std::uint64_t weight_bytes, work_bytes; };

// The only owner of a handle.
template <class Handle, crossrank_status (*Free)(Handle)> class Owner {
  public:
    Owner() noexcept = default;
    Owner(Owner &&other) noexcept : handle(std::exchange(other.handle, Handle{0})) {}
    Owner &operator=(Owner &&other) noexcept { return std::swap(handle, other.handle), *this; }
    ~Owner() { if (handle.id != 0) Free(handle); }

    // For calls of crossrank.h; this object stays the owner. {0} by default and after a move.
    Handle get() const noexcept { return handle; }
  protected:
    Handle handle{0};
};

// Cancels calls, from any thread.
class Cancel : public Owner<crossrank_cancel, crossrank_cancel_free> {
  public:
    static Result<Cancel> make() {
        return filled(Cancel(), [](Cancel &made) { return crossrank_cancel_new(&made.handle); });
    }
    Outcome trigger() const { return Outcome::of(crossrank_cancel_trigger(handle)); }
    // Pairs that the running call has scored, and its number of pairs.
    Result<std::pair<std::size_t, std::size_t>> progress() const {
        return filled(std::pair<std::size_t, std::size_t>(), [this](auto &pairs) {
            return crossrank_cancel_progress(handle, &pairs.first, &pairs.second);
        });
    }
};

// Options of a load or of a call: auto options = Options().top_k(3).threads(2). Setters of a temporary give an Options, those of
// a variable a reference to it. The failure of the first setter that fails is the outcome of every call with these options.
class Options : public Owner<crossrank_options, crossrank_options_free> {
  public:
#define CROSSRANK_SETTER(signature, ...) \
    Options &signature & { return __VA_ARGS__; } Options signature && { return std::move(__VA_ARGS__); }
#define CROSSRANK_OPTION(name, type, value) CROSSRANK_SETTER(name(type value), set(crossrank_options_set_##name, value))
    CROSSRANK_OPTION(backend, std::int32_t, value)
    CROSSRANK_OPTION(isa, std::int32_t, value)
    CROSSRANK_OPTION(threads, std::size_t, count)
    CROSSRANK_OPTION(max_tokens, std::size_t, count)
    CROSSRANK_OPTION(memory_limit, std::uint64_t, bytes)
    CROSSRANK_OPTION(truncation, std::int32_t, value)
    CROSSRANK_OPTION(windows, std::size_t, count)
    CROSSRANK_OPTION(window_overlap, std::size_t, tokens)
    CROSSRANK_OPTION(top_k, std::size_t, count)
    CROSSRANK_OPTION(threshold, double, score)
    CROSSRANK_OPTION(label, std::size_t, index)
    CROSSRANK_OPTION(time_limit, std::uint64_t, milliseconds)
    CROSSRANK_OPTION(strict_utf8, bool, strict)
    CROSSRANK_OPTION(allow_software_gpu, bool, allow)
    CROSSRANK_OPTION(precision, std::int32_t, value)
    CROSSRANK_OPTION(gpu_precision, std::int32_t, value)
    CROSSRANK_SETTER(prompt(std::string_view text), set(crossrank_options_set_prompt, view(text)))
    CROSSRANK_SETTER(prompt_name(const std::string &name), set(crossrank_options_set_prompt_name, name.c_str()))
    CROSSRANK_SETTER(gpu_cache(const std::string &folder), set(crossrank_options_set_gpu_cache, folder.c_str()))
    CROSSRANK_SETTER(progress(crossrank_progress_fn f, void *user), set(crossrank_options_set_progress, f, user))
    CROSSRANK_SETTER(executor(std::size_t n, crossrank_parallel_fn f, void *user), set(crossrank_options_set_executor, n, f, user))
    CROSSRANK_SETTER(cancel(const Cancel &with), set_cancel(with))
#undef CROSSRANK_OPTION
#undef CROSSRANK_SETTER

    const Outcome &outcome() const noexcept { return first; }
  private:
    template <class Setter, class... Values> Options &set(Setter setter, Values... values) {
        if (first) first = check_abi();
        if (first && handle.id == 0) keep(crossrank_options_new(&handle));
        if (first) keep(setter(handle, values...));
        return *this;
    }
    Options &set_cancel(const Cancel &with) {
        set(crossrank_options_set_cancel, with.get());
        // The null handle, of a Cancel that was moved from, would remove the cancel: it is an error here.
        if (first) keep(crossrank_cancel_progress(with.get(), nullptr, nullptr));
        return *this;
    }
    void keep(crossrank_status returned) { if (first) first = Outcome::of(returned); }

    Outcome first;
};

// The same for a C function with options.
template <class T, class Call> Result<T> filled(const Options &options, T value, Call call) {
    if (!options.outcome()) return options.outcome();
    return filled(std::move(value), call);
}

// A loaded cross-encoder. Immutable: any number of threads may use it at once.
class Model : public Owner<crossrank_model, crossrank_model_free> {
  public:
    static Result<Model> load(const std::string &path_or_name, const Options &options = {}) {
        return made(options, crossrank_model_load, path_or_name.c_str());
    }
    static Result<Model> load_bundled(const Options &o = {}) { return made(o, crossrank_model_load_bundled); }
    static Result<Model> load_memory(const std::string &name, std::string_view config, std::string_view tokenizer,
                                     std::string_view extra, const Texts &weights, const Options &options = {}) {
        return made(options, crossrank_model_load_memory, name.c_str(), view(config), view(tokenizer), view(extra),
                    weights.data(), weights.size());
    }
    static Result<Model> load_fd(const std::string &name, Region config, Region tokenizer, Region extra,
                                 const std::vector<Region> &weights, const Options &options = {}) {
        return made(options, crossrank_model_load_fd, name.c_str(), config, tokenizer, extra, weights.data(),
                    weights.size());
    }
    static Result<Plan> plan(const std::string &path_or_name, const Options &options = {}) {
        return filled(options, Plan{}, [&](Plan &plan) {
            return crossrank_model_plan(path_or_name.c_str(), options.get(), &plan.weight_bytes, &plan.work_bytes);
        });
    }

    Result<Ranking> rerank(std::string_view query, const Texts &documents, const Options &options = {}) const {
        return filled(options, Ranking(documents.size()), [&](auto &ranking) {
            std::size_t found = 0;
            const auto status = crossrank_rerank(handle, view(query), documents.data(), documents.size(),
                                                 options.get(), ranking.data(), ranking.size(), &found);
            ranking.resize(found);
            return status;
        });
    }

    Result<std::vector<Ranking>> rerank_many(const std::vector<Set> &sets, const Options &options = {}) const {
        std::vector<crossrank_set> views;
        std::size_t total = 0;
        for (const Set &set : sets) {
            views.push_back({view(set.query), set.documents.data(), set.documents.size()});
            total += set.documents.size();
        }
        return filled(options, std::vector<Ranking>(), [&](auto &rankings) {
            Ranking all(total);
            std::vector<std::size_t> found(sets.size());
            const auto status = crossrank_rerank_many(handle, views.data(), views.size(), options.get(), all.data(),
                                                      all.size(), found.data());
            const Ranked *start = all.data();
            for (const std::size_t count : found) {
                rankings.emplace_back(start, start + count);
                start += count;
            }
            return status;
        });
    }

    // Pair i is queries[i] with documents[i].
    Result<Scores> score(const Texts &queries, const Texts &documents, const Options &options = {}) const {
        if (documents.size() != queries.size()) return Outcome{Status::argument, "not one document for each query"};
        const auto facts = info();
        if (!facts) return Outcome(facts);
        const std::size_t count = queries.size(), labels = facts->labels;
        Scores scores{labels, std::vector<float>(count * labels), std::vector<double>(count * labels), Ranking(count)};
        return filled(options, std::move(scores), [&](Scores &to) {
            return crossrank_score(handle, queries.data(), documents.data(), count, options.get(), to.logits.data(),
                                   to.scores.data(), to.logits.size(), to.details.data());
        });
    }

    Outcome trim() const { return Outcome::of(crossrank_model_trim(handle)); }
    Outcome warmup() const { return Outcome::of(crossrank_model_warmup(handle)); }
    Outcome suspend() const { return Outcome::of(crossrank_model_suspend(handle)); }
    Outcome resume() const { return Outcome::of(crossrank_model_resume(handle)); }

    Result<Info> info() const {
        Info facts{};
        facts.size = sizeof facts;
        return filled(facts, [this](Info &to) { return crossrank_model_info(handle, &to); });
    }

    // The text of a CROSSRANK_TEXT_ value; `index` is the index of the label.
    Result<std::string> text(std::int32_t which, std::size_t index = 0) const {
        return filled(std::string(), [&](std::string &text) {
            std::size_t length = 0;
            const auto status = crossrank_model_text(handle, which, index, nullptr, 0, &length);
            if (status != CROSSRANK_ERR_BUFFER) return status;
            text.resize(length);
            return crossrank_model_text(handle, which, index, text.data(), length, &length);
        });
    }
  private:
    template <class Load, class... Arguments>
    static Result<Model> made(const Options &options, Load load, Arguments... arguments) {
        return filled(options, Model(), [&](Model &to) { return load(arguments..., options.get(), &to.handle); });
    }
};

// The usage of this thread's last score, rerank or rerank_many that succeeded.
inline Result<Usage> last_usage() {
    Usage usage{};
    usage.size = sizeof usage;
    return filled(usage, [](Usage &to) { return crossrank_last_usage(&to); });
}

inline Outcome set_log(crossrank_log_fn log, void *user) {
    Outcome checked = check_abi();
    return checked ? Outcome::of(crossrank_set_log(log, user)) : checked;
}
} // namespace crossrank
