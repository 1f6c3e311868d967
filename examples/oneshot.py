"""Compresses a model from Python. usage: oneshot.py MODEL RECIPE DATASET OUTPUT

RECIPE is a file or the YAML text itself; DATASET may be "-" for recipes that need no data. Exits with the llmc_status, 0 on success.
"""
import logging
import sys

import llmc


def main():
    if len(sys.argv) != 5:
        print(f"usage: {sys.argv[0]} MODEL RECIPE DATASET OUTPUT", file=sys.stderr)
        return 1
    model, recipe, dataset, output = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    session = llmc.Session()
    try:
        report = llmc.oneshot(
            model,
            recipe=recipe,
            dataset=None if dataset == "-" else dataset,
            output_dir=output,
            session=session,
        )
    except llmc.Error as error:
        print(error, file=sys.stderr)
        return error.status
    print(
        f"{output} (llmc {llmc.__version__}, {session.device}): {report['bytes_before']} -> {report['bytes_after']} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
