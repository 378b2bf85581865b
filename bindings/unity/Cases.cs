// Runs bindings/cases.json through Crossrank.cs, from the repository's root: Cases.exe [cases.json]
// With a library of another binary interface: Cases.exe --abi
using System;
using System.Collections.Generic;
using System.IO;
using System.Json;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Crossrank;

/// <summary>A difference from what a case expects.</summary>
internal sealed class Mismatch : Exception
{
    public Mismatch(string message) : base(message) { }
}

internal static class Cases
{
    private static double tolerance;

    /// <summary>Everything that would call a library of another binary interface is refused with a clear message.</summary>
    private static int AnotherAbiIsRefused()
    {
        ulong bytes;
        var calls = new Action[]
        {
            () => Reranker.Load("model"), () => Reranker.LoadBundled(),
            () => Reranker.LoadMemory("model", null, null, null, new byte[0][]),
            () => Reranker.Plan("model", null, out bytes, out bytes),
            () => new Options(), () => new Cancel(), () => Library.LastUsage(),
        };
        foreach (var call in calls)
        {
            try
            {
                call();
                Console.WriteLine("a library of another binary interface was used");
                return 1;
            }
            catch (CrossrankException e)
            {
                if (e.Status != Status.Unsupported || !e.Message.Contains("binary interface " + Library.Abi))
                {
                    Console.WriteLine(e.Status + ": " + e.Message);
                    return 1;
                }
            }
        }
        Console.WriteLine("another binary interface is refused");
        return 0;
    }

    private static int Main(string[] arguments)
    {
        if (arguments.Length > 0 && arguments[0] == "--abi")
            return AnotherAbiIsRefused();
        var file = (JsonObject)JsonValue.Parse(File.ReadAllText(arguments.Length > 0 ? arguments[0] : "bindings/cases.json"));
        tolerance = file["tolerance"];
        int passed = 0, failed = 0;
        Action<string, Action> run = (name, test) =>
        {
            try
            {
                test();
                passed++;
            }
            catch (Exception e)
            {
                failed++;
                Console.WriteLine("failed: " + name + ": " + (e is Mismatch ? e.Message : e.ToString()));
            }
        };
        foreach (JsonObject test in (JsonArray)file["cases"])
            run(test["name"], () => Check(test));
        run("several sets in one call rank as one call for each", SetsRankAsOneByOne);
        run("a call on another thread is watched and cancelled", CancelFromAnotherThread);
        run("every status has its name", StatusNames);
        run("finalizers free objects that were not disposed of", Finalizers);
        Console.WriteLine(passed + " passed, " + failed + " failed");
        return failed == 0 && passed > 0 ? 0 : 1;
    }

    private static void Check(JsonObject test)
    {
        var expect = (JsonObject)test["expect"];
        if (test["call"] == "status_name")
        {
            Equal("text", (string)expect["text"], Library.StatusName((Status)(int)test["code"]));
            return;
        }
        string wanted = expect["status"];
        string status = "CROSSRANK_OK";
        try
        {
            Call(test, expect);
        }
        catch (CrossrankException e)
        {
            status = Library.StatusName(e.Status);
            if (e.Message.Length == 0)
                throw new Mismatch("an error without a message");
        }
        Equal("status", wanted, status);
    }

    /// <summary>Makes the call of a case and compares what came back.</summary>
    private static void Call(JsonObject test, JsonObject expect)
    {
        using (var options = Options(test))
        using (var cancel = new Cancel())
        {
            if (Has(test, "cancelled"))
            {
                cancel.Trigger();
                options.SetCancel(cancel);
            }
            if (test["call"] == "plan")
            {
                ulong weights, work;
                Reranker.Plan(test["model"], options, out weights, out work);
                Equal("weight_bytes", (ulong)expect["facts"]["weight_bytes"], weights);
                if (work == 0)
                    throw new Mismatch("no work space");
                return;
            }
            using (var model = Model(test["model"], options))
            {
                switch ((string)test["call"])
                {
                    case "load":
                        Facts(expect, model);
                        break;
                    case "rerank":
                        Compare(expect, Rerank(model, test, options));
                        break;
                    case "rerank_many":
                        var sets = ((JsonArray)test["sets"]).Select(set => new Set
                        {
                            Query = Bytes(set["query"]),
                            Documents = ((JsonArray)set["documents"]).Select(Bytes).ToArray(),
                        });
                        Compare(expect, model.RerankMany(sets.ToArray(), options));
                        break;
                    case "score":
                        Score(expect, model, (JsonArray)test["pairs"], options);
                        break;
                    case "trim":
                        model.Trim();
                        break;
                    case "text":
                        var text = model.Text(Choice<TextKind>(test["text"]), (uint)test["index"]);
                        if (Has(expect, "text"))
                            Equal("text", (string)expect["text"], text);
                        break;
                    default:
                        throw new Mismatch("a call that this program does not know: " + test["call"]);
                }
                if (Has(expect, "usage"))
                {
                    Equal("tokens", (ulong)expect["usage"]["tokens"], Library.LastUsage().Tokens);
                    Equal("tokens_cut", (ulong)expect["usage"]["tokens_cut"], Library.LastUsage().TokensCut);
                }
            }
        }
    }

