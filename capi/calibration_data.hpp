// Calibration tokens for llmc_oneshot: the caller's own, or a data set through the text module.
#pragma once
#include <atomic>
#include <functional>
#include <string>

#include "llmc.h"
#include "llmc/backend.hpp"
#include "llmc/oneshot.hpp"

namespace llmc::capi {

// The data set and the tokenizer's folder, where they are given: the output may not take their place.
std::vector<DataPath> data_paths(const llmc_oneshot_options& options);
std::string template_date(const llmc_oneshot_options& options);  // the given one, or the fixed default
// Checked: [num_sequences + 1] starts from 0 that never fall. `where` begins the error text:
// "llmc_oneshot_options.".
TokenBatch copy_sequences(const int32_t* token_ids,
                          const int64_t* sequence_starts,
                          int64_t num_sequences,
                          const std::string& where);
// Checks what the options say about data, and opens nothing.
void check_data_options(const llmc_oneshot_options& options);
// Reads options.dataset, checked before. `cancel` ends it with Error(cancelled).
TokenBatch load_dataset(const llmc_oneshot_options& options,
                        const Backend& backend,
                        const std::atomic<bool>* cancel,
                        const std::function<void(const std::string&)>& note);

}  // namespace llmc::capi
