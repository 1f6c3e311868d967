#include "core/model/sound_folder.hpp"

#include <fmt/format.h>

#include "core/model/known_modules.hpp"
#include "llmc/error.hpp"

namespace llmc {

void require_sound(const Checkpoint& folder, const FolderReader* reader, bool decoded_only) {
  const FolderCheck headers{.folder = folder,
                            .known = known_modules(folder),
                            .decoded_only = decoded_only,
                            .read_plain = false,
                            .read_quantized = false};
  const std::vector<Fault> faults = reader ? reader->check(headers) : check_folder(headers);
  if (faults.empty()) return;
  throw Error(ErrorCode::bad_file,
              fmt::format("'{}': not sound: {} ({} fault(s); llmc verify lists them)", folder.directory(),
                          to_line(faults.front()), faults.size()));
}

}  // namespace llmc