    private static Options Options(JsonObject test)
    {
        var options = new Options();
        if (!Has(test, "options"))
            return options;
        foreach (var option in (JsonObject)test["options"])
        {
            var value = option.Value;
            switch (option.Key)
            {
                case "backend": options.SetBackend(Choice<Backend>(value)); break;
                case "isa": options.SetIsa(Choice<Isa>(value)); break;
                case "precision": options.SetPrecision(Choice<Precision>(value)); break;
                case "truncation": options.SetTruncation(Choice<Truncation>(value)); break;
                case "threads": options.SetThreads(value); break;
                case "max_tokens": options.SetMaxTokens(value); break;
                case "memory_limit": options.SetMemoryLimit(value); break;
                case "windows": options.SetWindows(value); break;
                case "window_overlap": options.SetWindowOverlap(value); break;
                case "top_k": options.SetTopK(value); break;
                case "threshold": options.SetThreshold(value); break;
                case "time_limit": options.SetTimeLimit(value); break;
                case "prompt": options.SetPrompt(value); break;
                case "prompt_name": options.SetPromptName(value); break;
                case "strict_utf8": options.SetStrictUtf8(value); break;
                default: throw new Mismatch("an option that this program does not know: " + option.Key);
            }
        }
        return options;
    }

    /// <summary>LONGEST_FIRST as LongestFirst; a number as itself, though the enumeration may lack it.</summary>
    private static T Choice<T>(JsonValue value)
    {
        if (value.JsonType == JsonType.Number)
            return (T)(object)(int)value;
        return (T)Enum.Parse(typeof(T), ((string)value).Replace("_", ""), true);
    }

    private static Reranker Model(JsonValue model, Options options)
    {
        if (model == null)
            return new Reranker(new Native.ModelHandle());
        if (model.JsonType == JsonType.String)
            return Reranker.Load(model, options);
        var weights = ((JsonArray)model["weights"]).Select(Bytes).ToArray();
        return Reranker.LoadMemory("a model in memory", Bytes(model["config"]), Bytes(model["tokenizer"]),
                                   Bytes(model["tokenizer_config"]), weights, options);
    }

    private static Ranked[] Rerank(Reranker model, JsonObject test, Options options)
    {
        var documents = (JsonArray)test["documents"];
        if (documents.All(document => document.JsonType == JsonType.String))
            return model.Rerank(test["query"], documents.Select(document => (string)document).ToArray(), options);
        return model.Rerank(Bytes(test["query"]), documents.Select(Bytes).ToArray(), options);
    }

    private static void Score(JsonObject expect, Reranker model, JsonArray pairs, Options options)
    {
        var found = model.Score(pairs.Select(pair => Bytes(pair[0])).ToArray(),
                                pairs.Select(pair => Bytes(pair[1])).ToArray(), options);
        Compare(expect, found.Details);
        for (int i = 0; i < found.Details.Length; i++)
        {
            var wanted = (JsonObject)expect["results"][i];
            Labels(wanted, "logits", i, found.Labels, at => found.Logits[at]);
            Labels(wanted, "scores", i, found.Labels, at => found.Values[at]);
        }
    }

    private static void Labels(JsonObject expect, string key, int pair, int labels, Func<int, double> found)
    {
        if (!Has(expect, key))
            return;
        var wanted = (JsonArray)expect[key];
        Equal("labels", wanted.Count, labels);
        for (int label = 0; label < labels; label++)
            Near(key, wanted[label], found(pair * labels + label));
    }

    private static void Facts(JsonObject expect, Reranker model)
    {
        if (!Has(expect, "facts"))
            return;
        var info = model.Info;
        foreach (var fact in (JsonObject)expect["facts"])
        {
            long value;
            switch (fact.Key)
            {
                case "layers": value = info.Layers; break;
                case "hidden": value = info.Hidden; break;
                case "heads": value = info.Heads; break;
                case "labels": value = info.Labels; break;
                case "max_tokens": value = info.MaxTokens; break;
                case "vocabulary": value = info.Vocabulary; break;
                case "threads": value = info.Threads; break;
                case "backend": value = (int)info.Backend; break;
                case "isa": value = (int)info.Isa; break;
                case "precision": value = (int)info.Precision; break;
                case "weight_bytes": value = (long)info.WeightBytes; break;
                default: throw new Mismatch("a fact that this program does not know: " + fact.Key);
            }
            Equal(fact.Key, (long)fact.Value, value);
        }
        Equal("architecture", (string)expect["architecture"], model.Text(TextKind.Architecture));
        Equal("activation", (string)expect["activation"], model.Text(TextKind.Activation));
        for (int i = 0; i < expect["labels"].Count; i++)
            Equal("label", (string)expect["labels"][i], model.Text(TextKind.Label, (uint)i));
    }

