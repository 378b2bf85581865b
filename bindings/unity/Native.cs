// Generated from include/crossrank.h by the test `header`: do not edit. What each function does is said there.
using System;
using System.Runtime.InteropServices;

// Fields that only the library writes, or that are not used.
#pragma warning disable 169, 649

namespace Crossrank
{
    /// <summary>What a call returns. 0 is success. Codes are grouped, with gaps between the groups, and a code never changes its meaning.</summary>
    public enum Status
    {
        /// <summary>Success.</summary>
        Ok = 0, // CROSSRANK_OK
        /// <summary>A pointer that must not be NULL is NULL.</summary>
        Null = 1, // CROSSRANK_ERR_NULL
        /// <summary>A handle is null, stale, freed, forged or of another kind.</summary>
        Handle = 2, // CROSSRANK_ERR_HANDLE
        /// <summary>An argument or option has a value that is not allowed here.</summary>
        Argument = 3, // CROSSRANK_ERR_ARGUMENT
        /// <summary>A text is not UTF-8, and crossrank_options_set_strict_utf8 or the kind of text does not allow that.</summary>
        Utf8 = 4, // CROSSRANK_ERR_UTF8
        /// <summary>The caller's memory is too small. No result was written.</summary>
        Buffer = 5, // CROSSRANK_ERR_BUFFER
        /// <summary>There is no model with that name or path.</summary>
        NotFound = 20, // CROSSRANK_ERR_NOT_FOUND
        /// <summary>The operating system could not read a file.</summary>
        Io = 21, // CROSSRANK_ERR_IO
        /// <summary>A file is malformed.</summary>
        Format = 22, // CROSSRANK_ERR_FORMAT
        /// <summary>A tensor is missing from the checkpoint.</summary>
        MissingTensor = 23, // CROSSRANK_ERR_MISSING_TENSOR
        /// <summary>A tensor has the wrong shape.</summary>
        TensorShape = 24, // CROSSRANK_ERR_TENSOR_SHAPE
        /// <summary>A tensor is stored in a type that is not supported.</summary>
        TensorType = 25, // CROSSRANK_ERR_TENSOR_TYPE
        /// <summary>The model is well-formed, or the feature exists, but this build does not support it.</summary>
        Unsupported = 26, // CROSSRANK_ERR_UNSUPPORTED
        /// <summary>The model would need more memory than the options allow.</summary>
        MemoryLimit = 40, // CROSSRANK_ERR_MEMORY_LIMIT
        /// <summary>The operating system refused memory.</summary>
        OutOfMemory = 41, // CROSSRANK_ERR_OUT_OF_MEMORY
        /// <summary>A pair is longer than the window, and truncation is CROSSRANK_TRUNCATION_ERROR.</summary>
        TooLong = 60, // CROSSRANK_ERR_TOO_LONG
        /// <summary>The model computed NaN or infinity for a pair.</summary>
        NonFinite = 61, // CROSSRANK_ERR_NON_FINITE
        /// <summary>crossrank_rerank needs one score per pair, the model has several labels, and none was chosen.</summary>
        SeveralLabels = 62, // CROSSRANK_ERR_SEVERAL_LABELS
        /// <summary>The call was cancelled.</summary>
        Cancelled = 63, // CROSSRANK_ERR_CANCELLED
        /// <summary>The time limit passed before this pair was scored.</summary>
        NotScored = 64, // CROSSRANK_ERR_NOT_SCORED
        /// <summary>The GPU or its driver failed. The model computes on the CPU until its device is opened again.</summary>
        Gpu = 80, // CROSSRANK_ERR_GPU
        /// <summary>A defect of this library was caught: please report it.</summary>
        Internal = 90, // CROSSRANK_ERR_INTERNAL
    }

    /// <summary>Values of CROSSRANK_LOG_ in crossrank.h.</summary>
    public enum LogLevel
    {
        /// <summary>Log level: information for developers.</summary>
        Info = 1, // CROSSRANK_LOG_INFO
        /// <summary>Log level: something unexpected that is not an error.</summary>
        Warning = 2, // CROSSRANK_LOG_WARNING
    }

