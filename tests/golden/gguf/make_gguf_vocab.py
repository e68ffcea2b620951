#!/usr/bin/env python3
"""Writes the vocabulary of a tokenizer.json as a GGUF file without tensors.

    python3 make_gguf_vocab.py TOKENIZER.json PRE OUT.gguf

PRE is the name of the pre-tokenizer (tokenizer.ggml.pre), or "sentencepiece": then TOKENIZER.scores.json holds the
scores of the pieces. Needs gguf.
"""
import json
import pathlib
import sys

import gguf
import gguf_text


def write_vocab(tokenizer_json, pre, out):
    path = pathlib.Path(tokenizer_json)
    scores = None if pre else json.loads(path.with_suffix(".scores.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(out, "llama")
    gguf_text.add_tokenizer(writer, json.loads(path.read_text(encoding="utf-8")), pre, scores)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


if __name__ == "__main__":
    write_vocab(sys.argv[1], None if sys.argv[2] == "sentencepiece" else sys.argv[2], sys.argv[3])
