// CrossrankReranker, a RefCounted class for Godot 4.2 and later, over include/crossrank.h.
#include <atomic>
#include <thread>

#include "crossrank.h"
#include "engine.hpp"

namespace {

using namespace engine;

std::vector<crossrank_str> views(const std::vector<std::string> &texts) {
    std::vector<crossrank_str> all;
    for (auto &text : texts) all.push_back({text.data(), text.size()});
    return all;
}

crossrank_str view(const std::string &text) { return {text.data(), text.size()}; }

// The bytes of a PackedByteArray, which must outlive the view.
crossrank_str view(GDExtensionConstTypePtr bytes) {
    auto count = static_cast<size_t>(Variant(BYTES, bytes).call("size"));
    if (count == 0) return {};
    auto data = godot.packed_byte_array_operator_index_const(bytes, 0);
    return {reinterpret_cast<const char *>(data), count};
}

// A ranking and the outcome of its call.
struct Ranking {
    std::vector<crossrank_ranked> results;
    crossrank_status status = CROSSRANK_OK;
    std::string message;

    void run(crossrank_model model, const std::string &query, const std::vector<std::string> &documents,
             crossrank_options options) {
        auto texts = views(documents);
        size_t found = 0;
        results.resize(texts.size());
        status = crossrank_rerank(model, view(query), texts.data(), texts.size(), options, results.data(),
                                  results.size(), &found);
        // Each thread has its own message: it must be read on the thread of the call.
        message = status == CROSSRANK_OK ? "" : crossrank_last_message();
        results.resize(found);
    }
};

void set_ranked(GDExtensionTypePtr dictionary, const crossrank_ranked &ranked) {
    set_int(dictionary, "index", static_cast<int64_t>(ranked.index));
    set_int(dictionary, "status", ranked.status);
    set_float(dictionary, "score", ranked.score);
    set_float(dictionary, "logit", ranked.logit);
    set_int(dictionary, "tokens", ranked.tokens);
    set_int(dictionary, "query_cut", ranked.query_cut);
    set_int(dictionary, "document_cut", ranked.document_cut);
    set_int(dictionary, "window_start", static_cast<int64_t>(ranked.window_start));
    set_int(dictionary, "window_end", static_cast<int64_t>(ranked.window_end));
}

class Reranker {
public:
    Reranker() { keep(crossrank_options_new(&options)); }

    ~Reranker() {
        if (worker.joinable()) {
            crossrank_cancel_trigger(cancel);
            finish();
        }
        crossrank_model_free(model);
        crossrank_options_free(options);
    }

    // Keeps the outcome of a call for status() and message().
    int64_t keep(crossrank_status result) {
        status = result;
        message = result == CROSSRANK_OK ? "" : crossrank_last_message();
        return static_cast<int64_t>(status);
    }

    template <class Load>
    int64_t load(Load load_into) {
        crossrank_model loaded{};
        keep(load_into(&loaded));
        if (status == CROSSRANK_OK) {
            crossrank_model_free(model);
            model = loaded;
        }
        return static_cast<int64_t>(status);
    }

    void rerank(const std::string &query, const std::vector<std::string> &documents, GDExtensionTypePtr array) {
        Ranking ranking;
        ranking.run(model, query, documents, options);
        give(ranking, array);
    }

    int64_t start(std::string query, std::vector<std::string> documents) {
        if (worker.joinable()) {
            status = CROSSRANK_ERR_ARGUMENT;
            message = "a ranking was started already: take() it first";
            return static_cast<int64_t>(status);
        }
        // Cancelling cannot be undone, so every ranking has its own cancel object.
        if (keep(crossrank_cancel_new(&cancel)) != CROSSRANK_OK) return static_cast<int64_t>(status);
        if (keep(crossrank_options_set_cancel(options, cancel)) != CROSSRANK_OK) return static_cast<int64_t>(status);
        running = true;
        worker = std::thread([this, query = std::move(query), documents = std::move(documents)] {
            started.run(model, query, documents, options);
            running = false;
        });
        return CROSSRANK_OK;
    }

