/* crossrank: rerank documents by relevance to a query.
 *
 * Contract, once for every function:
 *
 * - The status is the return value: CROSSRANK_OK (0) or an error. Outputs come last and are written on success alone.
 * - Handles are numbers, not pointers. {0} is the null handle. A handle that is null, stale, freed twice or forged gives
 *   CROSSRANK_ERR_HANDLE. Freeing an object that a call is using is safe: the call finishes.
 * - Texts are UTF-8 with a length. What you pass is not kept after the call, except for functions and their `user`
 *   pointers. You free handles and nothing else.
 * - Any function may be called on any thread, except from a log function. Models are immutable.
 * - Nothing unwinds or aborts out of a function, and nothing is printed.
 */

#ifndef CROSSRANK_H
#define CROSSRANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All defaults, where a function takes options. */
#ifdef __cplusplus
#define CROSSRANK_DEFAULTS (crossrank_options{0})
#else
#define CROSSRANK_DEFAULTS ((crossrank_options){0})
#endif

/* A string literal as a crossrank_str. */
#ifdef __cplusplus
#define CROSSRANK_STR(literal) (crossrank_str{"" literal, sizeof("" literal) - 1})
#else
#define CROSSRANK_STR(literal) ((crossrank_str){"" literal, sizeof("" literal) - 1})
#endif

/*
 Log level: what a developer wants to know.
 */
#define CROSSRANK_LOG_INFO 1

/*
 Log level: what is odd without being an error.
 */
#define CROSSRANK_LOG_WARNING 2

/*
 Text of crossrank_model_text: the name or path it was loaded by.
 */
#define CROSSRANK_TEXT_NAME 0

/*
 Text of crossrank_model_text: the architecture as config.json names it.
 */
#define CROSSRANK_TEXT_ARCHITECTURE 1

/*
 Text of crossrank_model_text: what turns logits into scores.
 */
#define CROSSRANK_TEXT_ACTIVATION 2

/*
 Text of crossrank_model_text: the name of output `index`.
 */
#define CROSSRANK_TEXT_LABEL 3

/*
 Text of crossrank_model_text: the GPU that computes; empty on the CPU.
 */
#define CROSSRANK_TEXT_ADAPTER 4

/*
 Text of crossrank_model_text: the shaders that the GPU got, `f32`, `f16` or `cooperative`; empty on the CPU.
 */
#define CROSSRANK_TEXT_TIER 5

/*
 Backend: the fastest this machine has.
 */
#define CROSSRANK_BACKEND_AUTO 0

/*
 Backend: SIMD on the host processor.
 */
#define CROSSRANK_BACKEND_CPU 1

/*
 Backend: naive float64 loops, the yardstick.
 */
#define CROSSRANK_BACKEND_REFERENCE 2

/*
 Backend: shaders on a GPU, in libraries that were built with it. A call whose GPU fails is finished on the CPU, and its
 usage says so.
 */
#define CROSSRANK_BACKEND_GPU 3

/*
 Precision: what the model's files hold.
 */
#define CROSSRANK_PRECISION_AUTO 0

/*
 Precision: float32, 4 bytes per weight.
 */
#define CROSSRANK_PRECISION_F32 1

/*
 Precision: float16, or bfloat16 where the files hold that: 2 bytes per weight, and the same bits as F32 for such files.
 Rounding float32 files moves logits by about 1e-3.
 */
#define CROSSRANK_PRECISION_F16_WEIGHTS 2

/*
 Precision: 8-bit integers with a float32 scale per output: 1 byte per weight, two to three times as fast as float32, and
 logits move by a few hundredths of their spread. Not for the GPU.
 */
#define CROSSRANK_PRECISION_INT8 3

/*
 GPU precision: float32, with logits within 1e-4 of the CPU's.
 */
#define CROSSRANK_GPU_PRECISION_F32 0

/*
 GPU precision: float16, with cooperative matrices where the GPU has them: faster, half the memory for weights, and logits
 within 5e-3 of the CPU's.
 */
#define CROSSRANK_GPU_PRECISION_F16 1