    /// <summary>Values of CROSSRANK_TEXT_ in crossrank.h.</summary>
    public enum TextKind
    {
        /// <summary>Text of crossrank_model_text: the name or path that the model was loaded by.</summary>
        Name = 0, // CROSSRANK_TEXT_NAME
        /// <summary>Text of crossrank_model_text: the architecture as config.json names it.</summary>
        Architecture = 1, // CROSSRANK_TEXT_ARCHITECTURE
        /// <summary>Text of crossrank_model_text: the activation function that turns logits into scores.</summary>
        Activation = 2, // CROSSRANK_TEXT_ACTIVATION
        /// <summary>Text of crossrank_model_text: the name of output `index`.</summary>
        Label = 3, // CROSSRANK_TEXT_LABEL
        /// <summary>Text of crossrank_model_text: the GPU that computes; empty on the CPU.</summary>
        Adapter = 4, // CROSSRANK_TEXT_ADAPTER
        /// <summary>Text of crossrank_model_text: the set of shaders that runs on the GPU, `f32`, `f16` or `cooperative`; empty on the CPU.</summary>
        Tier = 5, // CROSSRANK_TEXT_TIER
        /// <summary>Text of crossrank_model_text: the name of prompt `index`, for crossrank_options_set_prompt_name. CROSSRANK_ERR_ARGUMENT is returned for an index after the last.</summary>
        PromptName = 6, // CROSSRANK_TEXT_PROMPT_NAME
        /// <summary>Text of crossrank_model_text: the name of the prompt that calls without one get; empty if there is none.</summary>
        DefaultPromptName = 7, // CROSSRANK_TEXT_DEFAULT_PROMPT_NAME
    }

    /// <summary>Values of CROSSRANK_BACKEND_ in crossrank.h.</summary>
    public enum Backend
    {
        /// <summary>Backend: the fastest that this machine has.</summary>
        Auto = 0, // CROSSRANK_BACKEND_AUTO
        /// <summary>Backend: SIMD kernels on the CPU.</summary>
        Cpu = 1, // CROSSRANK_BACKEND_CPU
        /// <summary>Backend: the reference implementation, plain float64 loops. Slow; for comparison.</summary>
        Reference = 2, // CROSSRANK_BACKEND_REFERENCE
        /// <summary>Backend: shaders on a GPU, in libraries that were built with GPU support. A call whose GPU fails is finished on the CPU, and its usage says so.</summary>
        Gpu = 3, // CROSSRANK_BACKEND_GPU
    }

    /// <summary>Values of CROSSRANK_PRECISION_ in crossrank.h.</summary>
    public enum Precision
    {
        /// <summary>Precision: the type that the model's files store.</summary>
        Auto = 0, // CROSSRANK_PRECISION_AUTO
        /// <summary>Precision: float32, 4 bytes per weight.</summary>
        F32 = 1, // CROSSRANK_PRECISION_F32
        /// <summary>Precision: float16, or bfloat16 where the files store that: 2 bytes per weight, and for such files the same bits in every score as F32. Rounding float32 files moves logits by about 1e-3.</summary>
        F16Weights = 2, // CROSSRANK_PRECISION_F16_WEIGHTS
        /// <summary>Precision: 8-bit integers with one float32 scale per output feature: 1 byte per weight, two to three times as fast as float32, and logits move by a few hundredths of their spread. Not for the GPU.</summary>
        Int8 = 3, // CROSSRANK_PRECISION_INT8
    }

    /// <summary>Values of CROSSRANK_GPU_PRECISION_ in crossrank.h.</summary>
    public enum GpuPrecision
    {
        /// <summary>GPU precision: float32, with logits within 1e-4 of float64.</summary>
        F32 = 0, // CROSSRANK_GPU_PRECISION_F32
        /// <summary>GPU precision: float16, with cooperative matrices where the GPU has them: faster, half the memory for weights, and logits within 5e-3 of float64.</summary>
        F16 = 1, // CROSSRANK_GPU_PRECISION_F16
    }

