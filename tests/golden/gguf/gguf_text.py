"""A tokenizer.json as the tokenizer.ggml.* metadata of a GGUF file."""
import gguf

BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED = (
    gguf.TokenType.BYTE, gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNKNOWN,
    gguf.TokenType.UNUSED, gguf.TokenType.USER_DEFINED)


def tokens_and_types(tokenizer, size):
    """Text and type of every id below `size`; ids without a token are padding, as converters write it."""
    texts = [f"[PAD{i}]" for i in range(size)]
    types = [UNUSED] * size
    for text, i in tokenizer["model"]["vocab"].items():
        texts[i], types[i] = text, NORMAL
        if tokenizer["model"].get("byte_fallback") and len(text) == 6 and text.startswith("<0x"):
            types[i] = BYTE
    for token in tokenizer["added_tokens"]:
        texts[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    unknown = tokenizer["model"].get("unk_token")
    if unknown is not None:
        types[tokenizer["model"]["vocab"][unknown]] = UNKNOWN
    return texts, types


def template_ids(tokenizer):
    """The ids that the post-processor puts before and after a text."""
    steps = [tokenizer.get("post_processor") or {}]
    before, after = [], []
    while steps:
        step = steps.pop(0)
        steps += step.get("processors", [])
        seen = False
        for piece in step.get("single", []):
            if "Sequence" in piece:
                seen = True
            else:
                name = piece["SpecialToken"]["id"]
                (after if seen else before).extend(step["special_tokens"][name]["ids"])
    return before, after


def add_tokenizer(writer, tokenizer, pre, scores=None, size=None, eos=None, chat_template=None):
    """`pre` names the pre-tokenizer of a byte-level tokenizer; None: a SentencePiece one, with the scores of its pieces."""
    vocab = tokenizer["model"]["vocab"]
    ids = list(vocab.values()) + [token["id"] for token in tokenizer["added_tokens"]]
    texts, types = tokens_and_types(tokenizer, size or max(ids) + 1)
    before, after = template_ids(tokenizer)
    writer.add_tokenizer_model("gpt2" if pre else "llama")
    writer.add_tokenizer_pre(pre or "default")
    writer.add_token_list(texts)
    writer.add_token_types(types)
    if pre:
        merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
        writer.add_token_merges(merges)
    else:
        writer.add_token_scores(scores)
        writer.add_unk_token_id(vocab[tokenizer["model"]["unk_token"]])
    if before:
        writer.add_bos_token_id(before[0])
    if after or eos is not None:
        writer.add_eos_token_id(after[0] if after else eos)
    writer.add_add_bos_token(bool(before))
    writer.add_add_eos_token(bool(after))
    if chat_template:
        writer.add_chat_template(chat_template)
