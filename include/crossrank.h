/* crossrank: rerank documents by relevance to a query.
 *
 * Rules for every function:
 *
 * - Functions that can fail return a status: CROSSRANK_OK (0) or an error. Outputs are the last parameters, and are written only
 *   on success unless the function says otherwise.
 * - Handles are numbers, not pointers. {0} is the null handle. A handle that is null, freed or forged gives
 *   CROSSRANK_ERR_HANDLE. Freeing an object during a call that uses it is safe: the call finishes.
 * - Texts are UTF-8 with a length. The library does not keep pointers to arguments after the call, except callbacks and their
 *   `user` pointers. The caller frees handles and nothing else.
 * - Functions may be called on any thread, and several at once, but not from a log function. Models are immutable.
 * - Functions do not unwind, abort or print.
 */

#ifndef CROSSRANK_H
#define CROSSRANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The default options, for functions that take options. */
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
 The binary interface that this header describes.
 */
#define CROSSRANK_ABI 0

/*
 Major version of the library that this header belongs to.
 */
#define CROSSRANK_VERSION_MAJOR 0

/*
 Minor version of the library that this header belongs to.
 */
#define CROSSRANK_VERSION_MINOR 2

/*
 Patch version of the library that this header belongs to.
 */
#define CROSSRANK_VERSION_PATCH 0

/*
 Backend: the fastest that this machine has.
 */
#define CROSSRANK_BACKEND_AUTO 0

/*
 Backend: SIMD kernels on the CPU.
 */
#define CROSSRANK_BACKEND_CPU 1

/*
 Backend: the reference implementation, plain float64 loops. Slow; for comparison.
 */
#define CROSSRANK_BACKEND_REFERENCE 2

/*
 Backend: shaders on a GPU, in libraries that were built with GPU support. A call whose GPU fails is finished on the CPU,
 and its usage says so.
 */
#define CROSSRANK_BACKEND_GPU 3

/*
 Precision: the type that the model's files store.
 */
#define CROSSRANK_PRECISION_AUTO 0

/*
 Precision: float32, 4 bytes per weight.
 */
#define CROSSRANK_PRECISION_F32 1

/*
 Precision: float16, or bfloat16 where the files store that: 2 bytes per weight, and for such files the same bits in every
 score as F32. Rounding float32 files moves logits by about 1e-3.
 */
#define CROSSRANK_PRECISION_F16_WEIGHTS 2

/*
 Precision: 8-bit integers with one float32 scale per output feature: 1 byte per weight, two to three times as fast as
 float32, and logits move by a few hundredths of their spread. Not for the GPU.
 */
#define CROSSRANK_PRECISION_INT8 3

/*
 GPU precision: float32, with logits within 1e-4 of float64.
 */
#define CROSSRANK_GPU_PRECISION_F32 0

/*
 GPU precision: float16, with cooperative matrices where the GPU has them: faster, half the memory for weights, and logits
 within 5e-3 of float64.
 */
#define CROSSRANK_GPU_PRECISION_F16 1

/*
 Instruction set: the best that this machine has; in results of the reference backend, none.
 */
#define CROSSRANK_ISA_AUTO 0

/*
 Instruction set: portable code without SIMD instructions.
 */
#define CROSSRANK_ISA_SCALAR 1

/*
 Instruction set: 64-bit Arm with NEON.
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
 Truncation: cut the longer of query and document first, as Hugging Face does.
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
 Log level: information for developers.
 */
#define CROSSRANK_LOG_INFO 1

/*
 Log level: something unexpected that is not an error.
 */
#define CROSSRANK_LOG_WARNING 2

/*
 Text of crossrank_model_text: the name or path that the model was loaded by.
 */
#define CROSSRANK_TEXT_NAME 0

/*
 Text of crossrank_model_text: the architecture as config.json names it.
 */
#define CROSSRANK_TEXT_ARCHITECTURE 1

/*
 Text of crossrank_model_text: the activation function that turns logits into scores.
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
 Text of crossrank_model_text: the set of shaders that runs on the GPU, `f32`, `f16` or `cooperative`; empty on the CPU.
 */