/*
 Instruction set: the best this machine has; none, in results of the reference backend.
 */
#define CROSSRANK_ISA_AUTO 0

/*
 Instruction set: plain code.
 */
#define CROSSRANK_ISA_SCALAR 1

/*
 Instruction set: 64-bit Arm.
 */
#define CROSSRANK_ISA_NEON 2

/*
 Instruction set: x86-64 with AVX2 and FMA.
 */
#define CROSSRANK_ISA_AVX2 3

/*
 Instruction set: x86-64 with AVX-512.
 */
#define CROSSRANK_ISA_AVX512 4

/*
 Truncation: DOCUMENT_ONLY in crossrank_rerank, LONGEST_FIRST in crossrank_score.
 */
#define CROSSRANK_TRUNCATION_DEFAULT 0

/*
 Truncation: cut the longer side first, as Hugging Face does.
 */
#define CROSSRANK_TRUNCATION_LONGEST_FIRST 1

/*
 Truncation: keep the whole query where it fits.
 */
#define CROSSRANK_TRUNCATION_DOCUMENT_ONLY 2

/*
 Truncation: refuse the call with CROSSRANK_ERR_TOO_LONG.
 */
#define CROSSRANK_TRUNCATION_ERROR 3

/*
 The binary interface that this header describes.
 */
#define CROSSRANK_ABI 0

/*
 First number of the version that this header came with.
 */
#define CROSSRANK_VERSION_MAJOR 0

/*
 Second number of the version that this header came with.
 */
#define CROSSRANK_VERSION_MINOR 1

/*
 Third number of the version that this header came with.
 */
#define CROSSRANK_VERSION_PATCH 0

/*
 What a call returns. 0 is success; codes are grouped with gaps and never reused.
 */
enum crossrank_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Success.
   */
  CROSSRANK_OK = 0,
  /*
   A pointer that must not be NULL is NULL.
   */
  CROSSRANK_ERR_NULL = 1,
  /*
   A handle is null, stale, freed, forged or of another kind.
   */
  CROSSRANK_ERR_HANDLE = 2,
  /*
   An argument or option has a value that makes no sense here.
   */
  CROSSRANK_ERR_ARGUMENT = 3,
  /*
   A text is not UTF-8 and the options ask for strictness.
   */
  CROSSRANK_ERR_UTF8 = 4,
  /*
   The caller's memory is too small; nothing was written.
   */
  CROSSRANK_ERR_BUFFER = 5,
  /*
   No model of that name or path.
   */
  CROSSRANK_ERR_NOT_FOUND = 20,
  /*
   The operating system could not read a file.
   */
  CROSSRANK_ERR_IO = 21,
  /*
   A file is broken.
   */
  CROSSRANK_ERR_FORMAT = 22,
  /*
   The checkpoint lacks a tensor.
   */
  CROSSRANK_ERR_MISSING_TENSOR = 23,
  /*
   A tensor has the wrong shape.
   */
  CROSSRANK_ERR_TENSOR_SHAPE = 24,
  /*
   A tensor is stored in an unknown type.
   */
  CROSSRANK_ERR_TENSOR_TYPE = 25,
  /*
   A well-formed model or a feature that this build does not support.
   */
  CROSSRANK_ERR_UNSUPPORTED = 26,
  /*
   The model would need more memory than the options allow.
   */
  CROSSRANK_ERR_MEMORY_LIMIT = 40,
  /*
   The system refused memory.
   */
  CROSSRANK_ERR_OUT_OF_MEMORY = 41,
  /*
   A pair is longer than the window and the truncation policy is CROSSRANK_TRUNCATION_ERROR.
   */
  CROSSRANK_ERR_TOO_LONG = 60,
  /*
   The model computed NaN or infinity for a pair.
   */
  CROSSRANK_ERR_NON_FINITE = 61,
  /*
   crossrank_rerank needs one score per pair, the model has several labels, and none was chosen.
   */
  CROSSRANK_ERR_SEVERAL_LABELS = 62,
  /*
   The call was cancelled.
   */
  CROSSRANK_ERR_CANCELLED = 63,
  /*
   The deadline passed before this pair was scored.
   */
  CROSSRANK_ERR_NOT_SCORED = 64,
  /*
   The GPU or its driver failed. Models go on with the CPU.
   */
  CROSSRANK_ERR_GPU = 80,
  /*
   A defect of crossrank, caught.
   */
  CROSSRANK_ERR_INTERNAL = 90,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum crossrank_status crossrank_status;
