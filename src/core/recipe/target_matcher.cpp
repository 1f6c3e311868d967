// Target strings of compressed-tensors (utils/match.py): exact name, "re:" anchored at the start only, class
// name.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>

#include "llmc/error.hpp"
#include "llmc/recipe.hpp"

namespace llmc {

namespace {

constexpr uint32_t kMatchLimit = 100'000;  // a recipe is untrusted: no expression may run for ever

class Expression {
 public:
  explicit Expression(const std::string& target) : target_(target) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(target.data() + 3), target.size() - 3,
                              PCRE2_ANCHORED | PCRE2_UTF, &code, &offset, nullptr));
    if (!code_) {
      PCRE2_UCHAR text[128] = {};
      pcre2_get_error_message(code, text, sizeof text);
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("target '{}': {} at character {}", target, reinterpret_cast<const char*>(text),
                              offset));
    }
    context_.reset(pcre2_match_context_create(nullptr));
    data_.reset(pcre2_match_data_create(1, nullptr));
    if (!context_ || !data_) throw Error(ErrorCode::out_of_memory, "target: out of memory");
    pcre2_set_match_limit(context_.get(), kMatchLimit);
    pcre2_set_depth_limit(context_.get(), 1000);
  }

  bool matches(std::string_view name) const {
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0,
                                  data_.get(), context_.get());
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("target '{}': gave up on '{}' (PCRE2 error {})", target_, name, found));
    return found >= 0;
  }
  const std::string& target() const { return target_; }

 private:
  struct Free {
    void operator()(pcre2_code* p) const { pcre2_code_free(p); }
    void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
    void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  };
  std::string target_;
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  std::unique_ptr<pcre2_match_data, Free> data_;
};

}  // namespace

struct TargetMatcher::Impl {
  std::vector<std::string> names;       // exact names or class names
  std::vector<Expression> expressions;  // sorted by text
};

void TargetMatcher::Deleter::operator()(Impl* impl) const { delete impl; }
TargetMatcher::~TargetMatcher() = default;
TargetMatcher::TargetMatcher(TargetMatcher&&) noexcept = default;
TargetMatcher& TargetMatcher::operator=(TargetMatcher&&) noexcept = default;

TargetMatcher::TargetMatcher(const std::vector<std::string>& targets) : impl_(new Impl) {
  std::vector<std::string> sorted = targets;
  std::sort(sorted.begin(), sorted.end());
  for (const std::string& target : sorted) {
    if (target.rfind("re:", 0) == 0) impl_->expressions.emplace_back(target);
    else impl_->names.push_back(target);
  }
}

const std::string* TargetMatcher::match(std::string_view module, std::string_view class_name) const {
  for (const auto& name : impl_->names)
    if (name == module) return &name;
  for (const auto& expression : impl_->expressions)
    if (expression.matches(module)) return &expression.target();
  for (const auto& name : impl_->names)
    if (name == class_name) return &name;
  return nullptr;
}

}  // namespace llmc