#define CROSSRANK_TEXT_TIER 5

/*
 Text of crossrank_model_text: the name of prompt `index`, for crossrank_options_set_prompt_name. CROSSRANK_ERR_ARGUMENT is
 returned for an index after the last.
 */
#define CROSSRANK_TEXT_PROMPT_NAME 6

/*
 Text of crossrank_model_text: the name of the prompt that calls without one get; empty if there is none.
 */
#define CROSSRANK_TEXT_DEFAULT_PROMPT_NAME 7

/*
 What a call returns. 0 is success. Codes are grouped, with gaps between the groups, and a code never changes its meaning.
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
   An argument or option has a value that is not allowed here.
   */
  CROSSRANK_ERR_ARGUMENT = 3,
  /*
   A text is not UTF-8, and crossrank_options_set_strict_utf8 or the kind of text does not allow that.
   */
  CROSSRANK_ERR_UTF8 = 4,
  /*
   The caller's memory is too small. No result was written.
   */
  CROSSRANK_ERR_BUFFER = 5,
  /*
   There is no model with that name or path.
   */
  CROSSRANK_ERR_NOT_FOUND = 20,
  /*
   The operating system could not read a file.
   */
  CROSSRANK_ERR_IO = 21,
  /*
   A file is malformed.
   */
  CROSSRANK_ERR_FORMAT = 22,
  /*
   A tensor is missing from the checkpoint.
   */
  CROSSRANK_ERR_MISSING_TENSOR = 23,
  /*
   A tensor has the wrong shape.
   */
  CROSSRANK_ERR_TENSOR_SHAPE = 24,
  /*
   A tensor is stored in a type that is not supported.
   */
  CROSSRANK_ERR_TENSOR_TYPE = 25,
  /*
   The model is well-formed, or the feature exists, but this build does not support it.
   */
  CROSSRANK_ERR_UNSUPPORTED = 26,
  /*
   The model would need more memory than the options allow.
   */
  CROSSRANK_ERR_MEMORY_LIMIT = 40,
  /*
   The operating system refused memory.
   */
  CROSSRANK_ERR_OUT_OF_MEMORY = 41,
  /*
   A pair is longer than the window, and truncation is CROSSRANK_TRUNCATION_ERROR.
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
   The time limit passed before this pair was scored.
   */
  CROSSRANK_ERR_NOT_SCORED = 64,
  /*
   The GPU or its driver failed. The model computes on the CPU until its device is opened again.
   */
  CROSSRANK_ERR_GPU = 80,
  /*
   A defect of this library was caught: please report it.
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
 UTF-8 text, or bytes, of the caller: without a NUL at the end, and with NUL allowed inside. {NULL, 0} is empty. The library
 does not keep the pointer after the call.
 */
typedef struct crossrank_str {
  /*
   The first byte; may be NULL if `len` is 0.
   */
  const char *data;
  /*
   Length in bytes.
   */
  size_t len;
} crossrank_str;

/*
 Called with a CROSSRANK_LOG_ level and a message, on the thread of the call that logs it. `message` is valid until the
 function returns. Must not call the library and must not unwind.
 */
typedef void (*crossrank_log_fn)(void *user, int32_t level, struct crossrank_str message);

/*
 Cancels the calls whose options hold it: see crossrank_options_set_cancel. {0} is the null handle.
 */
typedef struct crossrank_cancel {
  /*
   The library's number of the object.
   */
  uint64_t id;
} crossrank_cancel;

/*
 Options of a load or of a call. {0}, CROSSRANK_DEFAULTS, stands for all defaults.
 */
typedef struct crossrank_options {
  /*
   The library's number of the object.
   */
  uint64_t id;
} crossrank_options;