    void finish() {
        if (!worker.joinable()) return;
        worker.join();
        crossrank_options_set_cancel(options, {});
        crossrank_cancel_free(cancel);
        cancel = {};
    }

    void take(GDExtensionTypePtr array) {
        finish();
        give(started, array);
        started = {};
    }

    void give(Ranking &ranking, GDExtensionTypePtr array) {
        status = ranking.status;
        message = ranking.message;
        for (auto &ranked : ranking.results) {
            Value dictionary(DICTIONARY);
            set_ranked(dictionary.get(), ranked);
            append(array, DICTIONARY, dictionary.get());
        }
    }

    void score(const std::vector<std::string> &queries, const std::vector<std::string> &documents,
               GDExtensionTypePtr array) {
        crossrank_info info{};
        info.size = sizeof info;
        if (keep(crossrank_model_info(model, &info)) != CROSSRANK_OK) return;
        if (queries.size() != documents.size()) {
            status = CROSSRANK_ERR_ARGUMENT;
            message = "there must be as many queries as documents";
            return;
        }
        auto left = views(queries), right = views(documents);
        std::vector<crossrank_ranked> details(left.size());
        std::vector<float> logits(left.size() * info.labels);
        std::vector<double> scores(logits.size());
        if (keep(crossrank_score(model, left.data(), right.data(), left.size(), options, logits.data(), scores.data(),
                                 logits.size(), details.data())) != CROSSRANK_OK)
            return;
        for (size_t i = 0; i < details.size(); i++) {
            Value dictionary(DICTIONARY), of_pair(ARRAY), scores_of_pair(ARRAY);
            for (size_t label = 0; label < info.labels; label++) {
                double logit = logits[i * info.labels + label];
                append(of_pair.get(), FLOAT, &logit);
                append(scores_of_pair.get(), FLOAT, &scores[i * info.labels + label]);
            }
            set_ranked(dictionary.get(), details[i]);
            set_item(dictionary.get(), "logits", ARRAY, of_pair.get());
            set_item(dictionary.get(), "scores", ARRAY, scores_of_pair.get());
            append(array, DICTIONARY, dictionary.get());
        }
    }

    void info(GDExtensionTypePtr dictionary) {
        crossrank_info info{};
        info.size = sizeof info;
        if (keep(crossrank_model_info(model, &info)) != CROSSRANK_OK) return;
        set_int(dictionary, "backend", info.backend);
        set_int(dictionary, "isa", info.isa);
        set_int(dictionary, "threads", info.threads);
        set_int(dictionary, "layers", info.layers);
        set_int(dictionary, "labels", info.labels);
        set_int(dictionary, "max_tokens", info.max_tokens);
        set_int(dictionary, "weight_bytes", static_cast<int64_t>(info.weight_bytes));
        set_float(dictionary, "load_ms", info.load_ms);
        set_int(dictionary, "precision", info.precision);
    }

    double progress() {
        size_t done = 0, total = 0;
        crossrank_cancel_progress(cancel, &done, &total);
        return total ? static_cast<double>(done) / static_cast<double>(total) : 0;
    }