#else
typedef int32_t crossrank_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Cancels the calls it was given to through crossrank_options_set_cancel. {0} is the null handle.
 */
typedef struct crossrank_cancel {
  /*
   The library's own number for it.
   */
  uint64_t id;
} crossrank_cancel;

/*
 UTF-8 text or bytes of the caller: not NUL-terminated, and NUL is allowed inside. {NULL, 0} is empty. Nothing is kept
 after the call.
 */
typedef struct crossrank_str {
  /*
   First byte; may be NULL where `len` is 0.
   */
  const char *data;
  /*
   Bytes.
   */
  size_t len;
} crossrank_str;

/*
 Options of a load or of a call. {0}, CROSSRANK_DEFAULTS, stands for all defaults.
 */
typedef struct crossrank_options {
  /*
   The library's own number for it.
   */
  uint64_t id;
} crossrank_options;

/*
 A loaded cross-encoder. Immutable: any number of threads may use it at once. {0} is the null handle.
 */
typedef struct crossrank_model {
  /*
   The library's own number for it.
   */
  uint64_t id;
} crossrank_model;

/*
 A part of an open file, for example of an Android asset or a game archive. The file is read while loading and not closed.
 */
typedef struct crossrank_region {
  /*
   File descriptor; -1 stands for no file.
   */
  int32_t fd;
  /*
   First byte.
   */
  uint64_t offset;
  /*
   Bytes.
   */
  uint64_t length;
} crossrank_region;

/*
 Called with a CROSSRANK_LOG_ level and a message that lives until it returns, on the thread of the call that has something
 to say. Must not call the library and must not unwind.
 */
typedef void (*crossrank_log_fn)(void *user, int32_t level, struct crossrank_str message);

/*
 Facts about a model.
 */
typedef struct crossrank_info {
  /*
   Set it to sizeof(crossrank_info) before the call.
   */
  uint32_t size;
  /*
   The CROSSRANK_BACKEND_ value that computes.
   */
  int32_t backend;
  /*
   The CROSSRANK_ISA_ value that computes.
   */
  int32_t isa;
  /*
   Threads that compute.
   */
  uint32_t threads;
  /*
   Encoder layers.
   */
  uint32_t layers;
  /*
   Width of the residual stream.
   */
  uint32_t hidden;
  /*
   Attention heads.
   */
  uint32_t heads;
  /*
   Outputs per pair.
   */
  uint32_t labels;
  /*
   The longest input in tokens that a call may use.
   */
  uint32_t max_tokens;
  /*
   Tokens in the vocabulary.
   */
  uint32_t vocabulary;
  /*
   Bytes of the weights in memory.
   */
  uint64_t weight_bytes;
  /*
   Hash of every file that the model was made of.
   */
  uint64_t hash;
  /*
   Milliseconds that loading took.
   */
  double load_ms;
  /*
   The CROSSRANK_PRECISION_ value that the CPU's weights are kept in; never AUTO.
   */
  int32_t precision;
  /*
   For fields to come; 0.
   */
  uint32_t reserved;
} crossrank_info;

/*
 Calls `task(context, 0)` to `task(context, count - 1)`, each once, in any order and on any thread, and returns when all of
 them have returned. A task needs about 256 KiB of stack. Must not unwind.
 */
typedef void (*crossrank_parallel_fn)(void *user,
                                      size_t count,
                                      void (*task)(void *context, size_t index),
                                      void *context);

/*
 One document or pair with its score. Its size never changes: 64 bytes where pointers take 8.
 */