/*
 Runs tasks on the program's threads: calls `task(context, 0)` to `task(context, count - 1)`, each once, in any order and on
 any thread, and returns when all of them have returned. A task needs about 256 KiB of stack. Must not unwind.
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
   CROSSRANK_OK; or CROSSRANK_ERR_NON_FINITE or CROSSRANK_ERR_NOT_SCORED, then score and logit are NaN.
   */
  int32_t status;
  /*
   Index of the document or pair in the input.
   */
  size_t index;
  /*
   The logit after the model's own activation function; for the label ranked by, or in crossrank_score for the first label.
   */
  double score;
  /*
   The model's raw output for the same label. Under a softmax over several labels, the label's log-odds.
   */
  float logit;
  /*
   Tokens that the model read for this pair, special tokens included.
   */
  uint32_t tokens;
  /*
   Tokens cut from the query to fit the window; like document_cut, a lower bound for text that was not tokenized to its end.
   */
  uint32_t query_cut;
  /*
   Tokens cut from the document to fit the window; a lower bound, and at least 1, for documents that were not tokenized to
   their end.
   */
  uint32_t document_cut;
  /*
   First byte of the part of the document that the score is for: of the best window. Both window_start and window_end are
   0 without crossrank_options_set_windows, and where there is no score. They count bytes of the text as it was given; for
   text that is not UTF-8, bytes after each ill-formed sequence was replaced by U+FFFD, which takes three.
   */
  uint64_t window_start;
  /*
   One past the last byte of that part.
   */
  uint64_t window_end;
  /*
   For fields to come; 0.
   */
  uint64_t reserved;
} crossrank_ranked;

/*
 Called on the thread of the call as pairs are scored: `done` of `total` pairs are scored, and `partial` has the `count` of
 them that were scored since the last time, in no particular order. `partial` is valid until the function returns. Must not
 unwind.
 */
typedef void (*crossrank_progress_fn)(void *user,
                                      size_t done,
                                      size_t total,
                                      const struct crossrank_ranked *partial,
                                      size_t count);

/*
 A loaded cross-encoder. It is immutable: any number of threads may use it at once. {0} is the null handle.
 */
typedef struct crossrank_model {
  /*
   The library's number of the object.
   */
  uint64_t id;
} crossrank_model;

/*
 Facts about a model.
 */
typedef struct crossrank_info {
  /*
   Set this to sizeof(crossrank_info) before the call.
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
   Number of threads that compute.
   */
  uint32_t threads;
  /*
   Number of encoder layers.
   */
  uint32_t layers;
  /*
   Hidden size: features per token between layers.
   */
  uint32_t hidden;
  /*
   Number of attention heads.
   */
  uint32_t heads;
  /*
   Number of outputs per pair.
   */
  uint32_t labels;
  /*
   The longest input of a call, in tokens.
   */
  uint32_t max_tokens;
  /*
   Number of tokens in the tokenizer's vocabulary.
   */
  uint32_t vocabulary;
  /*
   Bytes of the weights in memory.
   */
  uint64_t weight_bytes;
  /*
   Hash of all files of the model.
   */
  uint64_t hash;
  /*
   Milliseconds that loading took.
   */
  double load_ms;
  /*
   The CROSSRANK_PRECISION_ value of the weights on the CPU; never AUTO.
   */
  int32_t precision;
  /*
   For fields to come; 0.
   */
  uint32_t reserved;
} crossrank_info;

/*
 A part of an open file, for example of an Android asset or a game archive. The file is read during the load and stays open.
 */
typedef struct crossrank_region {
  /*
   File descriptor; -1 for no file.
   */
  int32_t fd;
  /*
   Offset of the first byte.
   */
  uint64_t offset;
  /*
   Length in bytes.
   */
  uint64_t length;
} crossrank_region;

/*
 The cost of one call, and where it ran.
 */
typedef struct crossrank_usage {
  /*
   Set this to sizeof(crossrank_usage) before the call.
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
   Number of groups of pairs that were computed together.
   */
  uint32_t groups;
  /*
   Tokens that the model read, special tokens included.
   */
  uint64_t tokens;
  /*
   Tokens cut to fit the window; a lower bound where a text was not tokenized to its end.
   */
  uint64_t tokens_cut;
  /*
   Milliseconds of tokenization.
   */
  double tokenize_ms;
  /*
   Milliseconds of computing logits.
   */
  double compute_ms;
  /*
   Milliseconds of the whole call.
   */
  double total_ms;
} crossrank_usage;

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
   Number of documents.
   */
  size_t count;
} crossrank_set;