    crossrank_model model{};
    crossrank_options options{};
    crossrank_cancel cancel{};
    crossrank_status status = CROSSRANK_OK;
    std::string message;
    std::thread worker;
    std::atomic<bool> running{false};
    // The worker's until it is joined.
    Ranking started;
};

#define BODY [](void *instance, const GDExtensionConstTypePtr *a, GDExtensionTypePtr result)
#define SELF (*static_cast<Reranker *>(instance))

int64_t integer(GDExtensionConstTypePtr value) { return *static_cast<const int64_t *>(value); }
double number(GDExtensionConstTypePtr value) { return *static_cast<const double *>(value); }
void set(GDExtensionTypePtr result, int64_t value) { *static_cast<int64_t *>(result) = value; }

// A method that sets one option of the C interface and returns the status.
#define OPTION(name, argument, type, read)                                                              \
    {                                                                                                   \
        "set_" #name, INT, {{argument, type}},                                                          \
            BODY { set(result, SELF.keep(crossrank_options_set_##name(SELF.options, read(a[0])))); }    \
    }
#define TO_SIZE(value) static_cast<size_t>(integer(value))
#define TO_INT32(value) static_cast<int32_t>(integer(value))
#define TO_UINT64(value) static_cast<uint64_t>(integer(value))
#define TO_BOOL(value) (*static_cast<const uint8_t *>(value) != 0)

const Method methods[] = {
    {"load", INT, {{"path_or_name", STRING}},
     BODY {
         auto path = utf8(a[0]);
         set(result, SELF.load([&](crossrank_model *to) {
             return crossrank_model_load(path.c_str(), SELF.options, to);
         }));
     }},
    {"load_bundled", INT, {},
     BODY {
         (void)a;
         set(result, SELF.load([&](crossrank_model *to) { return crossrank_model_load_bundled(SELF.options, to); }));
     }},
    {"load_memory", INT,
     {{"name", STRING}, {"config", BYTES}, {"tokenizer", BYTES}, {"tokenizer_config", BYTES}, {"weights", ARRAY}},
     BODY {
         auto name = utf8(a[0]);
         // The shards share the bytes of the array's elements: nothing is copied.
         auto shards = items(a[4], BYTES);
         std::vector<crossrank_str> weights;
         for (auto &shard : shards) weights.push_back(view(shard->get()));
         set(result, SELF.load([&](crossrank_model *to) {
             return crossrank_model_load_memory(name.c_str(), view(a[1]), view(a[2]), view(a[3]), weights.data(),
                                                weights.size(), SELF.options, to);
         }));
     }},
    {"rerank", ARRAY, {{"query", STRING}, {"documents", STRINGS}},
     BODY { SELF.rerank(utf8(a[0]), utf8s(a[1]), result); }},
    {"score", ARRAY, {{"queries", STRINGS}, {"documents", STRINGS}},
     BODY { SELF.score(utf8s(a[0]), utf8s(a[1]), result); }},
    {"start", INT, {{"query", STRING}, {"documents", STRINGS}},
     BODY { set(result, SELF.start(utf8(a[0]), utf8s(a[1]))); }},
    {"is_running", BOOL, {}, BODY { (void)a; *static_cast<uint8_t *>(result) = SELF.running; }},
    {"progress", FLOAT, {}, BODY { (void)a; *static_cast<double *>(result) = SELF.progress(); }},
    {"cancel", INT, {}, BODY { (void)a; set(result, SELF.keep(crossrank_cancel_trigger(SELF.cancel))); }},
    {"take", ARRAY, {}, BODY { (void)a; SELF.take(result); }},
    {"info", DICTIONARY, {}, BODY { (void)a; SELF.info(result); }},
    {"trim", INT, {}, BODY { (void)a; set(result, SELF.keep(crossrank_model_trim(SELF.model))); }},
    {"warmup", INT, {}, BODY { (void)a; set(result, SELF.keep(crossrank_model_warmup(SELF.model))); }},
    {"suspend", INT, {}, BODY { (void)a; set(result, SELF.keep(crossrank_model_suspend(SELF.model))); }},
    {"resume", INT, {}, BODY { (void)a; set(result, SELF.keep(crossrank_model_resume(SELF.model))); }},
    {"status", INT, {}, BODY { (void)a; set(result, static_cast<int64_t>(SELF.status)); }},
    {"message", STRING, {}, BODY { (void)a; set_string(result, SELF.message); }},
    {"version", STRING, {}, BODY { (void)a; (void)instance; set_string(result, crossrank_version()); }},
    OPTION(backend, "backend", INT, TO_INT32),
    OPTION(isa, "isa", INT, TO_INT32),
    OPTION(threads, "count", INT, TO_SIZE),
    OPTION(max_tokens, "tokens", INT, TO_SIZE),
    OPTION(memory_limit, "bytes", INT, TO_UINT64),
    OPTION(precision, "precision", INT, TO_INT32),
    OPTION(gpu_precision, "precision", INT, TO_INT32),
    OPTION(allow_software_gpu, "allow", BOOL, TO_BOOL),
    OPTION(truncation, "truncation", INT, TO_INT32),
    OPTION(windows, "count", INT, TO_SIZE),
    OPTION(window_overlap, "tokens", INT, TO_SIZE),
    OPTION(top_k, "count", INT, TO_SIZE),
    OPTION(threshold, "score", FLOAT, number),
    OPTION(label, "index", INT, TO_SIZE),
    {"set_prompt", INT, {{"text", STRING}},
     BODY {
         auto text = utf8(a[0]);
         set(result, SELF.keep(crossrank_options_set_prompt(SELF.options, view(text))));
     }},
    // An empty name for the model's default prompt.
    {"set_prompt_name", INT, {{"name", STRING}},
     BODY {
         auto name = utf8(a[0]);
         set(result, SELF.keep(crossrank_options_set_prompt_name(SELF.options, name.empty() ? nullptr : name.c_str())));
     }},
    OPTION(time_limit, "milliseconds", INT, TO_UINT64),
    OPTION(strict_utf8, "strict", BOOL, TO_BOOL),
};

constexpr const char *CLASS = "CrossrankReranker";

// Constants of the class, by enumeration.
const struct {
    const char *enumeration, *name;
    int64_t value;
} constants[] = {
    {"Status", "OK", CROSSRANK_OK},
    {"Status", "ERR_NULL", CROSSRANK_ERR_NULL},
    {"Status", "ERR_HANDLE", CROSSRANK_ERR_HANDLE},
    {"Status", "ERR_ARGUMENT", CROSSRANK_ERR_ARGUMENT},
    {"Status", "ERR_UTF8", CROSSRANK_ERR_UTF8},
    {"Status", "ERR_BUFFER", CROSSRANK_ERR_BUFFER},
    {"Status", "ERR_NOT_FOUND", CROSSRANK_ERR_NOT_FOUND},
    {"Status", "ERR_IO", CROSSRANK_ERR_IO},
    {"Status", "ERR_FORMAT", CROSSRANK_ERR_FORMAT},
    {"Status", "ERR_MISSING_TENSOR", CROSSRANK_ERR_MISSING_TENSOR},
    {"Status", "ERR_TENSOR_SHAPE", CROSSRANK_ERR_TENSOR_SHAPE},
    {"Status", "ERR_TENSOR_TYPE", CROSSRANK_ERR_TENSOR_TYPE},
    {"Status", "ERR_UNSUPPORTED", CROSSRANK_ERR_UNSUPPORTED},
    {"Status", "ERR_MEMORY_LIMIT", CROSSRANK_ERR_MEMORY_LIMIT},
    {"Status", "ERR_OUT_OF_MEMORY", CROSSRANK_ERR_OUT_OF_MEMORY},
    {"Status", "ERR_TOO_LONG", CROSSRANK_ERR_TOO_LONG},
    {"Status", "ERR_NON_FINITE", CROSSRANK_ERR_NON_FINITE},
    {"Status", "ERR_SEVERAL_LABELS", CROSSRANK_ERR_SEVERAL_LABELS},
    {"Status", "ERR_CANCELLED", CROSSRANK_ERR_CANCELLED},
    {"Status", "ERR_NOT_SCORED", CROSSRANK_ERR_NOT_SCORED},
    {"Status", "ERR_GPU", CROSSRANK_ERR_GPU},
    {"Status", "ERR_INTERNAL", CROSSRANK_ERR_INTERNAL},
    {"Backend", "BACKEND_AUTO", CROSSRANK_BACKEND_AUTO},
    {"Backend", "BACKEND_CPU", CROSSRANK_BACKEND_CPU},
    {"Backend", "BACKEND_REFERENCE", CROSSRANK_BACKEND_REFERENCE},
    {"Backend", "BACKEND_GPU", CROSSRANK_BACKEND_GPU},
    {"Precision", "PRECISION_AUTO", CROSSRANK_PRECISION_AUTO},
    {"Precision", "PRECISION_F32", CROSSRANK_PRECISION_F32},
    {"Precision", "PRECISION_F16_WEIGHTS", CROSSRANK_PRECISION_F16_WEIGHTS},
    {"Precision", "PRECISION_INT8", CROSSRANK_PRECISION_INT8},
    {"GpuPrecision", "GPU_PRECISION_F32", CROSSRANK_GPU_PRECISION_F32},
    {"GpuPrecision", "GPU_PRECISION_F16", CROSSRANK_GPU_PRECISION_F16},
    {"Isa", "ISA_AUTO", CROSSRANK_ISA_AUTO},
    {"Isa", "ISA_SCALAR", CROSSRANK_ISA_SCALAR},
    {"Isa", "ISA_NEON", CROSSRANK_ISA_NEON},
    {"Isa", "ISA_AVX2", CROSSRANK_ISA_AVX2},
    {"Isa", "ISA_AVX512", CROSSRANK_ISA_AVX512},
    {"Truncation", "TRUNCATION_DEFAULT", CROSSRANK_TRUNCATION_DEFAULT},
    {"Truncation", "TRUNCATION_LONGEST_FIRST", CROSSRANK_TRUNCATION_LONGEST_FIRST},
    {"Truncation", "TRUNCATION_DOCUMENT_ONLY", CROSSRANK_TRUNCATION_DOCUMENT_ONLY},
    {"Truncation", "TRUNCATION_ERROR", CROSSRANK_TRUNCATION_ERROR},
};

GDExtensionObjectPtr create(void *) {
    Name parent("RefCounted"), name(CLASS);
    auto object = godot.classdb_construct_object(parent.get());
    godot.object_set_instance(object, name.get(), new Reranker);
    return object;
}

void free_instance(void *, GDExtensionClassInstancePtr instance) { delete static_cast<Reranker *>(instance); }

void initialize(void *library, GDExtensionInitializationLevel level) {
    if (level != GDEXTENSION_INITIALIZATION_SCENE) return;
    Name name(CLASS), parent("RefCounted");
    GDExtensionClassCreationInfo2 info{};
    info.is_exposed = true;
    info.create_instance_func = create;
    info.free_instance_func = free_instance;
    godot.classdb_register_extension_class2(library, name.get(), parent.get(), &info);
    for (auto &method : methods) register_method(library, CLASS, method);
    for (auto &constant : constants) {
        Name enumeration(constant.enumeration), key(constant.name);
        godot.classdb_register_extension_class_integer_constant(library, name.get(), enumeration.get(), key.get(),
                                                                constant.value, false);
    }
}

void deinitialize(void *library, GDExtensionInitializationLevel level) {
    if (level != GDEXTENSION_INITIALIZATION_SCENE) return;
    Name name(CLASS);
    godot.classdb_unregister_extension_class(library, name.get());
}

}  // namespace

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

extern "C" EXPORT GDExtensionBool crossrank_godot_init(GDExtensionInterfaceGetProcAddress get,
                                                       GDExtensionClassLibraryPtr library,
                                                       GDExtensionInitialization *out) {
    // Before anything else: no other function of a library with another binary interface may be called.
    if (const uint32_t found = crossrank_abi(); found != CROSSRANK_ABI) {
        const std::string message = "the crossrank library has binary interface " + std::to_string(found) +
                                    ", but this extension was compiled for " + std::to_string(CROSSRANK_ABI) +
                                    ": use library and extension of one version";
        auto print_error = reinterpret_cast<GDExtensionInterfacePrintError>(get("print_error"));
        if (print_error) print_error(message.c_str(), __func__, __FILE__, __LINE__, true);
        return false;
    }
    if (!find_functions(get)) return false;
    out->minimum_initialization_level = GDEXTENSION_INITIALIZATION_SCENE;
    out->userdata = library;
    out->initialize = initialize;
    out->deinitialize = deinitialize;
    return true;
}
