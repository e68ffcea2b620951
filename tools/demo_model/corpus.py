"""Token files: NAME.bin holds uint16 ids, NAME.starts.npy the offset of each document (int64). Every document ends in
<|endoftext|>. Batches take rows that begin at a random document start and run on into the documents after it. Where there is
a NAME.labels.bin, it holds what is to be learned after each token; otherwise that is the token that follows."""
import os

import numpy
import torch

GENERATED = ("stories", "chats", "quizzes")
SOURCES = GENERATED + ("books",)


def write_documents(path, documents):
    """Write lists of ids as path.bin and path.starts.npy; returns the number of tokens."""
    lengths = [len(document) for document in documents]
    numpy.concatenate([numpy.asarray(document, dtype=numpy.uint16) for document in documents]).tofile(f"{path}.bin")
    numpy.save(f"{path}.starts.npy", numpy.cumsum([0] + lengths[:-1]).astype(numpy.int64))
    return sum(lengths)


class Source:
    """One token file, memory mapped."""

    def __init__(self, path):
        self.ids = numpy.memmap(f"{path}.bin", dtype=numpy.uint16, mode="r")
        self.starts = numpy.load(f"{path}.starts.npy")
        given = f"{path}.labels.bin"
        self.labels = numpy.memmap(given, dtype=numpy.uint16, mode="r") if os.path.exists(given) else self.ids[1:]

    def rows(self, count, length, rng):
        """(inputs, targets): `count` rows of `length` ids, each from a document start, and what comes after each of them."""
        usable = numpy.searchsorted(self.starts, len(self.ids) - length - 1)
        picked = self.starts[rng.integers(0, usable, count)]
        return [numpy.stack([ids[at:at + length] for at in picked]).astype(numpy.int64) for ids in (self.ids, self.labels)]


class Mix:
    """Batches with a fixed share of rows per source."""

    def __init__(self, folder, split, shares):
        self.sources = {name: Source(folder / f"{name}.{split}") for name in shares}
        self.shares = numpy.array([shares[name] for name in self.sources])

    def batch(self, rows, length, seed):
        """(inputs, targets), both int64 [rows, length]; the same seed gives the same batch."""
        rng = numpy.random.default_rng(seed)
        counts = rng.multinomial(rows, self.shares / self.shares.sum())
        rows = [source.rows(count, length, rng) for source, count in zip(self.sources.values(), counts) if count]
        return tuple(torch.from_numpy(numpy.concatenate(part)) for part in zip(*rows))
