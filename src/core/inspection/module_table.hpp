// The modules of a folder and which of them are quantized how, from headers and config.json alone.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/files/checkpoint.hpp"
#include "core/formats/folder_reader.hpp"

namespace llmc {

class ModuleTable {
 public:
  // Error as open_reader; a method other than compressed-tensors means nothing is known to be quantized
  explicit ModuleTable(const Checkpoint& folder);

  struct Entry {
    std::set<std::string> parts;     // last name components: "weight_packed", "bias"
    const Scheme* scheme = nullptr;  // of a quantized module
  };
  const std::map<std::string, Entry>& modules() const { return modules_; }
  const FolderReader* reader() const { return reader_.get(); }  // null: nothing is known to be quantized
  const std::string& method() const { return method_; }
  const Scheme* scheme_of(const std::string& module) const;
  std::optional<Shape> known_shape(const std::string& module) const;

 private:
  std::unique_ptr<FolderReader> reader_;  // entries point into its config
  std::string method_;                    // quant_method; empty: a plain folder
  std::map<std::string, Entry> modules_;
  KnownModules known_;
};

std::string with_stars(const std::string& name);  // "model.layers.3.mlp" -> "model.layers.*.mlp"
std::string module_of(const std::string& tensor);
std::string last_part(const std::string& name);

}  // namespace llmc
