/* llmc, model level: the parts of llmc_oneshot. llmc.h is read first: its rules on errors, options,
 * ownership and threads hold here.
 *
 *   llmc_model_open(session, "Llama-3-8B", &model, &error);
 *   llmc_model_add_token_ids(model, ids, starts, 512, &error);  any number of times, or llmc_model_add_data
 *   options.recipe = "w4a16.yaml"; options.output_dir = "out-4bit";
 *   llmc_model_quantize(model, &options, &error);               all the work; nothing is under the output's name yet
 *   llmc_model_save(model, &report, &error);                    now it is
 *   options.recipe = "w8a8.yaml"; options.output_dir = "out-8bit";  the same model and data again
 *
 * Same bytes.  Open, add, quantize and save write what one llmc_oneshot with the same options writes, byte
 *              for byte.
 * Memory.      A quantized model is never whole in memory: _quantize writes it, block by block, into a
 *              hidden folder beside output_dir. _save adds what no Linear owns, reads everything back,
 *              checks it and renames the folder. A folder that was quantized and not saved is removed by
 *              llmc_model_free, by the next _quantize, and by a _save that fails.
 * Threads.     A model belongs to its session: every call here but _free counts as a call of the session
 *              (one at a time), and llmc_session_cancel ends it. Free the model before the session, and not
 *              during a call.
 * Half done.   A call that fails changes nothing but the hidden folder: the model and its data are as
 *              before, and may be used on.
 */
#ifndef LLMC_MODEL_H
#define LLMC_MODEL_H

#include <llmc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmc_model llmc_model;
/* model_dir: config.json and safetensors files, unchanged until the model is freed. Reads headers, no
   weights. LLMC_UNSUPPORTED: it is quantized already. */
LLMC_API llmc_status llmc_model_open(llmc_session* session,
                                     const char* model_dir,
                                     llmc_model** model,
                                     llmc_error** error);
/* From memory. The source's callback is used until the model is freed; its texts and shapes are copied.
 * llmc_model_add_data wants tokenizer_dir then, except for rows of input_ids, and what is saved holds no
 * tokenizer or other side files. */
LLMC_API llmc_status llmc_model_open_source(llmc_session* session,
                                            const llmc_tensor_source* source,
                                            llmc_model** model,
                                            llmc_error** error);
LLMC_API void llmc_model_free(llmc_model* model);

/* Calibration data, copied. Each call adds sequences after those of earlier calls. token_ids: all sequences
 * one after another, [sequence_starts[num_sequences]]; sequence_starts: [num_sequences + 1], the first 0,
 * never falling. */
LLMC_API llmc_status llmc_model_add_token_ids(llmc_model* model,
                                              const int32_t* token_ids,
                                              const int64_t* sequence_starts,
                                              int64_t num_sequences,
                                              llmc_error** error);
/* Chats, texts or token ids of a data set. Of `data` these count: dataset (required), tokenizer_dir,
 * text_column, template_date, num_calibration_samples, max_seq_length, shuffle_seed, shuffle,
 * concatenate_data; other pointers must be NULL. LLMC_UNSUPPORTED where the library was built without text.
 * */
LLMC_API llmc_status llmc_model_add_data(llmc_model* model,
                                         const llmc_oneshot_options* data,
                                         llmc_error** error);

/* Statistics of the model's activations, before it is quantized: collected once, on several machines or on
 * other days, and used by any number of recipes. _save walks the unquantized model over its calibration
 * data and adds what it shows to what was loaded. `folder` must not exist, or be empty; it appears whole or
 * not at all. It holds one file that llmc_gram_load reads for each input that Linears share, named after
 * the first ("model.layers.0.mlp.gate_proj.safetensors"), of 4 * channels^2 bytes. LLMC_EXISTS: `folder` is
 * there. LLMC_INVALID_ARGUMENT: neither data nor loaded statistics. */
LLMC_API llmc_status llmc_model_save_statistics(llmc_model* model, const char* folder, llmc_error** error);
/* Any number of times: the folders are merged in this order. LLMC_NOT_FOUND: a file is missing;
 * LLMC_BAD_FILE: it is damaged; LLMC_INVALID_ARGUMENT: of a model of other widths. Headers are read now,
 * the rest whenever it is needed: leave the folder as it is until the model is freed. From then on
 * _quantize runs no forward pass: each matrix is quantized for the inputs of the unquantized model. It
 * refuses (LLMC_INVALID_ARGUMENT) a model that has calibration data too, an options.propagation, and
 * schemes with scales of activations that are fixed ahead of time ("FP8", kv_cache_scheme). */
LLMC_API llmc_status llmc_model_load_statistics(llmc_model* model, const char* folder, llmc_error** error);

/* Of `options` all but the model and the calibration data count, as in llmc_oneshot; model_dir, source,
   dataset, token_ids and sequence_starts must be NULL. */
LLMC_API llmc_status llmc_model_quantize(llmc_model* model,
                                         const llmc_oneshot_options* options,
                                         llmc_error** error);
/* Once for each _quantize that succeeded; otherwise LLMC_INVALID_ARGUMENT. `report` may be NULL. */
LLMC_API llmc_status llmc_model_save(llmc_model* model, llmc_report** report, llmc_error** error);

#ifdef __cplusplus
}
#endif
#endif
