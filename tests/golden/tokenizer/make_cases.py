#!/usr/bin/env python3
"""Write test cases for tokenizer_parity, with the results of the `tokenizers` library.

usage: make_cases.py TOKENIZER.json CASES.jsonl [--strings 2400] [--decodes 400] [--seed 1]
"""
import argparse
import json
import random
import unicodedata

from tokenizers import Tokenizer

SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u180e", "\v",
          "\f", "\x85", "\u2028", "\u1680", "\u202f", " " * 17, "\n" * 9, " \n \n", "\t\t\t"]
WORDS = ["the", "router", "Expert", "MoE", "don't", "I'LL", "we'Re", "'s", "it'\u017f", "na\u00efve", "stra\u00dfe", "\u0130stanbul",
         "\u01c5", "caf\u00e9", "cafe\u0301", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u041f\u0440\u0438\u0432\u0435\u0442", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u4e2d\u6587\u5b57\u7b26", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab",
         "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0", "\u12a0\u121b\u122d\u129b",
         "\u00bd", "\u2167", "\u0664\u0665\u0666", "\u00b2\u00b3", "\uff11\uff12", "\ufb01ne", "\u2460", "x\u0323\u0307", "\u212b", "\u1e9b\u0323", "\u0958", "\u2126"]
EMOJI = ["\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
         "\U0001f9d1\u200d\U0001f680", "1\ufe0f\u20e3", "\U0001fae0", "\U0001fadf"]
CODE = ["def f(x):\n    return x**2  # note\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }\n", "{\"a\": [1, 2.5e-3, null]}",
        "SELECT * FROM t WHERE id='7';", "<div class=\"x\">&amp;</div>", "https://example.org/a?b=c&d=%20#e",
        "\tif err != nil {\n\t\treturn err\n\t}\n", "$\\frac{1}{2}\\alpha^{2}$", "```python\nprint('hi')\n```", "x=>y||z&&!w",
        "std::vector<std::pair<int,float>>&", "#include <stdio.h>\r\n", "a_b.c-d/e\\f|g", "----====****", "...\n\n!!!???"]
RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x250, 0x3A0), (0x300, 0x370), (0x370, 0x590), (0x590, 0x780), (0x780, 0xE00),
          (0xE00, 0x1200), (0x1200, 0x1C00), (0x1C00, 0x2000), (0x2000, 0x2C00), (0x2C00, 0x3100), (0x3100, 0xA000),
          (0xA000, 0xAC00), (0xAC00, 0xD7B0), (0xE000, 0xE100), (0xF900, 0x10000), (0x10000, 0x11000),
          (0x11000, 0x12600), (0x13000, 0x14700), (0x16800, 0x19000), (0x1B000, 0x1BD00), (0x1D000, 0x1D800),
          (0x1E000, 0x1F000), (0x1F000, 0x1FC00), (0x20000, 0x32000), (0xE0000, 0xE0200), (0xF0000, 0xF0100),
          (0x10FF00, 0x110000), (0, 0x20), (0x7F, 0xA0)]


def character(rng, assigned_only=False):
    while True:
        low, high = rng.choice(RANGES)
        c = rng.randrange(low, high)
        if 0xD800 <= c < 0xE000 or (assigned_only and unicodedata.category(chr(c)) == "Cn"):
            continue
        return chr(c)


def random_text(rng):
    return "".join(character(rng) for _ in range(rng.randrange(1, 24)))


def one_script(rng):
    low, high = rng.choice(RANGES[1:27])
    return "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 30)))


def mixed(rng, extra):
    pools = [WORDS, SPACES, EMOJI, CODE, extra]
    out = []
    for _ in range(rng.randrange(1, 14)):
        pool = rng.choices(pools, [8, 7, 2, 2, 3 if extra else 0])[0]
        out.append(rng.choice(pool))
        if rng.random() < 0.4:
            out.append(" ")
        if rng.random() < 0.1:
            out.append(str(rng.randrange(10 ** rng.randrange(1, 12))))
    return "".join(out)


def broken_bytes(rng):
    return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 40))).decode("utf-8", "replace")


def spaces(rng):
    return "".join(rng.choice(SPACES + ["a", ".", "1"]) for _ in range(rng.randrange(1, 20)))