    /// <summary>Values of CROSSRANK_ISA_ in crossrank.h.</summary>
    public enum Isa
    {
        /// <summary>Instruction set: the best that this machine has; in results of the reference backend, none.</summary>
        Auto = 0, // CROSSRANK_ISA_AUTO
        /// <summary>Instruction set: portable code without SIMD instructions.</summary>
        Scalar = 1, // CROSSRANK_ISA_SCALAR
        /// <summary>Instruction set: 64-bit Arm with NEON.</summary>
        Neon = 2, // CROSSRANK_ISA_NEON
        /// <summary>Instruction set: x86-64 with AVX2 and FMA.</summary>
        Avx2 = 3, // CROSSRANK_ISA_AVX2
        /// <summary>Instruction set: x86-64 with AVX-512.</summary>
        Avx512 = 4, // CROSSRANK_ISA_AVX512
    }

    /// <summary>Values of CROSSRANK_TRUNCATION_ in crossrank.h.</summary>
    public enum Truncation
    {
        /// <summary>Truncation: DOCUMENT_ONLY in crossrank_rerank, LONGEST_FIRST in crossrank_score.</summary>
        Default = 0, // CROSSRANK_TRUNCATION_DEFAULT
        /// <summary>Truncation: cut the longer of query and document first, as Hugging Face does.</summary>
        LongestFirst = 1, // CROSSRANK_TRUNCATION_LONGEST_FIRST
        /// <summary>Truncation: keep the whole query where it fits.</summary>
        DocumentOnly = 2, // CROSSRANK_TRUNCATION_DOCUMENT_ONLY
        /// <summary>Truncation: refuse the call with CROSSRANK_ERR_TOO_LONG.</summary>
        Error = 3, // CROSSRANK_TRUNCATION_ERROR
    }

    /// <summary>One document or pair with its score. Its size never changes: 64 bytes where pointers take 8.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public partial struct Ranked
    {
        internal uint size;
        /// <summary>CROSSRANK_OK; or CROSSRANK_ERR_NON_FINITE or CROSSRANK_ERR_NOT_SCORED, then score and logit are NaN.</summary>
        public Status Status;
        internal UIntPtr index;
        /// <summary>The logit after the model's own activation function; for the label ranked by, or in crossrank_score for the first label.</summary>
        public double Score;
        /// <summary>The model's raw output for the same label. Under a softmax over several labels, the label's log-odds.</summary>
        public float Logit;
        /// <summary>Tokens that the model read for this pair, special tokens included.</summary>
        public uint Tokens;
        /// <summary>Tokens cut from the query to fit the window; like document_cut, a lower bound for text that was not tokenized to its end.</summary>
        public uint QueryCut;
        /// <summary>Tokens cut from the document to fit the window; a lower bound, and at least 1, for documents that were not tokenized to their end.</summary>
        public uint DocumentCut;
        /// <summary>First byte of the part of the document that the score is for: of the best window. Both window_start and window_end are 0 without crossrank_options_set_windows, and where there is no score. They count bytes of the text as it was given; for text that is not UTF-8, bytes after each ill-formed sequence was replaced by U+FFFD, which takes three.</summary>
        public ulong WindowStart;
        /// <summary>One past the last byte of that part.</summary>
        public ulong WindowEnd;
        internal ulong reserved;
    }

