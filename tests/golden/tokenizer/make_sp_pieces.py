#!/usr/bin/env python3
"""Train the small SentencePiece model of synthetic/sp_pieces.json and write its expected results.

usage: make_sp_pieces.py OUT_DIR

Needs the `sentencepiece` and `tokenizers` libraries; the committed files were made with 0.2.3 and 0.23.3. The file is
laid out as Mixtral's; every case is encoded by both libraries, and both must agree.
"""
import io
import json
import pathlib
import random
import sys

import sentencepiece
from tokenizers import Tokenizer

import fetch_tokenizers
import make_cases
import make_synthetic


def train():
    model = io.BytesIO()
    sentences = [line for text in make_synthetic.corpus() for line in text.splitlines() if line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, vocab_size=900, model_type="bpe", byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, split_digits=True, num_threads=1, minloglevel=2)
    return model.getvalue()


def main():
    out = pathlib.Path(sys.argv[1])
    model = train()
    file = fetch_tokenizers.sentencepiece_file(model, metaspace=False)
    path = out / "sp_pieces.json"
    path.write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    scores = fetch_tokenizers.sentencepiece_scores(model)
    (out / "sp_pieces.scores.json").write_text(json.dumps(scores, separators=(",", ":")) + "\n", encoding="utf-8")
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokenizer = Tokenizer.from_file(str(path))
    rng = random.Random(17)
    texts = make_synthetic.EXTRA + [t for t in make_cases.texts(rng, 280, ["<s>", "</s>"]) if len(t) < 120]
    texts += [rng.choice("ab =-0") * rng.randrange(1, 40) for _ in range(20)]
    with open(out / "sp_pieces.cases.jsonl", "w", encoding="utf-8") as cases:
        for i, text in enumerate(texts):
            case = make_cases.case(tokenizer, text, i % 2 == 1)
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            if "<s>" not in text and "</s>" not in text and "<unk>" not in text:
                assert pieces.encode(text) == plain, text
            cases.write(json.dumps(case, separators=(",", ":")) + "\n")
        single_bytes = [i for t, i in sorted(tokenizer.get_vocab().items()) if len(t) == 1 or t.startswith("<0x")]
        for _ in range(60):
            cases.write(json.dumps(make_cases.decode_case(tokenizer, rng, single_bytes), separators=(",", ":")) + "\n")
    print("sp_pieces", path.stat().st_size, len(texts))


if __name__ == "__main__":
    main()
