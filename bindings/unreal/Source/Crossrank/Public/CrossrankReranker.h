// crossrank for Unreal: a plain C++ wrapper over include/crossrank.h in the engine's types.
#pragma once

#include "CoreMinimal.h"

/** What a call returned: the statuses of crossrank.h, which documents them. */
enum class ECrossrankStatus : int32
{
	Ok = 0,
	Null = 1, // CROSSRANK_ERR_NULL
	Handle = 2, // CROSSRANK_ERR_HANDLE
	Argument = 3, // CROSSRANK_ERR_ARGUMENT
	Utf8 = 4, // CROSSRANK_ERR_UTF8
	Buffer = 5, // CROSSRANK_ERR_BUFFER
	NotFound = 20, // CROSSRANK_ERR_NOT_FOUND
	Io = 21, // CROSSRANK_ERR_IO
	Format = 22, // CROSSRANK_ERR_FORMAT
	MissingTensor = 23, // CROSSRANK_ERR_MISSING_TENSOR
	TensorShape = 24, // CROSSRANK_ERR_TENSOR_SHAPE
	TensorType = 25, // CROSSRANK_ERR_TENSOR_TYPE
	Unsupported = 26, // CROSSRANK_ERR_UNSUPPORTED
	MemoryLimit = 40, // CROSSRANK_ERR_MEMORY_LIMIT
	OutOfMemory = 41, // CROSSRANK_ERR_OUT_OF_MEMORY
	TooLong = 60, // CROSSRANK_ERR_TOO_LONG
	NonFinite = 61, // CROSSRANK_ERR_NON_FINITE
	SeveralLabels = 62, // CROSSRANK_ERR_SEVERAL_LABELS
	Cancelled = 63, // CROSSRANK_ERR_CANCELLED
	NotScored = 64, // CROSSRANK_ERR_NOT_SCORED
	Gpu = 80, // CROSSRANK_ERR_GPU
	Internal = 90, // CROSSRANK_ERR_INTERNAL
};

/** The type of the weights on the CPU: CROSSRANK_PRECISION_ of crossrank.h, which documents the values. */
enum class ECrossrankPrecision : int32
{
	Auto = 0,
	F32 = 1,
	F16Weights = 2,
	Int8 = 3,
};

/** The outcome of a call. The message is for people; programs decide by the status. */
struct FCrossrankResult
{
	ECrossrankStatus Status = ECrossrankStatus::Ok;
	FString Message;

	bool IsOk() const { return Status == ECrossrankStatus::Ok; }
};

/** One document with its score: crossrank_ranked, which documents the fields. */
struct FCrossrankRanked
{
	ECrossrankStatus Status = ECrossrankStatus::Ok;
	int32 Index = 0;
	double Score = 0;
	float Logit = 0;
	uint32 Tokens = 0;
	uint32 QueryCut = 0;
	uint32 DocumentCut = 0;
	/** The UTF-8 bytes of the document that the score is for, with FCrossrankOptions::Windows. */
	uint64 WindowStart = 0;
	uint64 WindowEnd = 0;
};

/** Options of a load. Unset ones keep the defaults of crossrank.h. */
struct FCrossrankLoadOptions
{
	TOptional<int32> Threads;
	TOptional<int32> MaxTokens;
	TOptional<uint64> MemoryLimitBytes;
	TOptional<ECrossrankPrecision> Precision;
};

/** Options of a call. Unset ones keep the defaults of crossrank.h. */
struct FCrossrankOptions
{
	TOptional<int32> TopK;
	TOptional<int32> Windows;
	TOptional<int32> WindowOverlap;
	TOptional<double> Threshold;
	TOptional<int32> Label;
	TOptional<uint64> TimeLimitMilliseconds;
	TOptional<int32> MaxTokens;
	/** Read before the query; an empty one switches off the model's default prompt. */
	TOptional<FString> Prompt;
	/** The name of one of the model's own prompts. */
	TOptional<FString> PromptName;
	/** Must outlive the call. */
	const class FCrossrankCancel* Cancel = nullptr;
};

/** Cancels the calls whose options hold it, and shows their progress. Any thread. */
class CROSSRANK_API FCrossrankCancel
{
public:
	FCrossrankCancel();
	~FCrossrankCancel();
	FCrossrankCancel(const FCrossrankCancel&) = delete;
	FCrossrankCancel& operator=(const FCrossrankCancel&) = delete;

	/** Cancels the running calls and all later ones. It cannot be undone. */
	void Trigger() const;

	/** Pairs that the running call has scored, and its number of pairs. Poll it, for example once per tick. */
	void Progress(uint64& OutDone, uint64& OutTotal) const;

private:
	friend class FCrossrankReranker;
	uint64 Id = 0;
};

/**
 * A loaded cross-encoder. Immutable; any number of threads may use it at once. Calls block: make them on a background
 * thread (AsyncTask, UE::Tasks::Launch) and poll an FCrossrankCancel.
 */
class CROSSRANK_API FCrossrankReranker
{
public:
	FCrossrankReranker() = default;
	~FCrossrankReranker();
	FCrossrankReranker(const FCrossrankReranker&) = delete;
	FCrossrankReranker& operator=(const FCrossrankReranker&) = delete;

	/** Loads a directory in Hugging Face layout, or a model by name. Replaces the model that was loaded before. */
	FCrossrankResult Load(const FString& PathOrName, const FCrossrankLoadOptions& Options = {});

	/**
	 * Loads a model from the contents of its files, for example from a pak with FFileHelper::LoadFileToArray. TokenizerConfig may
	 * be empty.
	 */
	FCrossrankResult LoadMemory(const FString& Name, TArrayView<const uint8> Config, TArrayView<const uint8> Tokenizer,
		TArrayView<const uint8> TokenizerConfig, TArrayView<const uint8> Weights,
		const FCrossrankLoadOptions& Options = {});

	/** Ranks documents by relevance to the query, best first and ties in input order. */
	FCrossrankResult Rerank(const FString& Query, TArrayView<const FString> Documents, TArray<FCrossrankRanked>& OutRanked,
		const FCrossrankOptions& Options = {}) const;

	/** Frees work space that no call uses, for example on FCoreDelegates::GetMemoryTrimDelegate. */
	FCrossrankResult Trim() const;
	/** Releases the GPU, for example when the application goes to the background. */
	FCrossrankResult Suspend() const;
	/** Opens the GPU again. */
	FCrossrankResult Resume() const;

private:
	FCrossrankResult Replace(int32 Status, uint64 Loaded);
	uint64 Id = 0;
};
