"""Quantizes float32 rows into GGUF blocks with numpy.

Layouts follow the GGUF block formats of ggml (block_q4_K, block_q6_K in ggml-common.h). Q4_0, Q8_0 and F32 come from
the gguf package; Q4_K and Q6_K, which it only reads, are rounded to nearest here: no search for better scales, so the
speed of a model is the same and its error a little larger than that of a tuned quantizer.
"""
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

SUPER = 256  # weights of one K block
MAX_UNSIGNED_6 = 63
MAX_INT8 = 127


def divide(numerator, denominator):
    """Zero where the denominator is zero."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def half(values):
    """[blocks] float32 to the two bytes of a float16 each, and the float32 that a reader sees."""
    stored = values.astype(np.float16)
    return stored.view(np.uint8).reshape(-1, 2), stored.astype(np.float32)


def pack_scales_mins(scales, mins):
    """[blocks, 8] six-bit scales and minima to the 12 bytes of block_q4_K: low six bits of the first four, then the
    nibbles of the last four with their upper two bits on top of the first."""
    first = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    second = mins[:, :4] | (mins[:, 4:] >> 4) << 6
    third = (scales[:, 4:] & 15) | (mins[:, 4:] & 15) << 4
    return np.concatenate([first, second, third], axis=1)


def quantize_q4_k(values):
    """[blocks, 256] float32 to [blocks, 144] bytes: weight = d * scale * q - dmin * min, per 32 weights."""
    groups = values.reshape(-1, 8, 32)
    lowest = np.maximum(-groups.min(axis=2), 0)
    step = (groups.max(axis=2) + lowest) / 15
    d_bytes, d = half(step.max(axis=1) / MAX_UNSIGNED_6)
    dmin_bytes, dmin = half(lowest.max(axis=1) / MAX_UNSIGNED_6)
    scales = np.clip(np.rint(divide(step, d[:, None])), 0, MAX_UNSIGNED_6)
    mins = np.clip(np.rint(divide(lowest, dmin[:, None])), 0, MAX_UNSIGNED_6)
    shifted = groups + (dmin[:, None] * mins)[..., None]
    inverse = divide(np.ones_like(scales), d[:, None] * scales)[..., None]
    codes = np.clip(np.rint(shifted * inverse), 0, 15).astype(np.uint8)
    nibbles = codes[:, 0::2] | codes[:, 1::2] << 4
    packed = pack_scales_mins(scales.astype(np.uint8), mins.astype(np.uint8))
    return np.concatenate([d_bytes, dmin_bytes, packed, nibbles.reshape(-1, 128)], axis=1)


def quantize_q6_k(values):
    """[blocks, 256] float32 to [blocks, 210] bytes: weight = d * scale * (q - 32), per 16 weights."""
    groups = values.reshape(-1, 16, 16)
    step = np.abs(groups).max(axis=2) / 31
    d_bytes, d = half(step.max(axis=1) / MAX_INT8)
    scales = np.clip(np.rint(divide(step, d[:, None])), 0, MAX_INT8)
    inverse = divide(np.ones_like(scales), d[:, None] * scales)[..., None]
    codes = (np.clip(np.rint(groups * inverse), -32, 31) + 32).astype(np.uint8)
    rows = codes.reshape(-1, 2, 4, 32)
    low = (rows[:, :, :2] & 15) | (rows[:, :, 2:] & 15) << 4
    high = rows >> 4
    high = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    scale_bytes = scales.astype(np.int8).view(np.uint8)
    return np.concatenate([low.reshape(-1, 128), high.reshape(-1, 64), scale_bytes, d_bytes], axis=1)


K_QUANTIZERS = {Type.Q4_K: quantize_q4_k, Type.Q6_K: quantize_q6_k}


def quantize(values, kind):
    """Contiguous float32, a whole number of blocks, to the bytes of `kind` in order, flat uint8."""
    if kind == Type.F32:
        return values.reshape(-1).view(np.uint8)
    if kind in K_QUANTIZERS:
        return K_QUANTIZERS[kind](values.reshape(-1, SUPER)).reshape(-1)
    return quants.quantize(values, kind).reshape(-1)
