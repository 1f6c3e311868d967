// The folder that becomes the target once it is complete: made beside it under a name of its own, renamed at
// the end, removed when given up.
#pragma once
#include <string>

namespace llmc {

class OutputFolder {
 public:
  // `input`: may be empty. Error(exists | invalid_argument | io) before anything is made.
  OutputFolder(const std::string& target, const std::string& input, bool overwrite);
  ~OutputFolder();  // not published: removed with its contents
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& partial() const { return partial_; }  // "<target>.llmc-partial-<pid>-<random>"
  const std::string& target() const { return target_; }
  void publish();  // the target is swapped in one step; an old one is removed afterwards

 private:
  std::string target_, partial_;
  bool overwrite_ = false, published_ = false;
};

}  // namespace llmc
