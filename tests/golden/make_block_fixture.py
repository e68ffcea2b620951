"""Writes tests/golden/blocks/blocks.bin: random blocks of every GGUF type we read and their f32 values as the `gguf`
package (the format's reference implementation in Python) dequantizes them.

    pip install gguf numpy && python tests/golden/make_block_fixture.py

Layout, little endian, types in the order of TYPES: kBlocks blocks of bytes, then their values as f32. Scales are
finite halves of moderate size; all other bytes are random, so every code and sub-scale occurs.
"""
import pathlib

import gguf
import numpy as np

BLOCKS = 24
TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q4_K", "Q5_K", "Q6_K", "MXFP4"]
# Byte offsets of the halves of a block.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "MXFP4": []}


def main():
    rng = np.random.default_rng(7)
    out = bytearray()
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        _, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
        for at in HALVES[name]:
            scales = (rng.standard_normal(BLOCKS) * 0.05).astype(np.float16)
            blocks[:, at:at + 2] = scales.view(np.uint8).reshape(BLOCKS, 2)
        if name == "MXFP4":
            blocks[:, 0] = rng.integers(0, 250, BLOCKS)
            blocks[:3, 0] = [0, 1, 2]
        values = gguf.quants.dequantize(blocks, kind).astype("<f4")
        out += blocks.tobytes() + values.tobytes()
    path = pathlib.Path(__file__).parent / "blocks" / "blocks.bin"
    path.write_bytes(out)
    print(path, len(out), "bytes")


if __name__ == "__main__":
    main()
