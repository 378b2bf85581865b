#include "CrossrankReranker.h"

#include "crossrank.h"

namespace
{
	/** The outcome of a call. Must follow it directly: the message is that of this thread's last failure. */
	FCrossrankResult Result(crossrank_status Status)
	{
		FCrossrankResult Out;
		Out.Status = static_cast<ECrossrankStatus>(Status);
		if (Status != CROSSRANK_OK)
		{
			Out.Message = UTF8_TO_TCHAR(crossrank_last_message());
		}
		return Out;
	}

	/**
	 * An error if the library's binary interface is not the one of the crossrank.h that this file was compiled with: then no
	 * other function may be called.
	 */
	FCrossrankResult CheckAbi()
	{
		FCrossrankResult Out;
		const uint32 Found = crossrank_abi();
		if (Found != CROSSRANK_ABI)
		{
			Out.Status = ECrossrankStatus::Unsupported;
			Out.Message = FString::Printf(TEXT("the crossrank library has binary interface %u, but crossrank.h is for %u: "
				"use library and header of one version"), Found, static_cast<uint32>(CROSSRANK_ABI));
		}
		return Out;
	}

	/** Strings as UTF-8, one after another, and their places. */
	struct FTexts
	{
		explicit FTexts(TArrayView<const FString> Texts)
		{
			TArray<int32> Lengths;
			for (const FString& Text : Texts)
			{
				FTCHARToUTF8 Converted(*Text, Text.Len());
				Bytes.Append(reinterpret_cast<const char*>(Converted.Get()), Converted.Length());
				Lengths.Add(Converted.Length());
			}
			int32 Start = 0;
			for (int32 Length : Lengths)
			{
				Items.Add(crossrank_str{ Bytes.GetData() + Start, static_cast<size_t>(Length) });
				Start += Length;
			}
		}

		TArray<char> Bytes;
		TArray<crossrank_str> Items;
	};

	crossrank_str View(TArrayView<const uint8> Bytes)
	{
		return { reinterpret_cast<const char*>(Bytes.GetData()), static_cast<size_t>(Bytes.Num()) };
	}

	/** An options object for one call. The failure of the first setter that fails is the outcome of the call. */
	class FOptions
	{
	public:
		FOptions() : Outcome(CheckAbi())
		{
			if (Outcome.IsOk())
			{
				Keep(crossrank_options_new(&Handle));
			}
		}

		~FOptions()
		{
			if (Handle.id != 0)
			{
				crossrank_options_free(Handle);
			}
		}

		FOptions(const FOptions&) = delete;

		void Keep(crossrank_status Status)
		{
			if (Outcome.IsOk())
			{
				Outcome = Result(Status);
			}
		}

		crossrank_options Handle{};
		FCrossrankResult Outcome;
	};

	void Set(FOptions& To, const FCrossrankLoadOptions& From)
	{
		if (!To.Outcome.IsOk())
		{
			return;
		}
		if (From.Threads.IsSet())
		{
			To.Keep(crossrank_options_set_threads(To.Handle, static_cast<size_t>(From.Threads.GetValue())));
		}
		if (From.MaxTokens.IsSet())
		{
			To.Keep(crossrank_options_set_max_tokens(To.Handle, static_cast<size_t>(From.MaxTokens.GetValue())));
		}
		if (From.MemoryLimitBytes.IsSet())
		{
			To.Keep(crossrank_options_set_memory_limit(To.Handle, From.MemoryLimitBytes.GetValue()));
		}
		if (From.Precision.IsSet())
		{
			To.Keep(crossrank_options_set_precision(To.Handle, static_cast<int32>(From.Precision.GetValue())));
		}
	}

	void Set(FOptions& To, const FCrossrankOptions& From, uint64 Cancel)
	{
		if (!To.Outcome.IsOk())
		{
			return;
		}
		if (From.Windows.IsSet())
		{
			To.Keep(crossrank_options_set_windows(To.Handle, static_cast<size_t>(From.Windows.GetValue())));
		}
		if (From.WindowOverlap.IsSet())
		{
			To.Keep(crossrank_options_set_window_overlap(To.Handle, static_cast<size_t>(From.WindowOverlap.GetValue())));
		}
		if (From.TopK.IsSet())
		{
			To.Keep(crossrank_options_set_top_k(To.Handle, static_cast<size_t>(From.TopK.GetValue())));
		}
		if (From.Threshold.IsSet())
		{
			To.Keep(crossrank_options_set_threshold(To.Handle, From.Threshold.GetValue()));
		}
		if (From.Label.IsSet())
		{
			To.Keep(crossrank_options_set_label(To.Handle, static_cast<size_t>(From.Label.GetValue())));
		}
		if (From.TimeLimitMilliseconds.IsSet())
		{
			To.Keep(crossrank_options_set_time_limit(To.Handle, From.TimeLimitMilliseconds.GetValue()));
		}
		if (From.MaxTokens.IsSet())
		{
			To.Keep(crossrank_options_set_max_tokens(To.Handle, static_cast<size_t>(From.MaxTokens.GetValue())));
		}
		if (From.Prompt.IsSet())
		{
			const FTexts Prompt(TArrayView<const FString>(&From.Prompt.GetValue(), 1));
			To.Keep(crossrank_options_set_prompt(To.Handle, Prompt.Items[0]));
		}
		if (From.PromptName.IsSet())
		{
			To.Keep(crossrank_options_set_prompt_name(To.Handle, TCHAR_TO_UTF8(*From.PromptName.GetValue())));
		}
		To.Keep(crossrank_options_set_cancel(To.Handle, crossrank_cancel{ Cancel }));
	}
}