/*
 Texts in one buffer, as Apache Arrow lays them out: text i is the bytes from `offsets[i]` to `offsets[i + 1]` of `data`. The
 library does not keep the pointers after the call.
 */
typedef struct crossrank_texts {
  /*
   The first byte of the first text, UTF-8; may be NULL if `len` is 0.
   */
  const char *data;
  /*
   Length of `data` in bytes.
   */
  size_t len;
  /*
   `count` + 1 offsets in bytes, none lower than the one before it and none above `len`; may be NULL if `count` is 0.
   */
  const uint64_t *offsets;
  /*
   Number of texts.
   */
  size_t count;
} crossrank_texts;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The number of the binary interface, the N of libcrossrank.so.N. A program works with every library whose number is the
 CROSSRANK_ABI it was compiled with, and with no other: compare the two before any other call.

 Any thread. Since 0.1.
 */
uint32_t crossrank_abi(void);

/*
 The version of the library, such as "0.2.0".

 Returns a NUL-terminated string of the library, never NULL, which lives as long as the library: do not free it. Any
 thread. Since 0.1.
 */
const char *crossrank_version(void);

/*
 The name of a status, such as "CROSSRANK_ERR_HANDLE".

 - `status`: any number, for example the status of a crossrank_ranked.

 Returns a NUL-terminated string of the library, never NULL, which lives as long as the library: do not free it. It is
 "unknown" for a number that is not a status. Any thread. Since 0.1.
 */
const char *crossrank_status_name(int32_t status);

/*
 The message of this thread's last failed call, for people: it names the file, the tensor or the index and says what to do.
 Programs decide by the status.

 Returns a NUL-terminated UTF-8 string of the library, never NULL, empty before the first failure: do not free it. It is
 valid until this thread's next call that fails. Any thread. Since 0.1.
 */
const char *crossrank_last_message(void);

/*
 Copies the message of this thread's last failed call, for bindings that keep it longer than until the next failure.

 - `buffer`: receives the message, UTF-8 with a NUL at the end; may be NULL if `capacity` is 0. A message that is too long is
   cut between two characters.
 - `capacity`: bytes of `buffer`.

 Returns the length of the whole message in bytes, without the NUL: it was copied whole if that is less than `capacity`. 0
 before the first failure. It never fails, and the message stays. Any thread. Since 0.2.
 */
size_t crossrank_last_message_copy(char *buffer,
                                   size_t capacity);

/*
 Sets the function that receives messages, one for the whole process. When this returns, no call of the former function is
 in progress.

 - `log`: the function; NULL turns messages off. Default: off.
 - `user`: passed to every call of `log`; may be NULL.

 `log` and `user` must stay valid until another function is set. Any thread. Since 0.1.
 */
crossrank_status crossrank_set_log(crossrank_log_fn log,
                                   void *user);

/*
 Makes a cancel object.

 - `cancel`: receives the handle. Free it with crossrank_cancel_free.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_cancel_new(struct crossrank_cancel *cancel);

/*
 Cancels every call whose options hold this object: those that are running, which check it between the layers of every group
 of pairs, and all later ones. They return CROSSRANK_ERR_CANCELLED. It cannot be undone: make another object instead.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_cancel_trigger(struct crossrank_cancel cancel);

/*
 Reads the progress of the running call whose options hold this object; for programs that poll instead of using a callback.

 - `done`: receives the number of pairs scored; may be NULL.
 - `total`: receives the number of pairs of the call; may be NULL.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_cancel_progress(struct crossrank_cancel cancel,
                                           size_t *done,
                                           size_t *total);

/*
 Frees a cancel object. Calls and options that hold it are not affected. Freeing twice is harmless and returns
 CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
 */
crossrank_status crossrank_cancel_free(struct crossrank_cancel cancel);

/*
 Makes an options object with all defaults.

 - `options`: receives the handle. Free it with crossrank_options_free.

 One object may be used by several calls at once; each call reads it when it starts. Any thread. Since 0.1.
 */
crossrank_status crossrank_options_new(struct crossrank_options *options);

/*
 Frees an options object. Freeing twice is harmless and returns CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
 */
