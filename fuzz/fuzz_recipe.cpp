// Any bytes as the text of a recipe: parsed, every modifier built, written again, and planned over a model of a known
// family and over one of names alone.
#include <cstdint>
#include <string>

#include "core/model/model_outline.hpp"
#include "core/plan/run_plan.hpp"
#include "llmc/error.hpp"
#include "llmc/recipe.hpp"
#include "tiny_model.hpp"

using namespace llmc;

namespace {

struct Planned {
  explicit Planned(const std::string& directory, bool known) : checkpoint(directory) {
    model = outline_model(checkpoint, known);
    if (!known) model.graph.reset();
    options.model_dir = directory;
    options.output_dir = directory + "-out";
  }
  Checkpoint checkpoint;
  ModelOutline model;
  OneshotOptions options;
};

const std::string& tiny_model() {
  static const std::string directory = [] {
    std::string path = (fuzz::scratch() / "source").string();
    fuzz::write_tiny_model(path);
    return path;
  }();
  return directory;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const Planned known(tiny_model(), true), by_name(tiny_model(), false);
  // A line break in front: never taken for the name of a file.
  const std::string text = "\n" + std::string(reinterpret_cast<const char*>(bytes), size);
  for (const Compat compat : {Compat::vllm, Compat::reference})
    for (const Planned* planned : {&known, &by_name}) try {
        const Recipe recipe = parse_recipe(text);
        write_recipe(recipe);
        const ModifierList modifiers(recipe, {compat, Rounding::exact, {}});
        if (!planned->model.graph && modifiers.need_calibration()) continue;
        OneshotOptions options = planned->options;
        options.compat = compat;
        const RunPlan plan = make_plan(planned->checkpoint, planned->model, modifiers, options);
        make_safetensors_header(plan.tensors);
        write_quantization_config(plan.config,
                                  compat == Compat::vllm ? ConfigFlavor::vllm : ConfigFlavor::reference);
      } catch (const Error&) {
      }
  return 0;
}
