#!/usr/bin/env python3
"""Writes the vocabulary of a tokenizer.json as a GGUF file without tensors.

    python3 make_gguf_vocab.py TOKENIZER.json PRE OUT.gguf

PRE is the name of the pre-tokenizer (tokenizer.ggml.pre), or "sentencepiece". Needs gguf.
"""
import json
import pathlib
import sys

import gguf
import gguf_text


def write_vocab(tokenizer_json, pre, out):
    writer = gguf.GGUFWriter(out, "llama")
    gguf_text.add_tokenizer(writer, json.loads(pathlib.Path(tokenizer_json).read_text(encoding="utf-8")), pre)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


if __name__ == "__main__":
    write_vocab(sys.argv[1], None if sys.argv[2] == "sentencepiece" else sys.argv[2], sys.argv[3])
