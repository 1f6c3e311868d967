#include "core/calibration/statistics_folder.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "core/files/safetensors_reader.hpp"
#include "llmc/error.hpp"
#include "llmc/matrix.hpp"

namespace llmc {

namespace {

std::string path_in(const std::string& folder, const Block& block, const SharedInput& input) {
  return (std::filesystem::path(folder) / statistics_file(block, input)).string();
}

void check_header(const std::string& path, const Value& value) {
  const SafetensorsFile file(path);
  const auto least = file.entries().find("min");
  if (least == file.entries().end() || !file.entries().count("gram"))
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: has no gram with channel statistics, wanted what llmc_model_save_statistics writes",
                    path));
  if (const Shape wanted{value.width}; least->second.shape != wanted)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: statistics of {} channels, wanted this model's {}", path,
                            to_string(least->second.shape), to_string(wanted)));
}

}  // namespace

std::string statistics_file(const Block& block, const SharedInput& input) {
  return block.nodes[input.nodes.front()].name + ".safetensors";
}

StatisticsFolders::StatisticsFolders(std::vector<std::string> folders, const Graph& graph)
    : folders_(std::move(folders)) {
  for (const std::string& folder : folders_)
    for (const Block& block : graph.blocks)
      for (const SharedInput& input : shared_inputs(block))
        check_header(path_in(folder, block, input), graph.values[static_cast<size_t>(input.value)]);
}

Statistics StatisticsFolders::read(const Block& block, const SharedInput& input) const {
  Statistics all = load_statistics(path_in(folders_.front(), block, input));
  for (size_t i = 1; i < folders_.size(); ++i)
    merge_statistics(all, load_statistics(path_in(folders_[i], block, input)));
  return all;
}

}  // namespace llmc
