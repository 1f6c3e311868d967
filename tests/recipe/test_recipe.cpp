#include <catch2/catch.hpp>

#include "core/recipe/quantization_args_reader.hpp"
#include "core/run_tools.hpp"
#include "llmc/error.hpp"
#include "llmc/modifier.hpp"
#include "llmc/recipe.hpp"

using namespace llmc;

namespace {

const char* kW8A8 = R"(quant_stage:
  quant_modifiers:
    SmoothQuantModifier: { smoothing_strength: 0.8 }
    GPTQModifier: { targets: ["Linear"], ignore: ["lm_head", "re:.*mlp.gate$"], scheme: "W8A8", dampening_frac: 0.01 }
)";

std::unique_ptr<Modifier> only_modifier(const std::string& arguments, const char* type = "GPTQModifier") {
  const Recipe recipe = parse_recipe(std::string("q_stage:\n  q_modifiers:\n    ") + type + ":\n" +
                                     arguments);
  return make_modifier(recipe.modifiers.at(0), {});
}

}  // namespace

TEST_CASE("a recipe's modifiers keep the order of the text and know their lines") {
  const Recipe recipe = parse_recipe(kW8A8);
  REQUIRE(recipe.modifiers.size() == 2);
  CHECK(recipe.modifiers[0].type == "SmoothQuantModifier");
  CHECK(recipe.modifiers[1].type == "GPTQModifier");
  CHECK(recipe.modifiers[1].stage == "quant_stage");
  CHECK(recipe.modifiers[1].line == 4);
  CHECK(recipe.modifiers[1].arguments.find("dampening_frac")->as_double("") == 0.01);
}

TEST_CASE("a recipe that was written reads back the same") {
  const Recipe recipe = parse_recipe(kW8A8);
  const Recipe again = parse_recipe(write_recipe(recipe));
  REQUIRE(again.modifiers.size() == 2);
  CHECK(write_recipe(again) == write_recipe(recipe));
  CHECK(again.modifiers[1].arguments.find("ignore")->items[1].scalar == "re:.*mlp.gate$");
}

TEST_CASE("recipes come as YAML files, JSON text and Markdown front matter") {
  const test::ScratchFolder scratch;
  std::ofstream(scratch / "r.md") << "---\n" << kW8A8 << "---\n# A model card\n";
  CHECK(parse_recipe(scratch / "r.md").modifiers.size() == 2);
  CHECK(parse_recipe(R"({"a_stage": {"b_modifiers": {"QuantizationModifier": {"scheme": "W4A16"}}}})")
            .modifiers.size() == 1);
  CHECK_THROWS_WITH(parse_recipe(scratch / "absent.yaml"), Catch::Contains("absent.yaml': file not found"));
}

TEST_CASE("a stage runs alone when asked for, and an absent one lists what there is") {
  const std::string two = std::string(kW8A8) +
      "other_stage:\n  x_modifiers:\n    QuantizationModifier: {scheme: FP8_DYNAMIC}\n";
  CHECK(parse_recipe(two).modifiers.size() == 3);
  CHECK(parse_recipe(two, "other").modifiers.size() == 1);
  CHECK_THROWS_WITH(parse_recipe(two, "third"),
                    Catch::Contains("stage 'third' matches none of: quant_stage, other_stage"));
}

TEST_CASE("what llm-compressor skips in silence is noted with its line") {
  const Recipe recipe = parse_recipe("args: 1\n" + std::string(kW8A8));
  REQUIRE(recipe.notes.size() == 1);
  CHECK_THAT(recipe.notes[0], Catch::Contains("line 1: key 'args'"));
}