def marks(rng):
    base = [rng.choice("aeou\u0915\u05d0\u1100\uac00x ") + "".join(
        chr(rng.choice([rng.randrange(0x300, 0x370), rng.randrange(0x591, 0x5C8), rng.randrange(0x93C, 0x94E), 0x3099, 0x11A8, 0x1161]))
        for _ in range(rng.randrange(0, 6))) for _ in range(rng.randrange(1, 8))]
    return "".join(base)


def hangul(rng):
    kinds = [(0x1100, 0x1113), (0x1161, 0x1176), (0x11A8, 0x11C3), (0xAC00, 0xD7A4), (0x3131, 0x318F)]
    return "".join(chr(rng.randrange(*rng.choice(kinds))) for _ in range(rng.randrange(1, 20)))


def cut_special(rng, extra):
    text = rng.choice(extra or ["<s>"])
    at = rng.randrange(len(text) + 1)
    return rng.choice(["", " ", "a"]) + text[:at] + rng.choice(["", " ", "x", "\n"]) + text[at:] + rng.choice(["", " ", "\n"]) + text


def fixed_texts():
    long_word = "".join(random.Random(5).choice("abcdefgh") for _ in range(20000))
    return ["", " ", "\n", "a", "\u2581", "\u2581\u2581a", "<0x41>", "\ufffd", "\x00", "\U0010ffff", "a" * 5000, " " * 5000, "\n" * 5000, "1" * 5000,
            "e\u0301" * 2000, "\u0301" * 3000, "ab" * 3000, "\U0001f600" * 800, "\u4e2d" * 3000, "us" * 4000, long_word, " \n" * 2000,
            "A" * 3000 + "a", "\r\n" * 1500, "!" * 3000, "\u00a0" * 1000, "x\u0323\u0307" * 900, "\u1112\u1161\u11ab" * 900]


def texts(rng, count, extra):
    made = fixed_texts() + WORDS + SPACES + EMOJI + CODE + extra[:40]
    makers = [random_text, one_script, lambda r: mixed(r, extra), lambda r: mixed(r, extra), broken_bytes, spaces, marks,
              hangul, lambda r: cut_special(r, extra), lambda r: " ".join(mixed(r, extra) for _ in range(20))]
    weights = [5, 5, 8, 8, 4, 4, 3, 2, 3, 1]
    while len(made) < count:
        made.append(rng.choices(makers, weights)[0](rng))
    return made


def case(tokenizer, text, special):
    ids = tokenizer.encode(text, add_special_tokens=special).ids
    return {"text": text, "special": special, "ids": ids, "plain": tokenizer.decode(ids, skip_special_tokens=False),
            "skipped": tokenizer.decode(ids, skip_special_tokens=True)}


def decode_case(tokenizer, rng, bytes_only):
    size = tokenizer.get_vocab_size()
    ids = [rng.choice(bytes_only) if bytes_only and rng.random() < 0.5 else rng.randrange(size + 2)
           for _ in range(rng.randrange(0, 30))]
    return {"ids": ids, "plain": tokenizer.decode(ids, skip_special_tokens=False),
            "skipped": tokenizer.decode(ids, skip_special_tokens=True)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizer")
    parser.add_argument("cases")
    parser.add_argument("--strings", type=int, default=2400)
    parser.add_argument("--decodes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(options.tokenizer)
    rng = random.Random(options.seed)
    extra = [token.content for _, token in sorted(tokenizer.get_added_tokens_decoder().items())]
    extra = extra[:60] + extra[-60:]
    single_bytes = [i for i in (tokenizer.token_to_id(f"<0x{b:02X}>") for b in range(256)) if i is not None]
    single_bytes += [i for t, i in tokenizer.get_vocab().items() if len(t) == 1 and ord(t) < 400]
    single_bytes.sort()
    with open(options.cases, "w", encoding="utf-8") as out:
        for number, text in enumerate(texts(rng, options.strings, extra)):
            out.write(json.dumps(case(tokenizer, text, number % 2 == 1)) + "\n")
        for _ in range(options.decodes):
            out.write(json.dumps(decode_case(tokenizer, rng, single_bytes)) + "\n")


if __name__ == "__main__":
    main()
