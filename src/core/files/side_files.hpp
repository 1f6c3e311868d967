// The files beside the weights. What a server or a tokenizer needs goes over to the compressed folder; what it
// does not (weights in other formats, training state, a README with claims about other weights) stays behind.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace llmc {

struct SideFiles {
  std::vector<std::string>
      copied;  // relative to the folder, sorted: "tokenizer.json", "1_Pooling/config.json"
  std::vector<std::string>
      left;  // what stays and why, sorted: "pytorch_model.bin", "onnx/", "x (a link ...)"
};

// config: config.json's text, or empty. Links are followed inside the model's own store alone: its folder, or
// the hub cache's blobs/ that a snapshot links into. Error(bad_file): a file to be copied is a git-lfs pointer.
SideFiles find_side_files(const std::string& directory, std::string_view config);

// "not copied, as no part of the compressed model: a, b and 3 more"; empty where nothing stays behind.
std::string describe_left(const SideFiles& files);

// Whether a model's folder holds a file of that name beside its weights: what is copied, and what llmc writes.
bool is_model_file(std::string_view name);
// The same for a file in one of the sub-folders that belong to a model.
bool is_model_subfolder_file(std::string_view folder, std::string_view name);

}  // namespace llmc
