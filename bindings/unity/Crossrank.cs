// crossrank in C#, for Unity and for every other C# program. The declarations of include/crossrank.h are in Native.cs.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace Crossrank
{
    /// <summary>A call that failed. Programs decide by <see cref="Status"/>; the message is for people.</summary>
    public sealed class CrossrankException : Exception
    {
        public Status Status { get; }

        internal CrossrankException(Status status, string message) : base(message)
        {
            Status = status;
        }
    }

    public partial struct Ranked
    {
        /// <summary>Index of the document or pair in the input.</summary>
        public int Index { get { return (int)index; } }
    }

    /// <summary>The result of Reranker.Score: Labels numbers per pair, pair by pair.</summary>
    public sealed class Scores
    {
        public readonly int Labels;
        /// <summary>Raw outputs.</summary>
        public readonly float[] Logits;
        /// <summary>The logits after the model's own activation function.</summary>
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

    /// <summary>The library as a whole.</summary>
    public static class Library
    {
        /// <summary>The version, such as "0.2.0".</summary>
        public static string Version { get { return Text(Native.crossrank_version()); } }

        /// <summary>The number of the binary interface.</summary>
        public static uint Abi { get { return Native.crossrank_abi(); } }

        /// <summary>The cost of this thread's last successful call that scored or ranked.</summary>
        public static Usage LastUsage()
        {
            CheckAbi();
            var usage = new Usage { size = (uint)Marshal.SizeOf(typeof(Usage)) };
            Check(Native.crossrank_last_usage(ref usage));
            return usage;
        }

        /// <summary>The header's name of a status, such as "CROSSRANK_ERR_HANDLE".</summary>
        public static string StatusName(Status status)
        {
            return Text(Native.crossrank_status_name((int)status));
        }

        /// <summary>
        /// Throws if the library's binary interface is not the one that Native.cs describes. Comes before every other call.
        /// </summary>
        internal static void CheckAbi()
        {
            uint found = Native.crossrank_abi();
            if (found != Native.Abi)
            {
                throw new CrossrankException(Status.Unsupported,
                    "the crossrank library has binary interface " + found + ", but these C# files are for " + Native.Abi +
                    ": use the library and the C# files of one version");
            }
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

    /// <summary>Cancels the calls whose options hold it, and shows their progress. Any thread.</summary>
    public sealed class Cancel : IDisposable
    {
        internal readonly Native.CancelHandle handle;

        public Cancel()
        {
            Library.CheckAbi();
            Library.Check(Native.crossrank_cancel_new(out handle));
        }

        ~Cancel()
        {
            // 0 if the constructor threw, perhaps because the library is missing: then there is nothing to free.
            if (handle.Id != 0)
                Native.crossrank_cancel_free(handle);
        }

        /// <summary>Cancels the running calls and all later ones. It cannot be undone.</summary>
        public void Trigger()
        {
            Library.Check(Native.crossrank_cancel_trigger(handle));
            GC.KeepAlive(this);
        }

        /// <summary>Pairs that the running call has scored, and its number of pairs. Poll it, for example once per frame.</summary>
        public void Progress(out long done, out long total)
        {
            UIntPtr nativeDone, nativeTotal;
            Library.Check(Native.crossrank_cancel_progress(handle, out nativeDone, out nativeTotal));
            GC.KeepAlive(this);
            done = (long)nativeDone;
            total = (long)nativeTotal;
        }

        /// <summary>Calls and options that hold it are not affected.</summary>
        public void Dispose()
        {
            Native.crossrank_cancel_free(handle);
            GC.SuppressFinalize(this);
        }
    }

    /// <summary>Options for loading and for calls. crossrank.h documents each of them and its default.</summary>
    public sealed class Options : IDisposable
    {
        internal readonly Native.OptionsHandle handle;

        public Options()
        {
            Library.CheckAbi();
            Library.Check(Native.crossrank_options_new(out handle));
        }

        ~Options()
        {
            // 0 if the constructor threw, perhaps because the library is missing: then there is nothing to free.
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

        /// <summary>For example a folder in Application.temporaryCachePath; null for none.</summary>
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

        /// <summary>
        /// Reads this text before every query; an empty one or null switches off the model's default prompt.
        /// </summary>
        public Options SetPrompt(string text)
        {
            using (var texts = new Texts(new[] { Texts.Utf8(text) }))
                return Set(Native.crossrank_options_set_prompt(handle, texts.Items[0]));
        }

        /// <summary>Reads the model's prompt of this name before every query; null for the model's default prompt.</summary>
        public Options SetPromptName(string name)
        {
            return Set(Native.crossrank_options_set_prompt_name(handle, Library.CString(name)));
        }

        public Options SetTimeLimit(ulong milliseconds)
        {
            return Set(Native.crossrank_options_set_time_limit(handle, milliseconds));
        }

        /// <summary>null removes it.</summary>
        public Options SetCancel(Cancel cancel)
        {
            var id = cancel == null ? new Native.CancelHandle() : cancel.handle;
            Set(Native.crossrank_options_set_cancel(handle, id));
            GC.KeepAlive(cancel);
            return this;
        }

        public Options SetStrictUtf8(bool strict)
        {
            return Set(Native.crossrank_options_set_strict_utf8(handle, strict));
        }

        private Options Set(int status)
        {
            Library.Check(status);
            GC.KeepAlive(this);
            return this;
        }

        /// <summary>The handle of options; the null handle, all defaults, for null.</summary>
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

        /// <summary>Loads a directory in Hugging Face layout, or a model by name.</summary>
        public static Reranker Load(string pathOrName, Options options = null)
        {
            Library.CheckAbi();
            Native.ModelHandle model;
            Library.Check(Native.crossrank_model_load(Library.CString(pathOrName), Options.Of(options), out model));
            GC.KeepAlive(options);
            return new Reranker(model);
        }

        /// <summary>Loads the model that is built into the library.</summary>
        public static Reranker LoadBundled(Options options = null)
        {
            Library.CheckAbi();
            Native.ModelHandle model;
            Library.Check(Native.crossrank_model_load_bundled(Options.Of(options), out model));
            GC.KeepAlive(options);
            return new Reranker(model);
        }

        /// <summary>
        /// Loads a model from the contents of its files, for example of a TextAsset or a web request. tokenizerConfig may be null;
        /// weights are model.safetensors or its shards.
        /// </summary>
        public static Reranker LoadMemory(string name, byte[] config, byte[] tokenizer, byte[] tokenizerConfig,
                                          IList<byte[]> weights, Options options = null)
        {
            Library.CheckAbi();
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

        /// <summary>Predicts the bytes that a model would take: weights, and work space at its largest.</summary>
        public static void Plan(string pathOrName, Options options, out ulong weightBytes, out ulong workBytes)
        {
            Library.CheckAbi();
            Library.Check(Native.crossrank_model_plan(Library.CString(pathOrName), Options.Of(options),
                                                      out weightBytes, out workBytes));
            GC.KeepAlive(options);
        }

        /// <summary>Frees work space that no call uses, for example on Application.lowMemory.</summary>
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

        /// <summary>Releases the GPU, for example on OnApplicationPause.</summary>
        public void Suspend()
        {
            Library.Check(Native.crossrank_model_suspend(handle));
            GC.KeepAlive(this);
        }

        /// <summary>Opens the GPU again.</summary>
        public void Resume()
        {
            Library.Check(Native.crossrank_model_resume(handle));
            GC.KeepAlive(this);
        }

        public Info Info
        {
            get
            {
                var info = new Info { size = (uint)Marshal.SizeOf(typeof(Info)) };
                Library.Check(Native.crossrank_model_info(handle, ref info));
                GC.KeepAlive(this);
                return info;
            }
        }

        /// <summary>One of the model's texts; index is the index of the label or the prompt.</summary>
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

        /// <summary>Ranks documents by relevance to the query, best first and ties in input order.</summary>
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

        /// <summary>One ranking per set; faster than one call for each.</summary>
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

    /// <summary>Byte arrays as crossrank_str, pinned until they are disposed of. A null array is {NULL, 0}.</summary>
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
                Items[i].Len = (UIntPtr)(uint)texts[i].Length;
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
}
