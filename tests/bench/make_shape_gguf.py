#!/usr/bin/env python3
"""Makes a GGUF file of a known shape with seeded random weights, so that speed is compared without downloads.

Embeddings have standard deviation 0.5, matrices 0.02, matrices that write to the residual stream 0.02 / sqrt(2 layers),
norms are 1: logits stay finite and the router is uniform, the worst case for caches and batching. One seed gives the
same weights in every format. Which tensor has which type follows what llama.cpp's own quantizer gives these
architectures (Q6_K for the head; in q4_k_m also for attn_v and ffn_down of the first and last eighth of the layers and
every third between). Needs numpy and gguf; takes about 20 ns a weight and the memory of one tensor.

    make_shape_gguf.py --shape olmoe-1b-7b --format q4_0 olmoe-q4_0.gguf
"""
import argparse
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFWriter, LlamaFileType, TokenType
from gguf import GGMLQuantizationType as Type

from gguf_blocks import quantize

CHUNK = 1 << 20  # weights drawn and quantized at once
EMBEDDING_STD = 0.5
MATRIX_STD = 0.02
ASCII_BYTES = 128
LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Shape:
    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    top_k: int
    expert_ffn: int
    context: int
    rope_base: float
    rms_epsilon: float
    pre_tokenizer: str


SHAPES = {
    "olmoe-1b-7b": Shape("olmoe", 16, 2048, 16, 16, 128, 64, 8, 1024, 4096, 1e4, 1e-5, "olmo"),
    "qwen3-30b-a3b": Shape("qwen3moe", 48, 2048, 32, 4, 128, 128, 8, 768, 40960, 1e6, 1e-6, "qwen2"),
    "tiny": Shape("olmoe", 4, 256, 4, 4, 64, 16, 4, 256, 4096, 1e4, 1e-5, "olmo"),
    "tiny-qwen3": Shape("qwen3moe", 4, 256, 8, 2, 64, 16, 4, 256, 4096, 1e6, 1e-6, "qwen2"),
}
FORMATS = {
    "f32": (Type.F32, LlamaFileType.ALL_F32),
    "q8_0": (Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Type.Q4_0, LlamaFileType.MOSTLY_Q4_0),
    "q4_k_m": (Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
}


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple  # slowest dimension first
    kind: Type
    std: float = 0.0  # 0: all ones


def more_bits(layer, layers):
    """The layers whose attn_v and ffn_down get Q6_K in q4_k_m."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def layer_tensors(shape, layer, base):
    """The tensors of one layer; `base` is the type of most matrices."""
    query, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    writer_std = MATRIX_STD / math.sqrt(2 * shape.layers)
    finer = Type.Q6_K if base == Type.Q4_K and more_bits(layer, shape.layers) else base
    whole_norm = shape.architecture == "olmoe"  # one norm over all heads, else one per head
    norms = {"attn_norm": shape.hidden, "attn_q_norm": query if whole_norm else shape.head_dim,
             "attn_k_norm": kv if whole_norm else shape.head_dim, "ffn_norm": shape.hidden}
    inner, outer = (shape.experts, shape.expert_ffn, shape.hidden), (shape.experts, shape.hidden, shape.expert_ffn)
    matrices = [
        ("attn_q", (query, shape.hidden), base, MATRIX_STD), ("attn_k", (kv, shape.hidden), base, MATRIX_STD),
        ("attn_v", (kv, shape.hidden), finer, MATRIX_STD), ("attn_output", (shape.hidden, query), base, writer_std),
        ("ffn_gate_inp", (shape.experts, shape.hidden), Type.F32, MATRIX_STD),
        ("ffn_gate_exps", inner, base, MATRIX_STD), ("ffn_up_exps", inner, base, MATRIX_STD),
        ("ffn_down_exps", outer, finer, writer_std)]
    for name, size in norms.items():
        yield Tensor(f"blk.{layer}.{name}.weight", (size,), Type.F32)
    for name, dimensions, kind, std in matrices:
        yield Tensor(f"blk.{layer}.{name}.weight", dimensions, kind, std)


def all_tensors(shape, base, vocab):
    head = base if base in (Type.F32, Type.Q8_0) else Type.Q6_K
    yield Tensor("token_embd.weight", (vocab, shape.hidden), base, EMBEDDING_STD)
    for layer in range(shape.layers):
        yield from layer_tensors(shape, layer, base)
    yield Tensor("output_norm.weight", (shape.hidden,), Type.F32)
    yield Tensor("output.weight", (vocab, shape.hidden), head, MATRIX_STD)


def byte_alphabet():
    """The GPT-2 alphabet: a printable character for each of the 256 bytes, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def byte_level_bpe(size):
    """(tokens, merges) of a byte-level BPE: the bytes of ASCII, then two, three and four letters, with or without a
    leading space, then the end of text. Other bytes are left out: random weights would emit them alone, and servers
    end a reply that is not valid UTF-8 with an error."""
    tokens, merges = byte_alphabet()[:ASCII_BYTES], []
    level = [tokens[ord(" ")], *LETTERS]
    while len(tokens) < size - 1:
        pairs = [(left, letter) for letter in LETTERS for left in level][:size - 1 - len(tokens)]
        merges += [f"{left} {right}" for left, right in pairs]
        level = [left + right for left, right in pairs]
        tokens = tokens + level
    return tokens + [END_OF_TEXT], merges


def add_metadata(writer, shape, file_type, vocab):
    writer.add_name(f"random {shape.architecture}")
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    writer.add_vocab_size(vocab)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    if shape.architecture == "olmoe":
        writer.add_feed_forward_length(shape.expert_ffn)
    else:
        writer.add_feed_forward_length(shape.expert_ffn * shape.top_k)
        writer.add_expert_feed_forward_length(shape.expert_ffn)
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
    writer.add_expert_count(shape.experts)
    writer.add_expert_used_count(shape.top_k)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.rms_epsilon)


