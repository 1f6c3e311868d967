"""Recipes as text, files, dictionaries or lists of modifiers."""
import json
import os


class Modifier:
    """One step of a recipe: the arguments are the recipe's. The class name is the modifier's."""

    def __init__(self, **arguments):
        self.arguments = arguments

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


class QuantizationModifier(Modifier):
    """Round to nearest: targets, ignore, scheme or config_groups, ..."""


class GPTQModifier(Modifier):
    """GPTQ: as QuantizationModifier, and dampening_frac, actorder, block_size, ..."""


class SmoothQuantModifier(Modifier):
    """Moves outliers from activations to weights: smoothing_strength, mappings, ..."""


class AWQModifier(Modifier):
    """Activation-aware weight scales: as QuantizationModifier, and duo_scaling, ..."""


def recipe_text(recipe):
    """What llmc_oneshot_options.recipe takes: a file's name or the text itself."""
    if recipe is None or isinstance(recipe, (str, os.PathLike)):
        return recipe
    if isinstance(recipe, dict):
        return json.dumps(recipe, indent=1)
    if isinstance(recipe, Modifier):
        recipe = [recipe]
    if not isinstance(recipe, (list, tuple)) or not all(isinstance(m, Modifier) for m in recipe):
        raise TypeError(
            f"recipe: got {recipe!r}, wanted a file, text, a dictionary, or a list of modifiers such as llmc.GPTQModifier(...)"
        )
    return json.dumps(
        {
            "quant_stage": {
                f"step{i}_modifiers": {type(m).__name__: m.arguments} for i, m in enumerate(recipe)
            }
        },
        indent=1,
    )