TEST_CASE("a recipe's mistakes are errors that name line, thing and wanted") {
  CHECK_THROWS_WITH(parse_recipe("q_stage: [1"), Catch::Contains("recipe line"));
  CHECK_THROWS_WITH(parse_recipe("no recipe at all"), Catch::Contains("not a mapping"));
  CHECK_THROWS_WITH(parse_recipe("q_stag:\n  q_modifiers: {}\n"), Catch::Contains("'q_stag' is not a stage"));
  CHECK_THROWS_WITH(
      only_modifier("      scheme: W4A16\n", "GTPQModifier"),
      Catch::Contains("recipe line 3: unknown modifier 'GTPQModifier'") && Catch::Contains("GPTQModifier"));
  CHECK_THROWS_WITH(only_modifier("      {}\n", "AWQModifier"), Catch::Contains("not yet built"));
  CHECK_THROWS_WITH(only_modifier("      scheme: W4A16\n      damping: 1\n"),
                    Catch::Contains("recipe line 5: GPTQModifier has no argument 'damping'") &&
                        Catch::Contains("dampening_frac"));
  CHECK_THROWS_WITH(only_modifier("      scheme: W9A16\n"),
                    Catch::Contains("recipe line 4: GPTQModifier.scheme") && Catch::Contains("W9A16"));
  CHECK_THROWS_WITH(
      only_modifier("      scheme: W4A16\n      dampening_frac: much\n"),
      Catch::Contains("recipe line 5: GPTQModifier.dampening_frac: got 'much', wanted a number"));
  CHECK_THROWS_WITH(only_modifier("      {}\n", "SparseGPTModifier"), Catch::Contains("llmc does not prune"));
  CHECK_THROWS_WITH(only_modifier("      scheme: W4A16\n      config_groups: {g: {targets: [Linear]}}\n"),
                    Catch::Contains("given together"));
  CHECK_THROWS_WITH(
      only_modifier("      config_groups: {g: {targets: [Linear], weights: {num_bits: 4, bits: 4}}}\n"),
      Catch::Contains("unknown key 'bits'"));
  CHECK_THROWS_WITH(only_modifier("      targets: ['re:(']\n      scheme: W4A16\n"),
                    Catch::Contains("target 're:('"));
}

TEST_CASE("a target matches an exact name before an expression before a class") {
  const TargetMatcher matcher({"Linear", "re:.*up", "re:.*proj", "a.up_proj"});
  CHECK(*matcher.match("a.up_proj", "Linear") == "a.up_proj");
  CHECK(*matcher.match("b.up_proj", "Linear") == "re:.*proj");  // expressions in alphabetical order
  CHECK(*matcher.match("b.gate", "Linear") == "Linear");
  CHECK(matcher.match("b.gate", "Embedding") == nullptr);
  CHECK(TargetMatcher({"re:gate"}).match("mlp.gate", "Linear") == nullptr);         // anchored at the start
  CHECK(TargetMatcher({"re:.*gate"}).match("mlp.gate_proj", "Linear") != nullptr);  // but not at the end
  CHECK(TargetMatcher({"re:^(?!.*down).*proj$"}).match("mlp.up_proj", "Linear") != nullptr);  // look-around
}

TEST_CASE("an expression that would run for ever is given up") {
  const TargetMatcher matcher({"re:(a+)+$"});
  CHECK_THROWS_WITH(matcher.match(std::string(64, 'a') + "b", "Linear"), Catch::Contains("gave up"));
}

TEST_CASE("GPTQ visits columns by static order unless told otherwise") {
  const auto order = [](const std::string& text) {
    const auto modifier = only_modifier("      scheme: W4A16\n" + text);
    return dynamic_cast<const Quantizer&>(*modifier).schemes().at(0).weights->actorder;
  };
  CHECK(order("") == ActOrder::weight);
  CHECK(order("      actorder: static\n") == ActOrder::weight);
  CHECK(order("      actorder: null\n") == ActOrder::none);
  CHECK(order("      actorder: False\n") == ActOrder::none);
  CHECK(order("      actorder: True\n") == ActOrder::weight);  // the group order, taken as static
}