    /// <summary>Facts about a model.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public partial struct Info
    {
        internal uint size;
        /// <summary>The CROSSRANK_BACKEND_ value that computes.</summary>
        public Backend Backend;
        /// <summary>The CROSSRANK_ISA_ value that computes.</summary>
        public Isa Isa;
        /// <summary>Number of threads that compute.</summary>
        public uint Threads;
        /// <summary>Number of encoder layers.</summary>
        public uint Layers;
        /// <summary>Hidden size: features per token between layers.</summary>
        public uint Hidden;
        /// <summary>Number of attention heads.</summary>
        public uint Heads;
        /// <summary>Number of outputs per pair.</summary>
        public uint Labels;
        /// <summary>The longest input of a call, in tokens.</summary>
        public uint MaxTokens;
        /// <summary>Number of tokens in the tokenizer's vocabulary.</summary>
        public uint Vocabulary;
        /// <summary>Bytes of the weights in memory.</summary>
        public ulong WeightBytes;
        /// <summary>Hash of all files of the model.</summary>
        public ulong Hash;
        /// <summary>Milliseconds that loading took.</summary>
        public double LoadMs;
        /// <summary>The CROSSRANK_PRECISION_ value of the weights on the CPU; never AUTO.</summary>
        public Precision Precision;
        internal uint reserved;
    }

    /// <summary>The cost of one call, and where it ran.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public partial struct Usage
    {
        internal uint size;
        /// <summary>The CROSSRANK_BACKEND_ value that ran.</summary>
        public Backend Backend;
        /// <summary>The CROSSRANK_ISA_ value that ran.</summary>
        public Isa Isa;
        /// <summary>Number of groups of pairs that were computed together.</summary>
        public uint Groups;
        /// <summary>Tokens that the model read, special tokens included.</summary>
        public ulong Tokens;
        /// <summary>Tokens cut to fit the window; a lower bound where a text was not tokenized to its end.</summary>
        public ulong TokensCut;
        /// <summary>Milliseconds of tokenization.</summary>
        public double TokenizeMs;
        /// <summary>Milliseconds of computing logits.</summary>
        public double ComputeMs;
        /// <summary>Milliseconds of the whole call.</summary>
        public double TotalMs;
    }

    /// <summary>The functions of crossrank.h.</summary>
    internal static class Native
    {
#if UNITY_IOS && !UNITY_EDITOR
        // iOS links the library into the program.
        private const string Library = "__Internal";
#else
        private const string Library = "crossrank";
#endif

        /// <summary>The binary interface that these declarations describe.</summary>
        internal const uint Abi = 0;

        /// <summary>UTF-8 text, or bytes, of the caller: without a NUL at the end, and with NUL allowed inside. {NULL, 0} is empty. The library does not keep the pointer after the call.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct Str
        {
            internal IntPtr Data;
            internal UIntPtr Len;
        }

        /// <summary>Cancels the calls whose options hold it: see crossrank_options_set_cancel. {0} is the null handle.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct CancelHandle
        {
            internal ulong Id;
        }

        /// <summary>Options of a load or of a call. {0}, CROSSRANK_DEFAULTS, stands for all defaults.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct OptionsHandle
        {
            internal ulong Id;
        }

        /// <summary>A loaded cross-encoder. It is immutable: any number of threads may use it at once. {0} is the null handle.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct ModelHandle
        {
            internal ulong Id;
        }

        /// <summary>A part of an open file, for example of an Android asset or a game archive. The file is read during the load and stays open.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct Region
        {
            internal int Fd;
            internal ulong Offset;
            internal ulong Length;
        }

        /// <summary>A query and its documents, for crossrank_rerank_many.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct Set
        {
            internal Str Query;
            internal IntPtr Documents;
            internal UIntPtr Count;
        }