typedef struct crossrank_ranked {
  /*
   Bytes that this library has written: the fields up to here are valid.
   */
  uint32_t size;
  /*
   CROSSRANK_OK; CROSSRANK_ERR_NON_FINITE or CROSSRANK_ERR_NOT_SCORED, then score and logit are NaN.
   */
  int32_t status;
  /*
   Position in the input.
   */
  size_t index;
  /*
   The logit through the model's own activation; of the label ranked by, or in crossrank_score of the first.
   */
  double score;
  /*
   The model's raw output, for the same label. Under a softmax over several labels, the label's log-odds.
   */
  float logit;
  /*
   Tokens the model read for this pair, special tokens included.
   */
  uint32_t tokens;
  /*
   Tokens cut from the query to fit the window.
   */
  uint32_t query_cut;
  /*
   Tokens cut from the document to fit the window; at least, for documents not read to their end.
   */
  uint32_t document_cut;
  /*
   The bytes of the document that the score stands for, from window_start up to window_end: those of the best window. Both
   are 0 without crossrank_options_set_windows, and where there is no score. Bytes of the text as it was given; of text
   that is not UTF-8, bytes after each fault was replaced by the three of U+FFFD.
   */
  uint64_t window_start;
  /*
   See window_start.
   */
  uint64_t window_end;
  /*
   For fields to come; 0.
   */
  uint64_t reserved;
} crossrank_ranked;

/*
 Called on the thread of the call as pairs are scored: `done` of `total`, and the `count` pairs that were scored since the
 last time, in no particular order. Must not unwind.
 */
typedef void (*crossrank_progress_fn)(void *user,
                                      size_t done,
                                      size_t total,
                                      const struct crossrank_ranked *partial,
                                      size_t count);

/*
 A query and its documents, for crossrank_rerank_many.
 */
typedef struct crossrank_set {
  /*
   The query.
   */
  struct crossrank_str query;
  /*
   The documents.
   */
  const struct crossrank_str *documents;
  /*
   Documents.
   */
  size_t count;
} crossrank_set;

/*
 What one call cost and what ran.
 */
typedef struct crossrank_usage {
  /*
   Set it to sizeof(crossrank_usage) before the call.
   */
  uint32_t size;
  /*
   The CROSSRANK_BACKEND_ value that ran.
   */
  int32_t backend;
  /*
   The CROSSRANK_ISA_ value that ran.
   */
  int32_t isa;
  /*
   Groups of whole pairs that were computed together.
   */
  uint32_t groups;
  /*
   Tokens the model read, special tokens included.
   */
  uint64_t tokens;
  /*
   Tokens cut to fit the window.
   */
  uint64_t tokens_cut;
  /*
   Milliseconds turning text into token ids.
   */
  double tokenize_ms;
  /*
   Milliseconds computing logits.
   */
  double compute_ms;
  /*
   Milliseconds of the whole call.
   */
  double total_ms;
} crossrank_usage;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Makes a cancel. Free it with crossrank_cancel_free. Any thread. Since 0.1.
 */
crossrank_status crossrank_cancel_new(struct crossrank_cancel *cancel);

/*
 Cancels every call that holds this cancel, before, during or after; sticky. A running call looks at it between the layers
 of every group and returns CROSSRANK_ERR_CANCELLED. Any thread. Since 0.1.
 */
crossrank_status crossrank_cancel_trigger(struct crossrank_cancel cancel);

/*
 How many pairs the running call that holds this cancel has scored, of how many; for programs that would rather ask than
 be called. Both pointers may be NULL. Any thread. Since 0.1.
 */
crossrank_status crossrank_cancel_progress(struct crossrank_cancel cancel,
                                           size_t *done,
                                           size_t *total);

/*
 Frees a cancel; calls that hold it go on. Freeing twice is harmless and returns CROSSRANK_ERR_HANDLE. Any thread.
 Since 0.1.
 */
crossrank_status crossrank_cancel_free(struct crossrank_cancel cancel);

/*
 Loads a model from memory: the contents of config.json, tokenizer.json, tokenizer_config.json ({NULL, 0} for none) and
 model.safetensors, or of its `weight_count` shards. `name` is for messages. Nothing is kept after the call. Any thread.
 Since 0.1.
 */
