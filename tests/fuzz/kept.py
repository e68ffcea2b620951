#!/usr/bin/env python3
"""What libFuzzer found worth keeping, one file for each target: inputs one after the other, each with its length before it
(four bytes, the lowest first).

usage: kept.py pack FOLDER FILE [--most BYTES] [--spread BYTES] | kept.py unpack FILE FOLDER"""
import argparse
import hashlib
import struct
from pathlib import Path


def pack(folder, file, most, spread):
    """The shortest first, as many as fit; then so many bytes more of those that are left, from all over their sizes."""
    inputs = sorted({path.read_bytes() for path in folder.iterdir()}, key=lambda data: (len(data), data))
    packed, count = b"", 0
    for data in inputs:
        if data and len(packed) + 4 + len(data) <= most:
            packed += struct.pack("<I", len(data)) + data
            count += 1
    left = [data for data in inputs[count:] if data]
    if left and spread:
        step = -(-sum(4 + len(data) for data in left) // spread)
        for data in left[step // 2::step]:
            packed += struct.pack("<I", len(data)) + data
            count += 1
    file.write_bytes(packed)
    print(f"{file}: {count} of {len(inputs)} inputs, {len(packed)} bytes")


def unpack(file, folder):
    folder.mkdir(parents=True, exist_ok=True)
    packed, at = file.read_bytes(), 0
    while at < len(packed):
        size = struct.unpack_from("<I", packed, at)[0]
        data = packed[at + 4:at + 4 + size]
        assert len(data) == size, f"{file} is cut at byte {at}"
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
        at += 4 + size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--most", type=int, default=60_000, help="bytes of a packed file")
    parser.add_argument("--spread", type=int, default=0, help="bytes of longer inputs beside them")
    options = parser.parse_args()
    if options.what == "pack":
        pack(options.source, options.target, options.most, options.spread)
    else:
        unpack(options.source, options.target)


if __name__ == "__main__":
    main()