    private static void Compare(JsonObject expect, Ranked[][] rankings)
    {
        if (!Has(expect, "results"))
            return;
        Equal("sets", expect["results"].Count, rankings.Length);
        for (int i = 0; i < rankings.Length; i++)
            Compare(new JsonObject { { "results", expect["results"][i] } }, rankings[i]);
    }

    private static void Compare(JsonObject expect, Ranked[] results)
    {
        if (!Has(expect, "results"))
            return;
        var wanted = (JsonArray)expect["results"];
        Equal("results", wanted.Count, results.Length);
        for (int i = 0; i < results.Length; i++)
        {
            var one = (JsonObject)wanted[i];
            Equal("status", Has(one, "status") ? (string)one["status"] : "CROSSRANK_OK",
                  Library.StatusName(results[i].Status));
            Equal("index", Has(one, "index") ? (int)one["index"] : i, results[i].Index);
            Equal("tokens", (uint)one["tokens"], results[i].Tokens);
            Equal("query_cut", Has(one, "query_cut") ? (uint)one["query_cut"] : 0, results[i].QueryCut);
            var window = Has(one, "window") ? (JsonArray)one["window"] : new JsonArray(0, 0);
            Equal("window", (ulong)window[0], results[i].WindowStart);
            Equal("window", (ulong)window[1], results[i].WindowEnd);
            Equal("document_cut", Has(one, "document_cut") ? (uint)one["document_cut"] : 0, results[i].DocumentCut);
            if (Has(one, "score"))
                Near("score", one["score"], results[i].Score);
            else if (!double.IsNaN(results[i].Score))
                throw new Mismatch("a score where none is expected");
        }
    }

    private static void SetsRankAsOneByOne()
    {
        using (var model = Reranker.Load("tests/fixtures/bert"))
        {
            var sets = new[] { new[] { "x", "y" }, new string[0], new[] { "z", "x", "desktop" }, new[] { "y" } };
            var together = model.RerankMany(sets.Select(set => new Set("desktop", set)).ToArray());
            for (int i = 0; i < sets.Length; i++)
            {
                var alone = model.Rerank("desktop", sets[i]);
                Equal("results", alone.Length, together[i].Length);
                for (int j = 0; j < alone.Length; j++)
                {
                    Equal("index", alone[j].Index, together[i][j].Index);
                    Near("logit", alone[j].Logit, together[i][j].Logit);
                }
            }
        }
    }

    private static void CancelFromAnotherThread()
    {
        // Enough work that the call is still under way when it is cancelled after the first scores.
        var documents = Enumerable.Repeat(string.Join(" ", Enumerable.Repeat("desktop", 100)), 20000).ToArray();
        using (var model = Reranker.Load("tests/fixtures/bert", new Options().SetThreads(1)))
        using (var cancel = new Cancel())
        {
            var options = new Options().SetCancel(cancel);
            var call = Task.Run(() => model.Rerank("desktop", documents, options));
            long done = 0, total = 0;
            while (done == 0 && !call.IsCompleted)
                cancel.Progress(out done, out total);
            cancel.Trigger();
            Equal("total", documents.Length, total);
            try
            {
                call.Wait();
                throw new Mismatch("the call was not cancelled");
            }
            catch (AggregateException e)
            {
                Equal("status", Status.Cancelled, ((CrossrankException)e.InnerException).Status);
            }
        }
    }

    private static void StatusNames()
    {
        foreach (Status status in Enum.GetValues(typeof(Status)))
        {
            var name = Library.StatusName(status).Replace("CROSSRANK_ERR_", "").Replace("CROSSRANK_", "").Replace("_", "");
            Equal("name", status.ToString().ToUpperInvariant(), name);
        }
    }

    private static void Finalizers()
    {
        WeakReference forgotten = Forget();
        for (int i = 0; i < 10 && forgotten.IsAlive; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Equal("alive", false, forgotten.IsAlive);
    }

    private static WeakReference Forget()
    {
        // On another thread, so that no stale stack slot of this one keeps it.
        return Task.Run(() => new WeakReference(Reranker.Load("tests/fixtures/bert"))).Result;
    }

    /// <summary>The bytes of a text, of {"hex": ...} or of {"path": ...}; null of null.</summary>
    private static byte[] Bytes(JsonValue value)
    {
        if (value == null)
            return null;
        if (value.JsonType == JsonType.String)
            return Encoding.UTF8.GetBytes((string)value);
        if (value.ContainsKey("path"))
            return File.ReadAllBytes(value["path"]);
        string hex = value["hex"];
        return Enumerable.Range(0, hex.Length / 2).Select(i => Convert.ToByte(hex.Substring(2 * i, 2), 16)).ToArray();
    }

    private static bool Has(JsonObject value, string key)
    {
        return value.ContainsKey(key);
    }

    private static void Equal<T>(string what, T expected, T found)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, found))
            throw new Mismatch(what + " is " + found + ", not " + expected);
    }

    private static void Near(string what, double expected, double found)
    {
        if (!(Math.Abs(expected - found) <= tolerance))
            throw new Mismatch(what + " is " + found + ", not " + expected);
    }
}
