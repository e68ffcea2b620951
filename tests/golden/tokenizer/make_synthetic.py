#!/usr/bin/env python3
"""Train the small tokenizers of synthetic/ and write their expected results.

usage: make_synthetic.py OUT_DIR

One file per style of published tokenizer.json; needs the `tokenizers` library. The committed files
were made with version 0.23.3; run again only to change them on purpose.
"""
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import fetch_tokenizers as real
import make_cases

CL100K = real.CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + real.TAIL
DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            + real.TAIL]
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+" + real.TAIL)


def corpus():
    rng = random.Random(11)
    return [make_cases.mixed(rng, []) for _ in range(3000)]


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def level(pattern_used=False, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=pattern_used)


def train(tokenizer, vocab_size, special, alphabet):
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet,
                                  show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def byte_level(pre, normalizer=None, special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    return train(tokenizer, 700, list(special), sorted(pre_tokenizers.ByteLevel.alphabet()))


def llama3():
    made = byte_level(pre_tokenizers.Sequence([split(CL100K), level()]), special=("<|begin|>", "<|end|>"),
                      ignore_merges=True)
    made.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False),
         processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", 0)])])
    return made


def sentencepiece(normalizer, pre, byte_fallback=True, fuse_unk=True):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, fuse_unk=fuse_unk))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    pieces = [f"<0x{b:02X}>" for b in range(256)] if byte_fallback else []
    alphabet = [chr(c) for c in range(0x20, 0x7F)] + ["\u2581", "\u00e9", "\u4e2d"]
    train(tokenizer, 600 + len(pieces), ["<unk>", "<s>", "</s>"] + pieces, alphabet)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    return tokenizer


def sp_prepend():
    return sentencepiece(normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None)


def sp_metaspace():
    return sentencepiece(None, pre_tokenizers.Metaspace("\u2581", "first", split=False))


def sp_unknown():
    made = sentencepiece(None, pre_tokenizers.Metaspace("\u2581", "always", split=True), False, False)
    made.decoder = decoders.Metaspace("\u2581", "always")
    return made


def added_tokens():
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made = byte_level(level(True, True), normalizer)
    made.add_tokens([AddedToken("Expert", single_word=True), AddedToken("[Left]", lstrip=True, normalized=False),
                     AddedToken("[Right]", rstrip=True, normalized=False), AddedToken("  ", normalized=False),
                     AddedToken("Caf\u00e9 X"), AddedToken("[both]", lstrip=True, rstrip=True), AddedToken("<|im"),
                     AddedToken("word", single_word=True, normalized=False, special=True)])
    return made


def steps():
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(True), level()]),
                      normalizers.Sequence([normalizers.NFD(), normalizers.Replace(Regex(r"\s{2,}"), " ")]))


def no_decoder():
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return train(tokenizer, 500, ["[UNK]", "[SEP]"], [])


STYLES = {
    "gpt2": lambda: byte_level(level(True)),
    "qwen2": lambda: byte_level(pre_tokenizers.Sequence([split(real.QWEN2), level()]), normalizers.NFC()),
    "llama3": llama3,
    "deepseek": lambda: byte_level(pre_tokenizers.Sequence([split(p) for p in DEEPSEEK] + [level()])),
    "o200k": lambda: byte_level(pre_tokenizers.Sequence([split(real.LLAMA4), level()])),
    "han_intersection": lambda: byte_level(pre_tokenizers.Sequence([split(KIMI), level()])),
    "sp_prepend": sp_prepend, "sp_metaspace": sp_metaspace, "sp_unknown": sp_unknown, "added_tokens": added_tokens,
    "steps": steps, "no_decoder": no_decoder,
}
EXTRA = ["Expert experts expert", "a [Left]b [Right] c", "\t[both]\n x", "CAF\u00c9 x cafe\u0301 X", "a  b   c", "<|im_start|>user\nhi<|im_end|>",
         "word words sword word.", "<|im <|IM <s></s><unk>[SEP]", "\u2581x \u2581 y", "<0x41><0x0A>", "[left][right] [both]"]


def keep_three_added(text):
    """Byte pieces are trained as special tokens, but in published files they are plain vocabulary."""
    file = json.loads(text)
    if "<0x00>" in file["model"]["vocab"]:
        file["added_tokens"] = file["added_tokens"][:3]
    return file


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for number, (name, make) in enumerate(STYLES.items()):
        file = keep_three_added(make().to_str())
        path = out / f"{name}.json"
        path.write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(path))
        rng = random.Random(100 + number)
        extra = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        texts = EXTRA + [t for t in make_cases.texts(rng, 280, extra) if len(t) < 120]
        single_bytes = [i for t, i in sorted(tokenizer.get_vocab().items()) if len(t) == 1 or t.startswith("<0x")]
        with open(out / f"{name}.cases.jsonl", "w", encoding="utf-8") as cases:
            for i, text in enumerate(texts):
                cases.write(json.dumps(make_cases.case(tokenizer, text, i % 2 == 1), separators=(",", ":")) + "\n")
            for _ in range(60):
                cases.write(json.dumps(make_cases.decode_case(tokenizer, rng, single_bytes), separators=(",", ":")) + "\n")
        print(name, path.stat().st_size, (out / f"{name}.cases.jsonl").stat().st_size)


if __name__ == "__main__":
    main()