crossrank_status crossrank_options_free(struct crossrank_options options);

/*
 For loading, and per call: sets the window, the longest input that the model reads.

 - `tokens`: window in tokens, special tokens included; never more than the model's own. Default: the model's own.
   A window without room for a token of the query and one of the document beside the special tokens is refused.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_max_tokens(struct crossrank_options options,
                                                  size_t tokens);

/*
 For loading: sets which implementation computes.

 - `backend`: a CROSSRANK_BACKEND_ value. Default: AUTO.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_backend(struct crossrank_options options, int32_t backend);

/*
 For loading: sets the highest instruction set that the CPU backend may use.

 - `isa`: a CROSSRANK_ISA_ value. Default: AUTO.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_isa(struct crossrank_options options, int32_t isa);

/*
 For loading: sets the number of worker threads.

 - `threads`: at least 1. Default: one per physical core.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_threads(struct crossrank_options options, size_t threads);

/*
 For loading: limits the memory of the model. A load that needs more returns CROSSRANK_ERR_MEMORY_LIMIT.

 - `bytes`: the maximum of weights and work space together. Default: no limit.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_memory_limit(struct crossrank_options options, uint64_t bytes);

/*
 For loading: sets whether CROSSRANK_BACKEND_GPU may use a software adapter, a driver that runs shaders on the CPU. It is
 slower than the CPU backend: for tests.

 - `allow`: default: false.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_allow_software_gpu(struct crossrank_options options,
                                                          bool allow);

/*
 For loading: sets the type in which the CPU keeps weights, and whether it multiplies floats or integers. A load for
 CROSSRANK_BACKEND_GPU refuses INT8 with CROSSRANK_ERR_ARGUMENT.

 - `precision`: a CROSSRANK_PRECISION_ value. Default: AUTO.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_precision(struct crossrank_options options,
                                                 int32_t precision);

/*
 For loading: sets the type in which a GPU stores weights and the inputs of linear layers.

 - `precision`: a CROSSRANK_GPU_PRECISION_ value. Default: F32.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_gpu_precision(struct crossrank_options options, int32_t precision);

/*
 For loading: sets a directory for compiled shaders, which is read at load and written by crossrank_model_warmup. Other users
 must not be able to write to it. Without effect on the CPU.

 - `folder`: NUL-terminated UTF-8 path of a directory that exists; NULL for none. Default: none.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_gpu_cache(struct crossrank_options options,
                                                 const char *folder);

/*
 For loading: computes on the program's own threads, for example a game engine's job system. The library starts no threads
 then.

 - `threads`: how many tasks `parallel` runs at once.
 - `parallel`: runs the tasks; NULL for the library's own threads. Default: NULL.
 - `user`: passed to every call of `parallel`; may be NULL.

 `parallel` and `user` must stay valid as long as models that were loaded with these options. Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_executor(struct crossrank_options options,
                                                size_t threads,
                                                crossrank_parallel_fn parallel,
                                                void *user);

/*
 Per call: sets what happens to pairs longer than the window.

 - `truncation`: a CROSSRANK_TRUNCATION_ value. Default: DEFAULT.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_truncation(struct crossrank_options options, int32_t truncation);

/*
 Per call: reads documents longer than the window in several overlapping windows instead of truncating them. The window
 with the best score gives the document's score, and crossrank_ranked says which bytes it covers. A query longer than half
 of the window is truncated to half. Needs a model with one label or,
 in crossrank_rerank, a label set with crossrank_options_set_label.

 - `count`: the maximum number of windows per document; 0 truncates. Default: 0.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_windows(struct crossrank_options options,
                                               size_t count);

/*
 Per call: sets how many tokens neighbouring windows share.

 - `tokens`: at most half of what a window holds of a document. Default: 64.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_window_overlap(struct crossrank_options options, size_t tokens);

/*
 Per call: limits the number of documents in a ranking.

 - `count`: the maximum. Default: the capacity of `results`.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_top_k(struct crossrank_options options, size_t count);

/*
 Per call: leaves out documents with a low score.

 - `score`: the lowest score (not logit) that stays. Default: none is left out. NaN returns CROSSRANK_ERR_ARGUMENT.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_threshold(struct crossrank_options options,
                                                 double score);

/*
 Per call: sets the label by which a model with several labels ranks.

 - `label`: counted from 0. Default: the only label; of two labels that have no names and no activation function, the
   second, through a softmax.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_label(struct crossrank_options options,
                                             size_t label);

/*
 Per call: sets a text that is read before every query, as part of it.

 - `prompt`: UTF-8, for example "Given a web query: ", with the space at its end. {"", 0} and {NULL, 0} switch off the model's
   default prompt. Default: that of crossrank_options_set_prompt_name.

 Text that is not UTF-8 returns CROSSRANK_ERR_UTF8. Any thread. Since 0.2.
 */
