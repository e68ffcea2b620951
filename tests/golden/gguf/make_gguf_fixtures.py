#!/usr/bin/env python3
"""Writes tiny GGUF files with the `gguf` package from the fixtures of tests/golden.

    python3 make_gguf_fixtures.py OUT_DIR

Needs gguf, torch and safetensors. Per model NAME.gguf, whose answers are those of tests/golden/NAME; per synthetic
tokenizer NAME.vocab.gguf, whose ids are those of tests/golden/tokenizer/synthetic/NAME.json.
"""
import argparse
import pathlib

import gguf_model
import make_gguf_vocab

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent
# Models whose every setting a GGUF file can say. Value: most tensors per file (0: one file).
MODELS = {"mixtral-gqa-top2": 0, "mixtral-window-top1-tied": 0, "olmoe-mha-top8": 0, "olmoe-gqa-top3-norm": 0,
          "qwen2-moe-shared-top4": 12, "qwen3-moe-top4-norm": 0, "qwen3-moe-dense-layers": 0, "qwen3-moe-yarn-fused": 0,
          "qwen3-dense-tied": 0, "smallthinker-sigmoid-layouts": 0, "smallthinker-softmax": 0, "pregated-top2-norm": 0}
# Synthetic tokenizers and the name of their pre-tokenizer.
TOKENIZERS = {"gpt2": "gpt-2", "qwen2": "qwen2", "llama3": "llama-bpe", "deepseek": "deepseek-v3", "o200k": "gpt-4o",
              "sp_pieces": None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=pathlib.Path)
    options = parser.parse_args()
    options.out_dir.mkdir(parents=True, exist_ok=True)
    for name, split in MODELS.items():
        gguf_model.write_model(GOLDEN / name, options.out_dir / f"{name}.gguf", split=split)
    for name, pre in TOKENIZERS.items():
        make_gguf_vocab.write_vocab(GOLDEN / "tokenizer" / "synthetic" / f"{name}.json", pre, options.out_dir / f"{name}.vocab.gguf")
    for path in sorted(options.out_dir.glob("*.gguf")):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