crossrank_status crossrank_model_load_memory(const char *name,
                                             struct crossrank_str config,
                                             struct crossrank_str tokenizer,
                                             struct crossrank_str tokenizer_config,
                                             const struct crossrank_str *weights,
                                             size_t weight_count,
                                             struct crossrank_options options,
                                             struct crossrank_model *model);

/*
 crossrank_model_load_memory for parts of open files: every file has its region, `tokenizer_config` may have none. Not on
 Windows. Any thread; the descriptors' positions move. Since 0.1.
 */
crossrank_status crossrank_model_load_fd(const char *name,
                                         struct crossrank_region config,
                                         struct crossrank_region tokenizer,
                                         struct crossrank_region tokenizer_config,
                                         const struct crossrank_region *weights,
                                         size_t weight_count,
                                         struct crossrank_options options,
                                         struct crossrank_model *model);

/*
 Sends messages to `log`, with `user`; NULL stops them, and when this function returns, no call of the former `log` is under
 way. One for the whole process. Any thread. Default: none. Since 0.1.
 */
crossrank_status crossrank_set_log(crossrank_log_fn log,
                                   void *user);

/*
 Loads a model from a directory in Hugging Face layout, or by a name that is looked up in ./models and in the Hugging Face
 cache. Free it with crossrank_model_free. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_load(const char *path_or_name,
                                      struct crossrank_options options,
                                      struct crossrank_model *model);

/*
 Loads the model inside the library; CROSSRANK_ERR_UNSUPPORTED in a build without it. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_load_bundled(struct crossrank_options options,
                                              struct crossrank_model *model);

/*
 The memory that crossrank_model_load would take with these options, from the model's headers alone: bytes of the weights,
 and of work space when every thread has met the longest input. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_plan(const char *path_or_name,
                                      struct crossrank_options options,
                                      uint64_t *weight_bytes,
                                      uint64_t *work_bytes);

/*
 Frees a model. Calls that are using it finish, and the memory goes with the last of them. Freeing twice is harmless and
 returns CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_free(struct crossrank_model model);

/*
 Gives back work space that no call uses at the moment, for example on a memory warning. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_trim(struct crossrank_model model);

/*
 Does ahead of the first call what it would wait for: on a GPU, shaders are compiled and their results compared with the
 CPU's, which takes up to a few seconds. CROSSRANK_ERR_GPU where that fails; calls are computed on the CPU then. Nothing on the
 CPU. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_warmup(struct crossrank_model model);

/*
 Lets go of the GPU, as an app must that goes to the background: calls are computed on the CPU until crossrank_model_resume.
 On the CPU the same as crossrank_model_trim. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_suspend(struct crossrank_model model);

/*
 Takes the GPU back after crossrank_model_suspend. CROSSRANK_ERR_GPU where that fails; calls are computed on the CPU then, and
 it may be tried again. Nothing on the CPU. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_resume(struct crossrank_model model);

/*
 Facts about a model. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_info(struct crossrank_model model, struct crossrank_info *info);

/*
 Copies one of a model's texts, a CROSSRANK_TEXT_ value, to `buffer` as UTF-8 without a NUL and its bytes to `length`. With
 too little room CROSSRANK_ERR_BUFFER is returned and only `length` is written, so that a call with a `capacity` of 0 asks
 for the length. `index` is that of the label. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_text(struct crossrank_model model,
                                      int32_t text,
                                      size_t index,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *length);

/*
 Makes options with all defaults. Free them with crossrank_options_free. Any thread; one object may be used by several
 calls at once, each of which reads it when it starts. Since 0.1.
 */
crossrank_status crossrank_options_new(struct crossrank_options *options);

/*
 Frees options. Freeing twice is harmless and returns CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
 */
crossrank_status crossrank_options_free(struct crossrank_options options);

/*
 Which implementation computes, a CROSSRANK_BACKEND_ value. For loading. Default: AUTO. Since 0.1.
 */
crossrank_status crossrank_options_set_backend(struct crossrank_options options, int32_t backend);

/*
 The highest instruction set to use, a CROSSRANK_ISA_ value. For loading. Default: AUTO. Since 0.1.
 */