crossrank_status crossrank_options_set_prompt(struct crossrank_options options,
                                              struct crossrank_str prompt);

/*
 Per call: chooses one of the model's own prompts. Without effect beside crossrank_options_set_prompt. A call whose model has no
 prompt of that name returns CROSSRANK_ERR_ARGUMENT.

 - `name`: NUL-terminated UTF-8: a CROSSRANK_TEXT_PROMPT_NAME of crossrank_model_text. NULL for the model's default prompt.
   Default: NULL.

 Any thread. Since 0.2.
 */
crossrank_status crossrank_options_set_prompt_name(struct crossrank_options options,
                                                   const char *name);

/*
 Per call: stops after a time. The call succeeds; pairs that were not scored by then have status CROSSRANK_ERR_NOT_SCORED
 and come last. A second call with those alone goes on.

 Pairs are scored in their order. The first group is one pair, so that there is a score as soon as one fits; groups grow
 with the measured speed, and shrink again as time runs out. The time is looked at before each text is tokenized and after
 each layer of a group: a call ends late by a layer of one such small group at most, on a GPU by what is submitted at once,
 which is a small group as well. No bit of a score depends on its group.

 - `milliseconds`: time from the start of the call. Default: no limit.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_time_limit(struct crossrank_options options,
                                                  uint64_t milliseconds);

/*
 Per call: lets another thread cancel the call, or ask for its progress.

 - `cancel`: the options keep the object behind the handle, which may be freed. The null handle removes it. Default: none.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_cancel(struct crossrank_options options,
                                              struct crossrank_cancel cancel);

/*
 Per call: sets a function that is called as pairs are scored.

 - `progress`: the function; NULL removes it. Default: none.
 - `user`: passed to every call of `progress`; may be NULL.

 `progress` and `user` must stay valid as long as calls with these options. Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_progress(struct crossrank_options options,
                                                crossrank_progress_fn progress,
                                                void *user);

/*
 Per call: sets whether text that is not UTF-8 is refused with CROSSRANK_ERR_UTF8, whose message names the index, or read with
 U+FFFD in place of each ill-formed sequence.

 - `strict`: true refuses. Default: false.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_options_set_strict_utf8(struct crossrank_options options,
                                                   bool strict);

/*
 Loads a model from a directory.

 - `path_or_name`: NUL-terminated UTF-8: a directory in Hugging Face layout, or a name that is looked up in ./models and in the
   Hugging Face cache.
 - `options`: options for loading, or CROSSRANK_DEFAULTS.
 - `model`: receives the handle. Free it with crossrank_model_free.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_model_load(const char *path_or_name,
                                      struct crossrank_options options,
                                      struct crossrank_model *model);

/*
 Loads the model that is built into the library. Returns CROSSRANK_ERR_UNSUPPORTED in a build without one.

 - `options`: options for loading, or CROSSRANK_DEFAULTS.
 - `model`: receives the handle. Free it with crossrank_model_free.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_model_load_bundled(struct crossrank_options options,
                                              struct crossrank_model *model);

/*
 Predicts the memory that a model would take, from its configuration and the headers of its files, without loading it.

 - `path_or_name`: as in crossrank_model_load.
 - `options`: options for loading, or CROSSRANK_DEFAULTS.
 - `weight_bytes`: receives the size of the weights.
 - `work_bytes`: receives the size of the work space after every thread has processed the longest input.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_model_plan(const char *path_or_name,
                                      struct crossrank_options options,
                                      uint64_t *weight_bytes,
                                      uint64_t *work_bytes);

/*
 Frees a model. Calls that are using it finish, and its memory is freed when the last of them ends. Freeing twice is harmless
 and returns CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_free(struct crossrank_model model);

/*
 Frees work space that no call is using, for example on a memory warning. Later calls allocate it again. Any thread.
 Since 0.1.
 */
