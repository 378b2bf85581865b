// Runs the wrapper, over stand-ins for the engine's types, against the library: main <model folder>
// With a library of another binary interface: main --abi
#include <cstdio>
#include <fstream>
#include <iterator>

#include "CrossrankReranker.h"

static int passed, failed;

static void check(bool condition, const char *what) {
    (condition ? passed : failed)++;
    if (!condition) std::printf("failed: %s\n", what);
}

static TArray<uint8> file(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    TArray<uint8> out;
    out.Append(reinterpret_cast<const uint8 *>(bytes.data()), static_cast<int32>(bytes.size()));
    return out;
}

// Everything that would call a library of another binary interface is refused with a clear message.
static void another_abi_is_refused() {
    const std::u16string expected = u"binary interface";
    auto refused = [&](const FCrossrankResult &result) {
        return result.Status == ECrossrankStatus::Unsupported &&
               std::u16string(*result.Message).find(expected) != std::u16string::npos;
    };
    FCrossrankReranker reranker;
    FCrossrankCancel cancel;
    TArray<FString> documents;
    TArray<FCrossrankRanked> ranked;
    FCrossrankOptions options;
    options.Cancel = &cancel;
    options.TopK = 1;
    check(refused(reranker.Load(TEXT("model"))), "a load with another binary interface is refused");
    check(refused(reranker.LoadMemory(TEXT("model"), TArray<uint8>(), TArray<uint8>(), TArray<uint8>(), TArray<uint8>())),
          "a load from memory with another binary interface is refused");
    check(refused(reranker.Rerank(TEXT("query"), documents, ranked, options)),
          "a ranking with another binary interface is refused");
}

int main(int, char **arguments) {
    const std::string folder = arguments[1];
    if (folder == "--abi") {
        another_abi_is_refused();
        std::printf("%d passed, %d failed\n", passed, failed);
        return failed ? 1 : 0;
    }
    const FString path(std::u16string(folder.begin(), folder.end()).c_str());

    FCrossrankReranker reranker;
    TArray<FCrossrankRanked> ranked;
    TArray<FString> documents;
    documents.Add(TEXT("Bananas are yellow."));
    documents.Add(FString());
    documents.Add(TEXT("Paris is the capital of France, \u00e9\u4e16\U0001f600."));

    FCrossrankResult result = reranker.Rerank(TEXT("capital of France"), documents, ranked);
    check(result.Status == ECrossrankStatus::Handle && result.Message.Len() > 0, "a call before loading is an error");
    result = reranker.Load(TEXT("no/such/model"));
    check(result.Status == ECrossrankStatus::NotFound && result.Message.Len() > 0, "a missing model is an error");
    FCrossrankLoadOptions load;
    load.Threads = 0;
    check(reranker.Load(path, load).Status == ECrossrankStatus::Argument, "no threads are an error");
    load.Threads = 1;
    check(reranker.Load(path, load).IsOk(), "a model loads from its folder");

    check(reranker.Rerank(TEXT("capital of France"), documents, ranked).IsOk(), "documents are ranked");
    check(ranked.Num() == 3, "every document is in the ranking");
    bool sorted = true, seen[3] = {};
    for (int32 i = 0; i < ranked.Num(); i++) {
        seen[ranked[i].Index] = true;
        sorted = sorted && (i == 0 || ranked[i - 1].Logit >= ranked[i].Logit) && ranked[i].Tokens > 3;
    }
    check(sorted && seen[0] && seen[1] && seen[2], "the ranking is sorted and complete");

    FCrossrankReranker from_memory;
    check(from_memory.LoadMemory(TEXT("memory"), file(folder + "/config.json"), file(folder + "/tokenizer.json"),
                                 file(folder + "/tokenizer_config.json"), file(folder + "/model.safetensors"), load)
              .IsOk(),
          "a model loads from memory");
    TArray<FCrossrankRanked> again;
    check(from_memory.Rerank(TEXT("capital of France"), documents, again).IsOk(), "and ranks");
    check(again.Num() == 3 && again[0].Index == ranked[0].Index && again[0].Logit == ranked[0].Logit,
          "both models agree");

    FCrossrankReranker int8;
    load.Precision = static_cast<ECrossrankPrecision>(9);
    check(int8.Load(path, load).Status == ECrossrankStatus::Argument, "a precision that there is not is an error");
    load.Precision = ECrossrankPrecision::Int8;
    check(int8.Load(path, load).IsOk() && int8.Rerank(TEXT("capital of France"), documents, again).IsOk(),
          "a model of 8-bit integers loads and ranks");
    check(again[0].Index == ranked[0].Index && again[0].Logit != ranked[0].Logit, "with the same winner, rounded");

    FCrossrankOptions options;
    options.TopK = 1;
    FCrossrankCancel cancel;
    options.Cancel = &cancel;
    check(reranker.Rerank(TEXT("capital of France"), documents, again, options).IsOk() && again.Num() == 1,
          "top_k cuts the ranking");
    FCrossrankOptions prompted;
    prompted.Prompt = FString(TEXT("capital "));
    TArray<FCrossrankRanked> whole;
    check(reranker.Rerank(TEXT("of France"), documents, again, prompted).IsOk() && again.Num() == 3 &&
              again[0].Logit == ranked[0].Logit && again[2].Logit == ranked[2].Logit,
          "a prompt goes before the query");
    prompted.Prompt = FString();
    prompted.PromptName = FString(TEXT("web"));
    check(reranker.Rerank(TEXT("capital of France"), documents, whole, prompted).IsOk() &&
              whole[0].Logit == ranked[0].Logit,
          "an empty prompt changes nothing");
    FCrossrankOptions named;
    named.PromptName = FString(TEXT("web"));
    check(reranker.Rerank(TEXT("capital of France"), documents, whole, named).Status == ECrossrankStatus::Argument,
          "a prompt that the model does not have is an error");
    uint64 done = 0, total = 0;
    cancel.Progress(done, total);
    check(done == 3 && total == 3, "progress counts every pair");
    cancel.Trigger();
    check(reranker.Rerank(TEXT("capital of France"), documents, again, options).Status == ECrossrankStatus::Cancelled &&
              again.Num() == 0,
          "a triggered cancel stops the call");
    check(reranker.Trim().IsOk(), "a model is trimmed");
    check(reranker.Suspend().IsOk() && reranker.Resume().IsOk(), "a model lets go of the GPU and takes it back");

    std::printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