def add_vocabulary(writer, shape, vocab):
    tokens, merges = byte_level_bpe(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(shape.pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * (vocab - 1) + [TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocab - 1)
    writer.add_eos_token_id(vocab - 1)
    writer.add_pad_token_id(vocab - 1)
    writer.add_add_bos_token(False)


def stored_bytes(tensor):
    block, size = GGML_QUANT_SIZES[tensor.kind]
    if tensor.shape[-1] % block != 0:
        raise ValueError(f"{tensor.name}: rows of {tensor.shape[-1]} are no multiple of {block} ({tensor.kind.name})")
    return math.prod(tensor.shape) // block * size


def fill(tensor, seed, number):
    """The stored bytes of a tensor. Chunks have streams of their own, so the values do not depend on the format."""
    count = math.prod(tensor.shape)
    if tensor.std == 0.0:
        return np.ones(count, np.float32).view(np.uint8)
    data, filled = np.empty(stored_bytes(tensor), np.uint8), 0
    for first in range(0, count, CHUNK):
        stream = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, number, first // CHUNK])))
        values = stream.standard_normal(min(CHUNK, count - first), np.float32)
        values *= np.float32(tensor.std)
        part = quantize(values, tensor.kind)
        data[filled:filled + part.size] = part
        filled += part.size
    return data


def write_model(path, shape, form, seed, vocab, progress=lambda done: None):
    """Writes the whole file at `path`; `progress` is given the share of bytes written."""
    base, file_type = FORMATS[form]
    tensors = list(all_tensors(shape, base, vocab))
    writer = GGUFWriter(path, shape.architecture)
    add_metadata(writer, shape, file_type, vocab)
    add_vocabulary(writer, shape, vocab)
    sizes = [stored_bytes(tensor) for tensor in tensors]
    for tensor, size in zip(tensors, sizes):
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    written = 0
    for number, (tensor, size) in enumerate(zip(tensors, sizes)):
        writer.write_tensor_data(fill(tensor, seed, number))
        written += size
        progress(written / sum(sizes))
    writer.close()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--format", choices=FORMATS, default="q4_0")
    parser.add_argument("--layers", type=int, help="instead of the shape's own number")
    parser.add_argument("--vocab", type=int, default=50304, help="tokens (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not 1000 <= options.vocab <= 400000:
        parser.error("--vocab must be from 1000 to 400000")
    if options.layers is not None and not 1 <= options.layers <= 1000:
        parser.error("--layers must be from 1 to 1000")
    return options


def main():
    options = parse_arguments()
    shape = SHAPES[options.shape]
    if options.layers is not None:
        shape = replace(shape, layers=options.layers)
    start = time.monotonic()

    def show(done):
        if sys.stderr.isatty():
            print(f"\r{options.output.name} {100 * done:3.0f} %", end="", file=sys.stderr, flush=True)

    unfinished = options.output.with_name(options.output.name + ".part")
    write_model(unfinished, shape, options.format, options.seed, options.vocab, show)
    unfinished.rename(options.output)
    size = options.output.stat().st_size
    print(f"{options.output}: {size / 1e9:.3f} GB in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
