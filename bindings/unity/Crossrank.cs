// crossrank in C#: P/Invoke over include/crossrank.h, for Unity and for every other C# program.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace Crossrank
{
    /// <summary>What a call returned; everything but Ok comes as a <see cref="CrossrankException"/>.</summary>
    public enum Status
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
    }

    /// <summary>A call that failed. Programs go by <see cref="Status"/>; the message is for people.</summary>
    public sealed class CrossrankException : Exception
    {
        public Status Status { get; }

        internal CrossrankException(Status status, string message) : base(message)
        {
            Status = status;
        }
    }

    /// <summary>What the CPU keeps weights as: CROSSRANK_PRECISION_, where the values are explained.</summary>
    public enum Precision { Auto = 0, F32 = 1, F16Weights = 2, Int8 = 3 }

    /// <summary>What a GPU stores weights and the inputs of linear layers as.</summary>
    public enum GpuPrecision { F32 = 0, F16 = 1 }

    /// <summary>Which implementation computes.</summary>
    public enum Backend { Auto = 0, Cpu = 1, Reference = 2, Gpu = 3 }

    /// <summary>An instruction set.</summary>
    public enum Isa { Auto = 0, Scalar = 1, Neon = 2, Avx2 = 3, Avx512 = 4 }

    /// <summary>What to do with pairs longer than the window.</summary>
    public enum Truncation { Default = 0, LongestFirst = 1, DocumentOnly = 2, Error = 3 }

    /// <summary>A text of <see cref="Reranker.Text"/>.</summary>
    public enum TextKind { Name = 0, Architecture = 1, Activation = 2, Label = 3, Adapter = 4, Tier = 5 }

    /// <summary>One document or pair with its score: crossrank_ranked, where the fields are explained.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Ranked
    {
        internal uint Size;
        public Status Status;
        private UIntPtr index;
        public double Score;
        public float Logit;
        public uint Tokens;
        public uint QueryCut;
        public uint DocumentCut;
        /// <summary>The UTF-8 bytes of the document that the score stands for, with Options.SetWindows.</summary>
        public ulong WindowStart;
        public ulong WindowEnd;
        private ulong reserved;

        /// <summary>Position in the input.</summary>
        public int Index { get { return (int)index; } }
    }

    /// <summary>What Reranker.Score gives: Labels numbers per pair, pair by pair.</summary>
    public sealed class Scores
    {
        public readonly int Labels;
        /// <summary>Raw outputs.</summary>
        public readonly float[] Logits;
        /// <summary>What the model's own activation makes of them.</summary>
        public readonly double[] Values;
        /// <summary>One per pair.</summary>
        public readonly Ranked[] Details;

        internal Scores(int pairs, int labels)
        {
            Labels = labels;
            Logits = new float[pairs * labels];
            Values = new double[pairs * labels];
            Details = new Ranked[pairs];
        }
    }

    /// <summary>Facts about a model: crossrank_info, where the fields are explained.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Info
    {
        internal uint Size;
        public Backend Backend;
        public Isa Isa;
        public uint Threads;
        public uint Layers;
        public uint Hidden;
        public uint Heads;
        public uint Labels;
        public uint MaxTokens;
        public uint Vocabulary;
        public ulong WeightBytes;
        public ulong Hash;
        public double LoadMs;
        public Precision Precision;
        private uint reserved;
    }

    /// <summary>What one call cost: crossrank_usage, where the fields are explained.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Usage
    {
        internal uint Size;
        public Backend Backend;
        public Isa Isa;
        public uint Groups;
        public ulong Tokens;
        public ulong TokensCut;
        public double TokenizeMs;
        public double ComputeMs;
        public double TotalMs;
    }

    /// <summary>The library as a whole.</summary>
    public static class Library
    {
        /// <summary>The version, such as "0.1.0".</summary>
        public static string Version { get { return Text(Native.crossrank_version()); } }

        /// <summary>The number of the binary interface.</summary>
        public static uint Abi { get { return Native.crossrank_abi(); } }

        /// <summary>Cost of this thread's last call that scored or ranked and succeeded.</summary>
        public static Usage LastUsage()
        {
            var usage = new Usage { Size = (uint)Marshal.SizeOf(typeof(Usage)) };
            Check(Native.crossrank_last_usage(ref usage));
            return usage;
        }

        /// <summary>The header's name of a status, such as "CROSSRANK_ERR_HANDLE".</summary>
        public static string StatusName(Status status)
        {
            return Text(Native.crossrank_status_name((int)status));
        }

        internal static void Check(int status)
        {
            if (status != 0)
                throw new CrossrankException((Status)status, Text(Native.crossrank_last_message()));
        }

        /// <summary>A NUL-terminated string of the library.</summary>
        private static string Text(IntPtr start)
        {
            int length = 0;
            while (Marshal.ReadByte(start, length) != 0)
                length++;
            var bytes = new byte[length];
            Marshal.Copy(start, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes);
        }

        /// <summary>A NUL-terminated string for the library.</summary>
        internal static byte[] CString(string text)
        {
            if (text == null)
                return null;
            if (text.IndexOf('\0') >= 0)
                throw new ArgumentException("a path or name cannot contain U+0000");
            return Encoding.UTF8.GetBytes(text + "\0");
        }
    }

    /// <summary>Cancels the calls whose options hold it, and tells how far they are. Any thread.</summary>
    public sealed class Cancel : IDisposable
    {
        internal readonly Native.CancelHandle handle;

        public Cancel()
        {
            Library.Check(Native.crossrank_cancel_new(out handle));
        }

        ~Cancel()
        {
            // 0 where the constructor threw, perhaps for want of the library: then there is nothing to call.
            if (handle.Id != 0)
                Native.crossrank_cancel_free(handle);
        }

        /// <summary>Cancels, before, during or after the call; for good.</summary>
        public void Trigger()
        {
            Library.Check(Native.crossrank_cancel_trigger(handle));
            GC.KeepAlive(this);
        }

        /// <summary>Pairs that the running call has scored, and of how many. Poll it, say once a frame.</summary>
        public void Progress(out long done, out long total)
        {
            UIntPtr nativeDone, nativeTotal;
            Library.Check(Native.crossrank_cancel_progress(handle, out nativeDone, out nativeTotal));
            GC.KeepAlive(this);
            done = (long)nativeDone;
            total = (long)nativeTotal;
        }

        /// <summary>Calls that hold it go on.</summary>
        public void Dispose()
        {
            Native.crossrank_cancel_free(handle);
            GC.SuppressFinalize(this);
        }
    }

    /// <summary>Options of loading and of calls; what each means, and its default, is said in crossrank.h.</summary>
    public sealed class Options : IDisposable
    {
        internal readonly Native.OptionsHandle handle;

        public Options()
        {
            Library.Check(Native.crossrank_options_new(out handle));
        }

        ~Options()
        {
            // 0 where the constructor threw, perhaps for want of the library: then there is nothing to call.
            if (handle.Id != 0)
                Native.crossrank_options_free(handle);
        }

        public void Dispose()
        {
            Native.crossrank_options_free(handle);
            GC.SuppressFinalize(this);
        }

        public Options SetBackend(Backend backend)
        {
            return Set(Native.crossrank_options_set_backend(handle, (int)backend));
        }

        public Options SetIsa(Isa isa)
        {
            return Set(Native.crossrank_options_set_isa(handle, (int)isa));
        }

        public Options SetThreads(uint threads)
        {
            return Set(Native.crossrank_options_set_threads(handle, (UIntPtr)threads));
        }

        public Options SetMaxTokens(uint tokens)
        {
            return Set(Native.crossrank_options_set_max_tokens(handle, (UIntPtr)tokens));
        }

        public Options SetMemoryLimit(ulong bytes)
        {
            return Set(Native.crossrank_options_set_memory_limit(handle, bytes));
        }

        public Options SetTruncation(Truncation truncation)
        {
            return Set(Native.crossrank_options_set_truncation(handle, (int)truncation));
        }

        public Options SetAllowSoftwareGpu(bool allow)
        {
            return Set(Native.crossrank_options_set_allow_software_gpu(handle, allow));
        }

        public Options SetPrecision(Precision precision)
        {
            return Set(Native.crossrank_options_set_precision(handle, (int)precision));
        }

        public Options SetGpuPrecision(GpuPrecision precision)
        {
            return Set(Native.crossrank_options_set_gpu_precision(handle, (int)precision));
        }

        /// <summary>Say a folder in Application.temporaryCachePath; null for none.</summary>
        public Options SetGpuCache(string folder)
        {
            return Set(Native.crossrank_options_set_gpu_cache(handle, folder == null ? null : Library.CString(folder)));
        }

        public Options SetWindows(uint count)
        {
            return Set(Native.crossrank_options_set_windows(handle, (UIntPtr)count));
        }

        public Options SetWindowOverlap(uint tokens)
        {
            return Set(Native.crossrank_options_set_window_overlap(handle, (UIntPtr)tokens));
        }

        public Options SetTopK(uint count)
        {
            return Set(Native.crossrank_options_set_top_k(handle, (UIntPtr)count));
        }

        public Options SetThreshold(double score)
        {
            return Set(Native.crossrank_options_set_threshold(handle, score));
        }

        public Options SetLabel(uint index)
        {
            return Set(Native.crossrank_options_set_label(handle, (UIntPtr)index));
        }

        public Options SetTimeLimit(ulong milliseconds)
        {
            return Set(Native.crossrank_options_set_time_limit(handle, milliseconds));
        }

        /// <summary>null takes it back.</summary>
        public Options SetCancel(Cancel cancel)
        {
            var id = cancel == null ? new Native.CancelHandle() : cancel.handle;
            Set(Native.crossrank_options_set_cancel(handle, id));
            GC.KeepAlive(cancel);
            return this;
        }

        public Options SetStrictUtf8(bool strict)
        {
            return Set(Native.crossrank_options_set_strict_utf8(handle, (byte)(strict ? 1 : 0)));
        }

        private Options Set(int status)
        {
            Library.Check(status);
            GC.KeepAlive(this);
            return this;
        }

        /// <summary>The handle of options, or the defaults' for null.</summary>
        internal static Native.OptionsHandle Of(Options options)
        {
            return options == null ? new Native.OptionsHandle() : options.handle;
        }
    }

    /// <summary>A query and its documents, for <see cref="Reranker.RerankMany"/>.</summary>
    public struct Set
    {
        public byte[] Query;
        public IList<byte[]> Documents;

        public Set(string query, IList<string> documents)
        {
            Query = Texts.Utf8(query);
            Documents = Texts.Utf8(documents);
        }
    }

    /// <summary>
    /// A loaded cross-encoder. Immutable; any number of threads may use it at once. Calls block: in a game, make them on
    /// another thread (Task.Run) and poll a <see cref="Cancel"/>.
    /// </summary>
    public sealed class Reranker : IDisposable
    {
        private readonly Native.ModelHandle handle;

        internal Reranker(Native.ModelHandle handle)
        {
            this.handle = handle;
        }

        ~Reranker()
        {
            Native.crossrank_model_free(handle);
        }

        /// <summary>Calls that are using the model finish; later ones throw with Status.Handle.</summary>
        public void Dispose()
        {
            Native.crossrank_model_free(handle);
            GC.SuppressFinalize(this);
        }

        /// <summary>From a directory in Hugging Face layout, or by name.</summary>
        public static Reranker Load(string pathOrName, Options options = null)
        {
            Native.ModelHandle model;
            Library.Check(Native.crossrank_model_load(Library.CString(pathOrName), Options.Of(options), out model));
            GC.KeepAlive(options);
            return new Reranker(model);
        }

        /// <summary>The model inside the library.</summary>
        public static Reranker LoadBundled(Options options = null)
        {
            Native.ModelHandle model;
            Library.Check(Native.crossrank_model_load_bundled(Options.Of(options), out model));
            GC.KeepAlive(options);
            return new Reranker(model);
        }

        /// <summary>
        /// From the contents of its files, as a TextAsset's bytes or a web request give them. tokenizerConfig may be null;
        /// weights are model.safetensors or its shards.
        /// </summary>
        public static Reranker LoadMemory(string name, byte[] config, byte[] tokenizer, byte[] tokenizerConfig,
                                          IList<byte[]> weights, Options options = null)
        {
            Native.ModelHandle model;
            using (var files = new Texts(new[] { config, tokenizer, tokenizerConfig }))
            using (var shards = new Texts(weights))
            {
                Library.Check(Native.crossrank_model_load_memory(
                    Library.CString(name), files.Items[0], files.Items[1], files.Items[2], shards.Items,
                    shards.Count, Options.Of(options), out model));
            }
            GC.KeepAlive(options);
            return new Reranker(model);
        }

        /// <summary>Bytes that loading would take: weights, and work space at its largest.</summary>
        public static void Plan(string pathOrName, Options options, out ulong weightBytes, out ulong workBytes)
        {
            Library.Check(Native.crossrank_model_plan(Library.CString(pathOrName), Options.Of(options),
                                                      out weightBytes, out workBytes));
            GC.KeepAlive(options);
        }

        /// <summary>Gives back work space that no call uses, say on Application.lowMemory.</summary>
        public void Trim()
        {
            Library.Check(Native.crossrank_model_trim(handle));
            GC.KeepAlive(this);
        }

        /// <summary>Compiles a GPU's shaders ahead of the first call.</summary>
        public void Warmup()
        {
            Library.Check(Native.crossrank_model_warmup(handle));
            GC.KeepAlive(this);
        }

        /// <summary>Lets go of the GPU, say on OnApplicationPause.</summary>
        public void Suspend()
        {
            Library.Check(Native.crossrank_model_suspend(handle));
            GC.KeepAlive(this);
        }

        /// <summary>Takes the GPU back.</summary>
        public void Resume()
        {
            Library.Check(Native.crossrank_model_resume(handle));
            GC.KeepAlive(this);
        }

        public Info Info
        {
            get
            {
                var info = new Info { Size = (uint)Marshal.SizeOf(typeof(Info)) };
                Library.Check(Native.crossrank_model_info(handle, ref info));
                GC.KeepAlive(this);
                return info;
            }
        }

        /// <summary>One of the model's texts; index is that of the label.</summary>
        public string Text(TextKind kind, uint index = 0)
        {
            UIntPtr length;
            int status = Native.crossrank_model_text(handle, (int)kind, (UIntPtr)index, null, UIntPtr.Zero, out length);
            if (status != (int)Status.Buffer)
                Library.Check(status);
            var bytes = new byte[(int)length];
            Library.Check(Native.crossrank_model_text(handle, (int)kind, (UIntPtr)index, bytes, length, out length));
            GC.KeepAlive(this);
            return Encoding.UTF8.GetString(bytes);
        }

        /// <summary>The documents by relevance to the query, best first, ties in input order.</summary>
        public Ranked[] Rerank(string query, IList<string> documents, Options options = null)
        {
            return Rerank(Texts.Utf8(query), Texts.Utf8(documents), options);
        }

        /// <summary>The same for texts that are UTF-8 already.</summary>
        public Ranked[] Rerank(byte[] query, IList<byte[]> documents, Options options = null)
        {
            var results = new Ranked[documents.Count];
            UIntPtr found;
            using (var queries = new Texts(new[] { query }))
            using (var texts = new Texts(documents))
            {
                Library.Check(Native.crossrank_rerank(handle, queries.Items[0], texts.Items, texts.Count,
                                                      Options.Of(options), results, (UIntPtr)(uint)results.Length,
                                                      out found));
            }
            GC.KeepAlive(options);
            GC.KeepAlive(this);
            Array.Resize(ref results, (int)found);
            return results;
        }

        /// <summary>One ranking per set, faster than one by one.</summary>
        public Ranked[][] RerankMany(IList<Set> sets, Options options = null)
        {
            var flat = new List<byte[]>();
            var queries = new List<byte[]>();
            foreach (var set in sets)
            {
                queries.Add(set.Query);
                flat.AddRange(set.Documents);
            }
            var results = new Ranked[flat.Count];
            var found = new UIntPtr[sets.Count];
            using (var queryTexts = new Texts(queries))
            using (var documents = new Texts(flat))
            {
                var native = new Native.Set[sets.Count];
                int start = 0;
                for (int i = 0; i < native.Length; i++)
                {
                    native[i] = new Native.Set
                    {
                        Query = queryTexts.Items[i],
                        Documents = documents.Address(start),
                        Count = (UIntPtr)(uint)sets[i].Documents.Count,
                    };
                    start += sets[i].Documents.Count;
                }
                Library.Check(Native.crossrank_rerank_many(handle, native, (UIntPtr)(uint)native.Length,
                                                           Options.Of(options), results,
                                                           (UIntPtr)(uint)results.Length, found));
            }
            GC.KeepAlive(options);
            GC.KeepAlive(this);
            var rankings = new Ranked[found.Length][];
            int from = 0;
            for (int i = 0; i < rankings.Length; i++)
            {
                rankings[i] = new Ranked[(int)found[i]];
                Array.Copy(results, from, rankings[i], 0, rankings[i].Length);
                from += rankings[i].Length;
            }
            return rankings;
        }

        /// <summary>Scores the pairs (queries[i], documents[i]) in input order, with every label.</summary>
        public Scores Score(IList<string> queries, IList<string> documents, Options options = null)
        {
            return Score(Texts.Utf8(queries), Texts.Utf8(documents), options);
        }

        /// <summary>The same for texts that are UTF-8 already.</summary>
        public Scores Score(IList<byte[]> queries, IList<byte[]> documents, Options options = null)
        {
            if (queries.Count != documents.Count)
                throw new ArgumentException(queries.Count + " queries for " + documents.Count + " documents");
            var scores = new Scores(queries.Count, (int)Info.Labels);
            using (var left = new Texts(queries))
            using (var right = new Texts(documents))
            {
                Library.Check(Native.crossrank_score(handle, left.Items, right.Items, left.Count, Options.Of(options),
                                                     scores.Logits, scores.Values, (UIntPtr)(uint)scores.Logits.Length,
                                                     scores.Details));
            }
            GC.KeepAlive(options);
            GC.KeepAlive(this);
            return scores;
        }
    }

    /// <summary>Byte arrays as crossrank_str, held in place until disposed of. A null array is {NULL, 0}.</summary>
    internal sealed class Texts : IDisposable
    {
        internal readonly Native.Str[] Items;
        private readonly GCHandle[] pins;
        private GCHandle items;

        internal Texts(IList<byte[]> texts)
        {
            Items = new Native.Str[texts.Count];
            pins = new GCHandle[texts.Count];
            items = GCHandle.Alloc(Items, GCHandleType.Pinned);
            for (int i = 0; i < pins.Length; i++)
            {
                if (texts[i] == null)
                    continue;
                pins[i] = GCHandle.Alloc(texts[i], GCHandleType.Pinned);
                Items[i].Data = pins[i].AddrOfPinnedObject();
                Items[i].Length = (UIntPtr)(uint)texts[i].Length;
            }
        }

        internal UIntPtr Count { get { return (UIntPtr)(uint)Items.Length; } }

        /// <summary>The address of an item; index may be the number of items.</summary>
        internal IntPtr Address(int index)
        {
            return new IntPtr(items.AddrOfPinnedObject().ToInt64() + (long)index * Marshal.SizeOf(typeof(Native.Str)));
        }

        public void Dispose()
        {
            items.Free();
            for (int i = 0; i < pins.Length; i++)
            {
                if (pins[i].IsAllocated)
                    pins[i].Free();
            }
        }

        /// <summary>UTF-8 of a string; lone surrogates become U+FFFD.</summary>
        internal static byte[] Utf8(string text)
        {
            return text == null ? null : Encoding.UTF8.GetBytes(text);
        }

        internal static IList<byte[]> Utf8(IList<string> texts)
        {
            var bytes = new byte[texts.Count][];
            for (int i = 0; i < bytes.Length; i++)
                bytes[i] = Utf8(texts[i]);
            return bytes;
        }
    }

    /// <summary>The functions of crossrank.h. Everything here is blittable: nothing is copied on the way.</summary>
    internal static class Native
    {
#if UNITY_IOS && !UNITY_EDITOR
        // iOS links the library into the program.
        private const string Library = "__Internal";
#else
        private const string Library = "crossrank";
#endif

        [StructLayout(LayoutKind.Sequential)]
        internal struct ModelHandle { internal ulong Id; }

        [StructLayout(LayoutKind.Sequential)]
        internal struct OptionsHandle { internal ulong Id; }

        [StructLayout(LayoutKind.Sequential)]
        internal struct CancelHandle { internal ulong Id; }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Str { internal IntPtr Data; internal UIntPtr Length; }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Set { internal Str Query; internal IntPtr Documents; internal UIntPtr Count; }

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern uint crossrank_abi();
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr crossrank_version();
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr crossrank_last_message();
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr crossrank_status_name(int status);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_last_usage(ref Usage usage);

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
        internal static extern int crossrank_options_set_backend(OptionsHandle options, int backend);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_isa(OptionsHandle options, int isa);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_threads(OptionsHandle options, UIntPtr threads);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_max_tokens(OptionsHandle options, UIntPtr tokens);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_memory_limit(OptionsHandle options, ulong bytes);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_truncation(OptionsHandle options, int truncation);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_allow_software_gpu(
            OptionsHandle options, [MarshalAs(UnmanagedType.I1)] bool allow);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_precision(OptionsHandle options, int precision);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_gpu_precision(OptionsHandle options, int precision);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_gpu_cache(OptionsHandle options, byte[] folder);
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
        internal static extern int crossrank_options_set_time_limit(OptionsHandle options, ulong milliseconds);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_cancel(OptionsHandle options, CancelHandle cancel);
        // A C bool is one byte, C#'s is four by default.
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_options_set_strict_utf8(OptionsHandle options, byte strict);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_load(byte[] pathOrName, OptionsHandle options, out ModelHandle model);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_load_bundled(OptionsHandle options, out ModelHandle model);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_load_memory(
            byte[] name, Str config, Str tokenizer, Str tokenizerConfig, Str[] weights, UIntPtr weightCount,
            OptionsHandle options, out ModelHandle model);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_model_plan(byte[] pathOrName, OptionsHandle options, out ulong weightBytes,
                                                        out ulong workBytes);
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
        internal static extern int crossrank_model_text(ModelHandle model, int text, UIntPtr index, [Out] byte[] buffer,
                                                        UIntPtr capacity, out UIntPtr length);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_rerank(ModelHandle model, Str query, Str[] documents, UIntPtr count,
                                                    OptionsHandle options, [Out] Ranked[] results, UIntPtr capacity,
                                                    out UIntPtr found);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_rerank_many(ModelHandle model, Set[] sets, UIntPtr setCount,
                                                         OptionsHandle options, [Out] Ranked[] results,
                                                         UIntPtr capacity, [Out] UIntPtr[] found);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        internal static extern int crossrank_score(ModelHandle model, Str[] queries, Str[] documents, UIntPtr count,
                                                   OptionsHandle options, [Out] float[] logits, [Out] double[] scores,
                                                   UIntPtr capacity, [Out] Ranked[] details);
    }
}
