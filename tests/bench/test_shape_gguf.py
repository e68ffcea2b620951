#!/usr/bin/env python3
"""make_shape_gguf.py and gguf_blocks.py against the gguf package's own reader. run_shape_gguf.py runs it with numpy and
gguf at hand."""
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, quants

sys.path.insert(0, str(Path(__file__).resolve().parent))

import make_shape_gguf as maker  # noqa: E402
from gguf_blocks import quantize  # noqa: E402

SMALL = replace(maker.SHAPES["tiny"], layers=2, experts=4, top_k=2)
RMS_ERROR = {Type.Q8_0: 0.006, Type.Q6_K: 0.025, Type.Q4_K: 0.09, Type.Q4_0: 0.11}  # of standard normal weights


class Blocks(unittest.TestCase):
    def test_error_of_each_format(self):
        values = np.random.default_rng(1).standard_normal((64, 512), np.float32)
        for kind, bound in RMS_ERROR.items():
            data = quantize(values, kind).reshape(64, -1)
            error = np.sqrt(np.mean((quants.dequantize(data, kind) - values) ** 2))
            self.assertLess(error, bound, kind.name)
            self.assertGreater(error, bound / 3, kind.name)

    def test_zeros_and_one_sided_blocks(self):
        rows = np.stack([np.zeros(256), np.linspace(1, 2, 256), np.linspace(-2, -1, 256)]).astype(np.float32)
        for kind in RMS_ERROR:
            back = quants.dequantize(quantize(rows, kind).reshape(3, -1), kind)
            self.assertTrue(np.all(back[0] == 0), kind.name)
            self.assertLess(np.abs(back - rows).max(), 0.15, kind.name)


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.readers = {}
        for form in maker.FORMATS:
            path = Path(cls.folder.name) / f"{form}.gguf"
            maker.write_model(path, SMALL, form, 7, 2000)
            cls.readers[form] = GGUFReader(path)

    @classmethod
    def tearDownClass(cls):
        cls.readers = {}
        cls.folder.cleanup()

    def weights(self, form, name):
        tensor = next(t for t in self.readers[form].tensors if t.name == name)
        return quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])

    def test_formats_hold_the_same_weights_of_the_stated_spread(self):
        for name, std in (("token_embd.weight", 0.5), ("blk.1.ffn_up_exps.weight", 0.02),
                          ("blk.0.ffn_down_exps.weight", 0.01), ("output.weight", 0.02)):
            exact = self.weights("f32", name)
            self.assertAlmostEqual(float(exact.std()) / std, 1.0, delta=0.01)
            for form in ("q8_0", "q4_0", "q4_k_m"):
                error = self.weights(form, name) - exact
                self.assertLess(float(np.sqrt(np.mean(error ** 2))) / std, 0.11, (name, form))
        experts = self.weights("f32", "blk.1.ffn_up_exps.weight")
        self.assertFalse(np.array_equal(experts[0], experts[1]))

    def test_types_follow_the_mix(self):
        kinds = {form: {t.name: t.tensor_type for t in reader.tensors} for form, reader in self.readers.items()}
        self.assertEqual(kinds["q4_0"]["output.weight"], Type.Q6_K)
        self.assertEqual(kinds["q4_0"]["blk.0.ffn_down_exps.weight"], Type.Q4_0)
        self.assertEqual(kinds["q4_k_m"]["blk.1.ffn_down_exps.weight"], Type.Q6_K)
        self.assertEqual(kinds["q4_k_m"]["blk.1.ffn_up_exps.weight"], Type.Q4_K)
        self.assertEqual(kinds["q8_0"]["blk.0.ffn_gate_inp.weight"], Type.F32)
        self.assertEqual([maker.more_bits(layer, 16) for layer in range(16)],
                         [layer in (0, 1, 4, 7, 10, 13, 14, 15) for layer in range(16)])

    def test_vocabulary(self):
        tokens, merges = maker.byte_level_bpe(2000)
        self.assertEqual((len(tokens), len(set(tokens))), (2000, 2000))
        self.assertEqual(len(merges), 2000 - 128 - 1)
        known = set(tokens)
        for number, merge in enumerate(merges):
            left, right = merge.split(" ")
            self.assertTrue(left in known and right in known)
            self.assertEqual(tokens[128 + number], left + right)
        bytes_of = {character: byte for byte, character in enumerate(maker.byte_alphabet())}
        self.assertEqual(sorted(bytes_of.values()), list(range(256)))
        for token in tokens:
            bytes(bytes_of[character] for character in token).decode()
        field = self.readers["q4_0"].fields["tokenizer.ggml.tokens"]
        self.assertEqual(bytes(field.parts[field.data[-1]]).decode(), maker.END_OF_TEXT)


if __name__ == "__main__":
    unittest.main()