crossrank_status crossrank_options_set_isa(struct crossrank_options options, int32_t isa);

/*
 Worker threads, at least 1. For loading. Default: one per physical core. Since 0.1.
 */
crossrank_status crossrank_options_set_threads(struct crossrank_options options, size_t threads);

/*
 Window in tokens, special tokens included; never more than the model's own. For loading, and per call. Default: the
 model's own. Since 0.1.
 */
crossrank_status crossrank_options_set_max_tokens(struct crossrank_options options,
                                                  size_t tokens);

/*
 The most bytes that weights and work space together may take. For loading. Default: no limit. Since 0.1.
 */
crossrank_status crossrank_options_set_memory_limit(struct crossrank_options options, uint64_t bytes);

/*
 Whether CROSSRANK_BACKEND_GPU may use a processor that poses as a GPU: for tests, being slower than the CPU. For loading.
 Default: false. Since 0.1.
 */
crossrank_status crossrank_options_set_allow_software_gpu(struct crossrank_options options,
                                                          bool allow);

/*
 What the CPU keeps weights as, and whether it multiplies floats or integers, a CROSSRANK_PRECISION_ value. A load for
 CROSSRANK_BACKEND_GPU refuses INT8 with CROSSRANK_ERR_ARGUMENT. For loading. Default: AUTO. Since 0.1.
 */
crossrank_status crossrank_options_set_precision(struct crossrank_options options,
                                                 int32_t precision);

/*
 What a GPU stores weights and the inputs of linear layers as, a CROSSRANK_GPU_PRECISION_ value. For loading. Default: F32.
 Since 0.1.
 */
crossrank_status crossrank_options_set_gpu_precision(struct crossrank_options options,
                                                     int32_t precision);

/*
 A folder, which exists, for compiled shaders: read at load, written by crossrank_model_warmup. Nobody else should be able to
 write to it. NULL takes it back. Without effect on the CPU. For loading. Default: none. Since 0.1.
 */
crossrank_status crossrank_options_set_gpu_cache(struct crossrank_options options,
                                                 const char *folder);

/*
 Computes on the program's own threads, for example a game engine's job system: `parallel` runs the tasks, `threads` of
 them at once, and the library starts none. `user` is handed to every call of `parallel`; both must live as long as models
 loaded with these options. NULL takes it back. For loading. Default: the library's own threads. Since 0.1.
 */
crossrank_status crossrank_options_set_executor(struct crossrank_options options,
                                                size_t threads,
                                                crossrank_parallel_fn parallel,
                                                void *user);

/*
 What to do with pairs longer than the window, a CROSSRANK_TRUNCATION_ value. Per call. Default: DEFAULT. Since 0.1.
 */
crossrank_status crossrank_options_set_truncation(struct crossrank_options options,
                                                  int32_t truncation);

/*
 Reads documents longer than the window in at most this many overlapping windows, instead of cutting them; the best one scores
 the document, and crossrank_ranked says which bytes it holds. A query longer than half of the window is cut to half. 0 takes
 it back. Needs a model with one label. Per call. Default: 0. Since 0.1.
 */
crossrank_status crossrank_options_set_windows(struct crossrank_options options,
                                               size_t count);

/*
 Tokens that neighbouring windows share, at most half of what a window holds of a document. Per call. Default: 64. Since 0.1.
 */
crossrank_status crossrank_options_set_window_overlap(struct crossrank_options options,
                                                      size_t tokens);

/*
 Rank at most this many documents. Per call. Default: as many as the results have room for. Since 0.1.
 */
crossrank_status crossrank_options_set_top_k(struct crossrank_options options, size_t count);

/*
 Leave out documents whose score (not logit) is below this. Per call. Default: none. Since 0.1.
 */
crossrank_status crossrank_options_set_threshold(struct crossrank_options options, double score);

/*
 Rank by this label of a model with several, counted from 0. Per call. Default: the only one; of two that have no names and
 no activation, the second, through a softmax. Since 0.1.
 */
crossrank_status crossrank_options_set_label(struct crossrank_options options,
                                             size_t label);

