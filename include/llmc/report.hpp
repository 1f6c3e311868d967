// What a run did: one row per quantized matrix, and the totals. Serialized as JSON by to_json().
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace llmc {

struct LinearReport {
  std::string name;    // module path
  std::string scheme;  // "int4 group 128"
  std::string method;  // "GPTQ", "RTN"
  // GPTQ: root of (loss / output energy) over sampled rows; RTN: ||W - Q|| / ||W||
  double relative_error = 0;
  double loss = 0;       // GPTQ: sum of squared output errors per calibration token; 0 for RTN
  double dampening = 0;  // the dampening_frac that worked; 0 for RTN
  double seconds = 0;    // share of the quantization time
  std::string note;      // why the method fell back, when it did
};

struct Report {
  std::vector<LinearReport> linears;  // in the order they were quantized
  std::vector<std::string> notes;     // what was skipped, ignored or guessed
  std::string model_type, device, compat, propagation, template_date;
  int64_t samples = 0, tokens = 0;
  int64_t bytes_before = 0, bytes_after = 0;  // tensor bytes of the input and the output folder
  // bytes of anonymous memory (RssAnon), the highest seen between steps
  int64_t peak_memory = 0;
  double seconds = 0, calibration_seconds = 0, quantization_seconds = 0, writing_seconds = 0;
};

std::string to_json(const Report& report);

}  // namespace llmc
