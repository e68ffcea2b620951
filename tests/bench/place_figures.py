#!/usr/bin/env python3
"""What placing by affinity is worth to a model: its own traces, prompts that were not placed by, 2, 4 and 8 ranks, both
objectives, beside placements by rule and the bound. And how long the solver takes for 256 experts x 60 layers x 16 devices.

Needs nothing but Python. Usage: place_figures.py --binary FOREGATE --model DIR --work DIR [--tokens 100]"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ANIMALS = ("fox", "cat", "dog", "bird", "bear", "mouse", "duck", "rabbit", "frog", "owl", "horse", "goat", "hen", "pig", "cow", "bee")
THINGS = ("key", "hat", "kite", "shell", "ball", "boat", "book", "lamp", "box", "bell", "ring", "cup", "map", "drum", "coin", "door")
FRAMES = ("Once upon a time there was a {a} who found a {t}.", "Tell me a story about a {a} and a {t}.", "The {a} had a {t}.",
          "What sound does a {a} make?", "Question: where is the {t} of the {a}?", "One day the {a} lost the {t}.")


def prompts(half):
    """Two sets without an animal or a thing in common."""
    return [frame.format(a=animal, t=thing) for animal, thing in zip(ANIMALS[half::2], THINGS[half::2]) for frame in FRAMES]


def run(options, *arguments):
    done = subprocess.run([str(options.binary), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def record(options, half):
    listed, trace = options.work / f"prompts{half}.txt", options.work / f"routes{half}.trace"
    listed.write_text("\n".join(prompts(half)) + "\n")
    run(options, "trace", "record", options.model, trace, "--prompts", listed, "-n", options.tokens, "--temperature", "0.8", "--seed", half)
    return trace


def figures(options, placed_by, held_out):
    print("| ranks | objective | affinity | linear | round-robin | less than the better rule | bound (rows placed by) | imbalance, mean (worst layer) |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for ranks in (2, 4, 8):
        for objective, key, form in (("token-stays", "crossings", "{:.1%}"), ("distinct-devices", "distinct", "{:.3f}")):
            report = json.loads(run(options, "place", "--trace", placed_by, "--check", held_out, "--ranks", ranks, "--objective",
                                    objective, "--format", "json", "--restarts", 8))
            by = {line["placement"]: line for line in report["placements"]}
            rule = min(by["linear"][key], by["round-robin"][key])
            print(f"| {ranks} | {objective}: {key} | {form.format(by['affinity'][key])} | {form.format(by['linear'][key])} | "
                  f"{form.format(by['round-robin'][key])} | {1 - by['affinity'][key] / rule:.1%} | {form.format(report['bound'])} | "
                  f"{by['affinity']['mean_imbalance']:.3f} ({by['affinity']['imbalance']:.3f}) |", flush=True)


def bytes_of_forms(options, placed_by, held_out):
    print("\n| ranks | placement | two all-to-alls, bytes per token | one all-to-all | one over two | rows alone |\n|---:|---|---:|---:|---:|---:|")
    for ranks in (2, 4, 8):
        report = json.loads(run(options, "place", "--trace", placed_by, "--check", held_out, "--ranks", ranks, "--objective",
                                "token-stays", "--format", "json", "--model", options.model))
        for line in report["placements"]:
            told = line["bytes_per_token"]
            print(f"| {ranks} | {line['placement']} | {told['two_all_to_alls']:.0f} | {told['one_all_to_all']:.0f} | "
                  f"{told['one_all_to_all'] / told['two_all_to_alls']:.2f} | {told['rows_over_rows']:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--binary", "--model", "--work"):
        parser.add_argument(name, required=True, type=lambda text: Path(text).resolve())
    parser.add_argument("--tokens", type=int, default=100)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    placed_by, held_out = record(options, 0), record(options, 1)
    figures(options, placed_by, held_out)
    bytes_of_forms(options, placed_by, held_out)


if __name__ == "__main__":
    main()