crossrank_status crossrank_model_trim(struct crossrank_model model);

/*
 Prepares the GPU, so that the first call does not wait: compiles shaders and compares their results with the CPU's, which
 takes up to a few seconds. Returns CROSSRANK_ERR_GPU if that fails; calls are computed on the CPU then. Does nothing for a
 model on the CPU. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_warmup(struct crossrank_model model);

/*
 Releases the GPU, as an app must before it goes to the background: calls are computed on the CPU until
 crossrank_model_resume. For a model on the CPU, the same as crossrank_model_trim. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_suspend(struct crossrank_model model);

/*
 Opens the GPU again after crossrank_model_suspend. Returns CROSSRANK_ERR_GPU if that fails; calls are computed on the CPU
 then, and it may be tried again. Does nothing for a model on the CPU. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_resume(struct crossrank_model model);

/*
 Reads facts about a model.

 - `info`: set its `size` first; receives the facts.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_model_info(struct crossrank_model model, struct crossrank_info *info);

/*
 Copies one of a model's texts. To learn its length first, call it with a `capacity` of 0.

 - `text`: a CROSSRANK_TEXT_ value.
 - `index`: the index of the label for CROSSRANK_TEXT_LABEL, of the prompt for CROSSRANK_TEXT_PROMPT_NAME, else ignored.
 - `buffer`: receives the text, UTF-8 without a NUL at the end; may be NULL if `capacity` is 0.
 - `capacity`: bytes of `buffer`.
 - `length`: receives the length of the text in bytes, also if `buffer` is too small.

 Returns CROSSRANK_ERR_BUFFER if `buffer` is too small: only `length` is written then. Any thread. Since 0.1.
 */
crossrank_status crossrank_model_text(struct crossrank_model model,
                                      int32_t text,
                                      size_t index,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *length);

/*
 Loads a model from memory. The library copies what it needs: the caller's memory may be freed after the call.

 - `name`: NUL-terminated UTF-8; the model's name in messages.
 - `config`: contents of config.json.
 - `tokenizer`: contents of tokenizer.json.
 - `tokenizer_config`: contents of tokenizer_config.json; {NULL, 0} for none.
 - `weights`: contents of model.safetensors, or of its shards.
 - `weight_count`: number of elements of `weights`.
 - `options`: options for loading, or CROSSRANK_DEFAULTS.
 - `model`: receives the handle. Free it with crossrank_model_free.

 Any thread. Since 0.1.
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
 Loads a model from parts of open files. The descriptors stay open; their file positions change. Returns
 CROSSRANK_ERR_UNSUPPORTED on Windows.

 - `name`: NUL-terminated UTF-8; the model's name in messages.
 - `config`: config.json.
 - `tokenizer`: tokenizer.json.
 - `tokenizer_config`: tokenizer_config.json; fd -1 for none.
 - `weights`: model.safetensors, or its shards.
 - `weight_count`: number of elements of `weights`.
 - `options`: options for loading, or CROSSRANK_DEFAULTS.
 - `model`: receives the handle. Free it with crossrank_model_free.

 Any thread, if no other thread uses the descriptors meanwhile. Since 0.1.
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
 Reads the usage of this thread's last crossrank_score, crossrank_rerank or crossrank_rerank_many that succeeded.

 - `usage`: set its `size` first; receives the usage, zeros before the first call.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_last_usage(struct crossrank_usage *usage);

/*
 Ranks documents by relevance to a query. A model with several labels needs crossrank_options_set_label.

 - `query`: the query.
 - `documents`: `count` documents. With 0 documents the ranking is empty.
 - `options`: options of the call, or CROSSRANK_DEFAULTS.
 - `results`: receives the best documents, best first and ties in input order: `capacity` of them, or fewer if there are fewer
   or the options say so.
 - `capacity`: number of elements of `results`.
 - `found`: receives how many results were written.

 Any thread. Since 0.1.
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
 Ranks several sets of documents in one call, which is faster than one call for each.

 - `sets`: `set_count` queries with their documents.
 - `options`: options of the call, or CROSSRANK_DEFAULTS.
 - `results`: receives the ranking of each set, as in crossrank_rerank, directly after the ranking of the set before it.
 - `capacity`: number of elements of `results`: at least the number of all documents or, with top_k, the sum over the sets of
   the lower of top_k and the number of documents. Less returns CROSSRANK_ERR_BUFFER.
 - `found`: receives, for each of the `set_count` sets, how many results it has.

 Any thread. Since 0.1.
 */
