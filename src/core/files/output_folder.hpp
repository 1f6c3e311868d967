// The folder that becomes the target once it is complete: made beside it under a hidden name, renamed at the end,
// removed when given up.
#pragma once
#include <string>
#include <vector>

namespace llmc {

// A file or folder that the run reads; "the model's folder", "the data set".
struct InputPath {
  std::string what, path;
};

class OutputFolder {
 public:
  // The target must not be, hold or lie in one of `inputs`. It must not exist, or be empty, unless `overwrite`
  // and reason_to_keep() finds none. Error(exists | invalid_argument | io) before anything is made.
  OutputFolder(const std::string& target, const std::vector<InputPath>& inputs, bool overwrite);
  ~OutputFolder();  // not published: removed with its contents
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  // "<parent>/.<name>.llmc-partial": one name for each target, locked (flock) while the run lives. What a run
  // that was killed left under it is removed by the next one.
  const std::string& partial() const { return partial_; }
  const std::string& target() const { return target_; }
  const std::vector<std::string>& notes() const { return notes_; }  // what was found and removed
  // The target is swapped in one step; an old one is removed afterwards. What may be replaced is asked again just
  // before and just after the exchange: a folder that got other files meanwhile stays.
  void publish();

 private:
  class Lock {
   public:
    Lock() = default;
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() { release(); }
    enum class Outcome { taken, held_by_another, gone, refused };
    Outcome take(const std::string& folder);
    void release();
    int error() const { return error_; }

   private:
    int descriptor_ = -1, error_ = 0;
  };

  void claim_partial();
  void replace_target();

  std::string target_, partial_;
  std::vector<std::string> notes_;
  Lock lock_;
  bool overwrite_ = false, claimed_ = false;
};

}  // namespace llmc