TEST_CASE("numbers that do not fit are errors that name the bounds") {
  const auto group = [](const std::string& weights) {
    return only_modifier("      config_groups: {g: {targets: [Linear], weights: {" + weights + "}}}\n");
  };
  for (const char* number : {"4294967300", "-4294967292", "0", "9"})
    CHECK_THROWS_WITH(group(std::string("num_bits: ") + number),
                      Catch::Contains(std::string("num_bits: got '") + number + "', wanted 1 to 8"));
  CHECK_THROWS_WITH(group("num_bits: 4, group_size: 4294967424"), Catch::Contains("wanted -1 to 2147483647"));
  CHECK_THROWS_WITH(group("type: float, strategy: block, block_structure: [128, 99999999999]"),
                    Catch::Contains("block_structure: got '99999999999', wanted 1 to 2147483647"));
  CHECK_THROWS_WITH(group("type: float, strategy: block, block_structure: 128x99999999999999999999"),
                    Catch::Contains("wanted an integer"));
  CHECK_THROWS_WITH(only_modifier("      scheme: W4A16\n      block_size: 0\n"),
                    Catch::Contains("block_size: got '0', wanted 1 to 2147483647"));
  for (const char* number : {"nan", "inf", "1e999"})
    CHECK_THROWS_WITH(
        only_modifier(std::string("      scheme: W4A16\n      dampening_frac: ") + number + "\n"),
        Catch::Contains("wanted a finite number"));
}

TEST_CASE("whatever a recipe's texts are, what is written reads back the same") {
  const char* kOdd =
      "a_stage:\n  b_modifiers:\n    QuantizationModifier:  # why\n      scheme: W4A16\n      ignore: "
      "['re:.*lm_head', 'true', '123', '~', 'null', lm_head, \"two\\nlines\", 'it''s \"it\"', '1e3', "
      "'\\d+', '# no', '']\n      observer: {'true': 1, 'a: b': null, x: 1.5}\n";
  Recipe recipe = parse_recipe(kOdd);
  CHECK(write_recipe(recipe) == kOdd);  // its own text, comments and all
  recipe.text.clear();                  // as after --stage
  const std::string written = write_recipe(recipe);
  CHECK_THAT(written, Catch::Contains("QuantizationModifier:\n"));
  Recipe again = parse_recipe(written);
  const auto list = [](const Recipe& of) { return of.modifiers[0].arguments.find("ignore")->as_strings(""); };
  CHECK(list(again) == list(recipe));
  CHECK(list(again)[6] == "two\nlines");
  const RecipeValue& observer = *again.modifiers[0].arguments.find("observer");
  CHECK(observer.entries[0].first == "true");
  CHECK(observer.entries[1].second.is_null());
  CHECK(observer.entries[2].second.as_double("") == 1.5);
  again.text.clear();
  CHECK(write_recipe(again) == written);
  CHECK(parse_recipe(std::string(kOdd) + "c_stage: {}\n", "a").text.empty());
}

TEST_CASE("merge keys fill in what a mapping does not say, the earlier of a list first") {
  const RecipeValue value = parse_recipe_value(
      "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2, <<: *a}\none: {<<: *a, y: 5}\nlist: {<<: [*a, *b], w: "
      "0}\nquoted: {'<<': 3}\n");
  const auto number = [&](const char* map, const char* key) {
    return value.find(map)->find(key)->as_int("");
  };
  CHECK(number("b", "x") == 1);
  CHECK(number("b", "y") == 2);
  CHECK(number("one", "x") == 1);
  CHECK(number("one", "y") == 5);
  CHECK(number("list", "y") == 1);
  CHECK(number("list", "z") == 2);
  CHECK(value.find("list")->entries.size() == 4);
  CHECK(number("quoted", "<<") == 3);
  CHECK_THROWS_WITH(parse_recipe_value("a: {<<: 3}"), Catch::Contains("'<<' wants a mapping"));
}

TEST_CASE("tensor_group without scale_dtype takes the only one there is") {
  const auto modifier = only_modifier(
      "      config_groups: {g: {targets: [Linear], weights: {num_bits: 4, type: float, strategy: "
      "tensor_group, "
      "group_size: 16}}}\n",
      "QuantizationModifier");
  CHECK(dynamic_cast<const Quantizer&>(*modifier).schemes().at(0).weights->scale_dtype == DType::f8_e4m3);
}