crossrank_status crossrank_rerank_many(struct crossrank_model model,
                                       const struct crossrank_set *sets,
                                       size_t set_count,
                                       struct crossrank_options options,
                                       struct crossrank_ranked *results,
                                       size_t capacity,
                                       size_t *found);

/*
 Scores pairs of a query and a document, without sorting them.

 - `queries`, `documents`: `count` texts each; pair i is the query i with the document i.
 - `options`: options of the call, or CROSSRANK_DEFAULTS.
 - `logits`: receives the model's raw outputs: for each pair in input order, one number per label. May be NULL.
 - `scores`: receives the logits after the model's own activation function, in the same order. May be NULL.
 - `capacity`: number of elements of `logits` and of `scores`: at least count * labels, else CROSSRANK_ERR_BUFFER is returned.
 - `details`: receives one result per pair, in input order; `count` elements. May be NULL.

 Any thread. Since 0.1.
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
 As crossrank_rerank, for documents in one buffer.

 - `query`: the query.
 - `documents`: the documents. Without any the ranking is empty.
 - `options`: options of the call, or CROSSRANK_DEFAULTS.
 - `results`, `capacity`, `found`: as in crossrank_rerank.

 Offsets that descend or pass the end return CROSSRANK_ERR_ARGUMENT. Any thread. Since 0.2.
 */
crossrank_status crossrank_rerank_texts(struct crossrank_model model,
                                        struct crossrank_str query,
                                        struct crossrank_texts documents,
                                        struct crossrank_options options,
                                        struct crossrank_ranked *results,
                                        size_t capacity,
                                        size_t *found);

/*
 As crossrank_rerank_many, for queries and documents in one buffer each.

 - `queries`: the queries, one per set.
 - `documents`: the documents of all sets, one set after another.
 - `counts`: for each query, how many of the documents are its own. Their sum must be the number of documents, else
   CROSSRANK_ERR_ARGUMENT is returned.
 - `options`: options of the call, or CROSSRANK_DEFAULTS.
 - `results`, `capacity`, `found`: as in crossrank_rerank_many.

 Offsets that descend or pass the end return CROSSRANK_ERR_ARGUMENT. Any thread. Since 0.2.
 */
crossrank_status crossrank_rerank_many_texts(struct crossrank_model model,
                                             struct crossrank_texts queries,
                                             struct crossrank_texts documents,
                                             const size_t *counts,
                                             struct crossrank_options options,
                                             struct crossrank_ranked *results,
                                             size_t capacity,
                                             size_t *found);

/*
 As crossrank_score, for queries and documents in one buffer each.

 - `queries`, `documents`: as many queries as documents, else CROSSRANK_ERR_ARGUMENT is returned; pair i is the query i with the
   document i.
 - `options`: options of the call, or CROSSRANK_DEFAULTS.
 - `logits`, `scores`, `capacity`, `details`: as in crossrank_score.

 Offsets that descend or pass the end return CROSSRANK_ERR_ARGUMENT. Any thread. Since 0.2.
 */
crossrank_status crossrank_score_texts(struct crossrank_model model,
                                       struct crossrank_texts queries,
                                       struct crossrank_texts documents,
                                       struct crossrank_options options,
                                       float *logits,
                                       double *scores,
                                       size_t capacity,
                                       struct crossrank_ranked *details);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CROSSRANK_H */