        /// <summary>Texts in one buffer, as Apache Arrow lays them out: text i is the bytes from `offsets[i]` to `offsets[i + 1]` of `data`. The library does not keep the pointers after the call.</summary>
        [StructLayout(LayoutKind.Sequential)]
        internal struct Texts
        {
            internal IntPtr Data;
            internal UIntPtr Len;
            internal IntPtr Offsets;
            internal UIntPtr Count;
        }

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        internal delegate void LogFunction(IntPtr user, int level, Str message);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        internal delegate void ParallelFunction(IntPtr user, UIntPtr count, IntPtr task, IntPtr context);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        internal delegate void ProgressFunction(IntPtr user, UIntPtr done, UIntPtr total, IntPtr partial,
            UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern uint crossrank_abi();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr crossrank_version();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr crossrank_status_name(int status);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr crossrank_last_message();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern UIntPtr crossrank_last_message_copy([Out] byte[] buffer, UIntPtr capacity);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_set_log(LogFunction log, IntPtr user);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_cancel_new(out CancelHandle cancel);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_cancel_trigger(CancelHandle cancel);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_cancel_progress(CancelHandle cancel, out UIntPtr done, out UIntPtr total);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_cancel_free(CancelHandle cancel);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_new(out OptionsHandle options);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_free(OptionsHandle options);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_max_tokens(OptionsHandle options, UIntPtr tokens);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_backend(OptionsHandle options, int backend);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_isa(OptionsHandle options, int isa);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_threads(OptionsHandle options, UIntPtr threads);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_memory_limit(OptionsHandle options, ulong bytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_allow_software_gpu(OptionsHandle options,
            [MarshalAs(UnmanagedType.I1)] bool allow);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_precision(OptionsHandle options, int precision);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_gpu_precision(OptionsHandle options, int precision);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_gpu_cache(OptionsHandle options, byte[] folder);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_executor(OptionsHandle options, UIntPtr threads,
            ParallelFunction parallel, IntPtr user);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_truncation(OptionsHandle options, int truncation);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_windows(OptionsHandle options, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_window_overlap(OptionsHandle options, UIntPtr tokens);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_top_k(OptionsHandle options, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_threshold(OptionsHandle options, double score);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_label(OptionsHandle options, UIntPtr label);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_prompt(OptionsHandle options, Str prompt);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_prompt_name(OptionsHandle options, byte[] name);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_time_limit(OptionsHandle options, ulong milliseconds);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_cancel(OptionsHandle options, CancelHandle cancel);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_progress(OptionsHandle options, ProgressFunction progress,
            IntPtr user);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_strict_utf8(OptionsHandle options,
            [MarshalAs(UnmanagedType.I1)] bool strict);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_load(byte[] pathOrName, OptionsHandle options,
            out ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_load_bundled(OptionsHandle options, out ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_plan(byte[] pathOrName, OptionsHandle options,
            out ulong weightBytes, out ulong workBytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_free(ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_trim(ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_warmup(ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_suspend(ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_resume(ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_info(ModelHandle model, ref Info info);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_text(ModelHandle model, int text, UIntPtr index,
            [Out] byte[] buffer, UIntPtr capacity, out UIntPtr length);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_load_memory(byte[] name, Str config, Str tokenizer,
            Str tokenizerConfig, Str[] weights, UIntPtr weightCount, OptionsHandle options, out ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_load_fd(byte[] name, Region config, Region tokenizer,
            Region tokenizerConfig, Region[] weights, UIntPtr weightCount, OptionsHandle options,
            out ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_last_usage(ref Usage usage);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_rerank(ModelHandle model, Str query, Str[] documents, UIntPtr count,
            OptionsHandle options, [Out] Ranked[] results, UIntPtr capacity, out UIntPtr found);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_rerank_many(ModelHandle model, Set[] sets, UIntPtr setCount,
            OptionsHandle options, [Out] Ranked[] results, UIntPtr capacity, [Out] UIntPtr[] found);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_score(ModelHandle model, Str[] queries, Str[] documents, UIntPtr count,
            OptionsHandle options, [Out] float[] logits, [Out] double[] scores, UIntPtr capacity,
            [Out] Ranked[] details);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_rerank_texts(ModelHandle model, Str query, Texts documents,
            OptionsHandle options, [Out] Ranked[] results, UIntPtr capacity, out UIntPtr found);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_rerank_many_texts(ModelHandle model, Texts queries, Texts documents,
            UIntPtr[] counts, OptionsHandle options, [Out] Ranked[] results, UIntPtr capacity, [Out] UIntPtr[] found);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_score_texts(ModelHandle model, Texts queries, Texts documents,
            OptionsHandle options, [Out] float[] logits, [Out] double[] scores, UIntPtr capacity,
            [Out] Ranked[] details);
    }
}