/*
 Stop after this many milliseconds: pairs not scored by then have status CROSSRANK_ERR_NOT_SCORED and come last. Per call.
 Default: never. Since 0.1.
 */
crossrank_status crossrank_options_set_time_limit(struct crossrank_options options,
                                                  uint64_t milliseconds);

/*
 Lets another thread cancel the call, or ask how far it is. The null handle takes it back. Per call. Default: none.
 Since 0.1.
 */
crossrank_status crossrank_options_set_cancel(struct crossrank_options options,
                                              struct crossrank_cancel cancel);

/*
 Calls `progress` as pairs are scored, with `user`. Both must live as long as calls with these options. NULL takes it back.
 Per call. Default: none. Since 0.1.
 */
crossrank_status crossrank_options_set_progress(struct crossrank_options options,
                                                crossrank_progress_fn progress,
                                                void *user);

/*
 Whether ill-formed UTF-8 is refused with CROSSRANK_ERR_UTF8, whose message names the index, rather than read as U+FFFD.
 Per call. Default: false. Since 0.1.
 */
crossrank_status crossrank_options_set_strict_utf8(struct crossrank_options options,
                                                   bool strict);

/*
 Ranks documents by relevance to a query: the best `capacity` of them (or fewer, by the options) go to `results`, best first,
 ties in input order, and their number to `found`. A model with several labels needs
 crossrank_options_set_label. No documents give an empty ranking. Any
 thread. Since 0.1.
 */
crossrank_status crossrank_rerank(struct crossrank_model model,
                                  struct crossrank_str query,
                                  const struct crossrank_str *documents,
                                  size_t count,
                                  struct crossrank_options options,
                                  struct crossrank_ranked *results,
                                  size_t capacity,
                                  size_t *found);

/*
 Ranks several sets in one go, which is faster than one by one. The results of each set follow those of the set before, and
 `found`, which has room for `set_count` numbers, says how many each has. `capacity` is at least the documents of all sets,
 or as many as the options' top_k leaves of each; else CROSSRANK_ERR_BUFFER. Any thread. Since 0.1.
 */
crossrank_status crossrank_rerank_many(struct crossrank_model model,
                                       const struct crossrank_set *sets,
                                       size_t set_count,
                                       struct crossrank_options options,
                                       struct crossrank_ranked *results,
                                       size_t capacity,
                                       size_t *found);

/*
 Scores `count` pairs of a query and a document, in input order, pair by pair and label by label: raw outputs to `logits`, what
 the model's own activation makes of them to `scores`, and details to `details`. `logits` and `scores` have room for `capacity`
 >= count * labels numbers, `details` for `count` of them; what is not wanted may be NULL. Any thread. Since 0.1.
 */
crossrank_status crossrank_score(struct crossrank_model model,
                                 const struct crossrank_str *queries,
                                 const struct crossrank_str *documents,
                                 size_t count,
                                 struct crossrank_options options,
                                 float *logits,
                                 double *scores,
                                 size_t capacity,
                                 struct crossrank_ranked *details);

/*
 The name of a status, such as "CROSSRANK_ERR_HANDLE"; "unknown" for a number that is none. Never NULL; lives as long as
 the library. Any thread. Since 0.1.
 */
const char *crossrank_status_name(int32_t status);

/*
 What went wrong in this thread's last call that failed, for people: it names the file, the tensor or the index and says
 what to do; programs go by the status. Empty before the first failure. Never NULL; valid until this thread's next call
 that fails. Since 0.1.
 */
const char *crossrank_last_message(void);

/*
 The usage of this thread's last crossrank_score, crossrank_rerank or crossrank_rerank_many that succeeded; zeros before the
 first. Any thread. Since 0.1.
 */
crossrank_status crossrank_last_usage(struct crossrank_usage *usage);

/*
 The number of the binary interface, the N of libcrossrank.so.N: programs built for one number run with every library of
 that number. Any thread. Since 0.1.
 */
uint32_t crossrank_abi(void);

/*
 The version of the library, such as "0.1.0". Never NULL; lives as long as the library. Any thread. Since 0.1.
 */
const char *crossrank_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CROSSRANK_H */
