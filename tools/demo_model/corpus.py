"""Token files: NAME.bin holds uint16 ids, NAME.starts.npy the offset of each document (int64). Every document ends in
<|endoftext|>. Batches take rows that begin at a random document start and run on into the documents after it."""
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

    def rows(self, count, length, rng):
        """`count` rows of length + 1 ids, each from a document start."""
        usable = numpy.searchsorted(self.starts, len(self.ids) - length - 1)
        picked = self.starts[rng.integers(0, usable, count)]
        return numpy.stack([self.ids[at:at + length + 1] for at in picked]).astype(numpy.int64)


class Mix:
    """Batches with a fixed share of rows per source."""

    def __init__(self, folder, split, shares):
        self.sources = {name: Source(folder / f"{name}.{split}") for name in shares}
        self.shares = numpy.array([shares[name] for name in self.sources])

    def batch(self, rows, length, seed):
        """(inputs, targets), both int64 [rows, length]; the same seed gives the same batch."""
        rng = numpy.random.default_rng(seed)
        counts = rng.multinomial(rows, self.shares / self.shares.sum())
        ids = numpy.concatenate([source.rows(count, length, rng) for source, count in zip(self.sources.values(), counts) if count])
        ids = torch.from_numpy(ids)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