FCrossrankCancel::FCrossrankCancel()
{
	crossrank_cancel Made{};
	// Without a handle, calls that are given this object report the error.
	if (CheckAbi().IsOk() && crossrank_cancel_new(&Made) == CROSSRANK_OK)
	{
		Id = Made.id;
	}
}

FCrossrankCancel::~FCrossrankCancel()
{
	if (Id != 0)
	{
		crossrank_cancel_free({ Id });
	}
}

void FCrossrankCancel::Trigger() const
{
	crossrank_cancel_trigger({ Id });
}

void FCrossrankCancel::Progress(uint64& OutDone, uint64& OutTotal) const
{
	size_t Done = 0;
	size_t Total = 0;
	crossrank_cancel_progress({ Id }, &Done, &Total);
	OutDone = Done;
	OutTotal = Total;
}

FCrossrankReranker::~FCrossrankReranker()
{
	if (Id != 0)
	{
		crossrank_model_free({ Id });
	}
}

FCrossrankResult FCrossrankReranker::Replace(int32 Status, uint64 Loaded)
{
	FCrossrankResult Out = Result(static_cast<crossrank_status>(Status));
	if (Out.IsOk())
	{
		crossrank_model_free({ Id });
		Id = Loaded;
	}
	return Out;
}

FCrossrankResult FCrossrankReranker::Load(const FString& PathOrName, const FCrossrankLoadOptions& Options)
{
	FOptions Native;
	Set(Native, Options);
	if (!Native.Outcome.IsOk())
	{
		return Native.Outcome;
	}
	crossrank_model Loaded{};
	const crossrank_status Status = crossrank_model_load(TCHAR_TO_UTF8(*PathOrName), Native.Handle, &Loaded);
	return Replace(Status, Loaded.id);
}

FCrossrankResult FCrossrankReranker::LoadMemory(const FString& Name, TArrayView<const uint8> Config,
	TArrayView<const uint8> Tokenizer, TArrayView<const uint8> TokenizerConfig, TArrayView<const uint8> Weights,
	const FCrossrankLoadOptions& Options)
{
	FOptions Native;
	Set(Native, Options);
	if (!Native.Outcome.IsOk())
	{
		return Native.Outcome;
	}
	const crossrank_str Shard = View(Weights);
	crossrank_model Loaded{};
	const crossrank_status Status = crossrank_model_load_memory(TCHAR_TO_UTF8(*Name), View(Config), View(Tokenizer),
		View(TokenizerConfig), &Shard, 1, Native.Handle, &Loaded);
	return Replace(Status, Loaded.id);
}

FCrossrankResult FCrossrankReranker::Rerank(const FString& Query, TArrayView<const FString> Documents,
	TArray<FCrossrankRanked>& OutRanked, const FCrossrankOptions& Options) const
{
	OutRanked.Reset();
	FOptions Native;
	Set(Native, Options, Options.Cancel ? Options.Cancel->Id : 0);
	if (!Native.Outcome.IsOk())
	{
		return Native.Outcome;
	}
	const FTexts QueryText(TArrayView<const FString>(&Query, 1));
	const FTexts Texts(Documents);
	TArray<crossrank_ranked> Ranked;
	Ranked.SetNumZeroed(Documents.Num());
	size_t Found = 0;
	const FCrossrankResult Out = Result(crossrank_rerank({ Id }, QueryText.Items[0], Texts.Items.GetData(),
		static_cast<size_t>(Texts.Items.Num()), Native.Handle, Ranked.GetData(), static_cast<size_t>(Ranked.Num()),
		&Found));
	for (int32 i = 0; i < static_cast<int32>(Found); i++)
	{
		FCrossrankRanked To;
		To.Status = static_cast<ECrossrankStatus>(Ranked[i].status);
		To.Index = static_cast<int32>(Ranked[i].index);
		To.Score = Ranked[i].score;
		To.Logit = Ranked[i].logit;
		To.Tokens = Ranked[i].tokens;
		To.QueryCut = Ranked[i].query_cut;
		To.DocumentCut = Ranked[i].document_cut;
		To.WindowStart = Ranked[i].window_start;
		To.WindowEnd = Ranked[i].window_end;
		OutRanked.Add(To);
	}
	return Out;
}

FCrossrankResult FCrossrankReranker::Trim() const
{
	return Result(crossrank_model_trim({ Id }));
}

FCrossrankResult FCrossrankReranker::Suspend() const
{
	return Result(crossrank_model_suspend({ Id }));
}

FCrossrankResult FCrossrankReranker::Resume() const
{
	return Result(crossrank_model_resume({ Id }));
}
