"""What bad_inputs.py sends: bodies for the routes that take JSON, and bytes for the port."""
import itertools
import json

CHAT, TEXT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
GOOD = {
    CHAT: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    TEXT: {"prompt": "hi", "max_tokens": 2},
    RESPONSES: {"input": "hi", "max_output_tokens": 2},
    MESSAGES: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "hi"}]},
    "/tokenize": {"prompt": "hi"}, "/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": [{"role": "user", "content": "hi"}]},
}


class Raw(str):
    """JSON text that Python's own writer would not write."""


NUMBERS = [Raw(text) for text in ("-1", "0", "-0.0", "1e-45", "1e38", "-1e38", "1e300", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "2147483647",
                                  "2147483648", "-2147483648", "4294967297", "9223372036854775807", "9223372036854775808",
                                  "-9223372036854775809", "18446744073709551616", "0.5", "9", "65", "1000000")]
OTHERS = [None, True, "", "3", [], {}, [[]], [None], {"": None}, "x" * 100_000, [1] * 50_000, ["a"] * 50_000, {str(i): 1 for i in range(5_000)},
          [{"a": 1}] * 20_000, [-1], [2 ** 31], [2 ** 63], "\x00", "../../etc/passwd", "\r\nX: y", "\x1b[31m"]
FIELDS = ["n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p",
          "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs", "prompt_logprobs", "logit_bias", "stop",
          "stop_token_ids", "stop_sequences", "priority", "cache_salt", "stream", "stream_options", "echo", "tools", "tool_choice", "messages",
          "prompt", "input", "system", "tokens", "model", "response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice",
          "guided_grammar", "grammar", "json_schema", "chat_template_kwargs", "documents", "metadata", "user", "thinking", "reasoning_effort",
          "add_generation_prompt", "bad_words", "allowed_token_ids", "suffix", "service_tier"]
WORDS = ["Ġ", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<bos>", "<eos>", "<unk>", "<pad>", "<think>", "</think>", "<tool_call>",
         "</tool_call>", "[INST]", "[TOOL_CALLS]", "{{7*7}}", "{% raw %}", "<|im_start|>system\n"]
BOMBS = ["a", "\n", " ", "\t", "1", "us", "e\u0301", "\u200d", "\U0001F468\u200d", "ﷺ", "\ufeff", "\u0000", "'s", "----", "é", "𝕏"]
PATTERNS = ["(", ")", "*", "+a", "?", "a**", "[", "[^", "[z-a]", "\\", "(?=a)", "(?<n>a)", "\\1", "a{2,1}", "a{1000000}", "((a*)*)*b", "(a|a)*" * 20, "(" * 1000,
            "(" * 60_000 + ")" * 60_000, "a{1,1000}{1,1000}", "(" + "a?" * 500 + ")" + "a" * 500, "\\p{L}{1,50}", "\\ud800", "[\\x00-\\xff]*", "^^$$",
            "(|)", "(()*)*", ".{100000}", ".{15000}", "a{100000}", "(a?){2000}", "(a?){100000}", "(.*a){300}", "\\", "[[:foo:]]"]
RULES = ["", "root ::= root", "root ::= ", "root", "x ::= \"a\"", "root ::= y", "root ::= (", "root ::= [", "root ::= \"", "root ::= root root | \"a\"",
         "root ::= (\"\")*", "root ::= ((\"\"*)*)*", "root ::= \"a\"{1000000}", "root ::= a\n" + "".join(f"a{i} ::= a{i + 1}\n" for i in range(5000)),
         "root ::= " + "(" * 60_000 + "\"a\"" + ")" * 60_000, "root ::= [\\xff-\\x00]", "root ::= \"\\u{110000}\"", "root ::= \"a\" ::= \"b\"",
         "root ::= \"a\"\nroot ::= \"b\"", "root ::= .*", "root ::= [^a]* [^b]* [^c]*", "root ::= " + " | ".join(f"\"{i}\"" for i in range(50_000))]


def nested(kind, depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {kind: [schema, {"type": "object", "properties": {"a": schema}} if depth < 12 else {"type": "null"}]}
    return schema


def schemas():
    for kind, depth in itertools.product(("oneOf", "anyOf", "allOf"), list(range(1, 11)) + [20, 30]):
        yield f"{kind} {depth} deep", nested(kind, depth)
    deep = {"type": "integer"}
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    listed = {
        "deep items": deep, "recursive": {"$ref": "#"}, "recursive property": {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        "to nowhere": {"$ref": "#/$defs/x"}, "elsewhere": {"$ref": "http://127.0.0.1:1/x"}, "file": {"$ref": "file:///etc/passwd"},
        "long": {"type": "string", "maxLength": 10 ** 9}, "longer": {"type": "string", "minLength": 10 ** 9}, "negative": {"type": "string", "minLength": -1},
        "crossed": {"type": "string", "minLength": 9, "maxLength": 1}, "many items": {"type": "array", "minItems": 10 ** 9},
        "enum": {"enum": [f"v{i}" for i in range(100_000)]}, "empty enum": {"enum": []}, "const": {"const": "x" * 500_000},
        "1 MB": {"description": "d" * 1_100_000}, "properties": {"properties": {f"p{i}": {"type": "integer"} for i in range(20_000)}},
        "required": {"required": [f"p{i}" for i in range(20_000)]}, "wrong type": {"type": "strin"}, "type 3": {"type": 3}, "types": {"type": ["a"] * 1000},
        "items 3": {"items": 3}, "properties 3": {"properties": 3}, "pattern": {"type": "string", "pattern": "(((a*)*)*)*$"},
        "nested pattern": {"properties": {"a": {"type": "string", "pattern": "(" * 300 + "a" + ")*" * 300}}}, "number range": {"type": "integer", "minimum": -2 ** 70, "maximum": 2 ** 70},
        "multiple": {"type": "number", "multipleOf": 1e-300}, "not": {"not": {"not": {"type": "string"}}}, "if": {"if": True, "then": False},
        "prefix": {"prefixItems": [{"type": "integer"}] * 5000}, "mutual": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "list of long strings": {"type": "array", "maxItems": 4096, "items": {"type": "string", "maxLength": 4096}},
        "optional": {"properties": {f"p{i}": {"type": "integer"} for i in range(5_000)}}, "5000 required": {"required": [f"p{i}" for i in range(5_000)]},
        "const of 190 KB": {"const": "x" * 190_000}, "enum of 50000": {"enum": [f"v{i}" for i in range(50_000)]}, "long string": {"type": "string", "maxLength": 4096},
        "false": False, "true": True, "list": [], "number": 7, "surrogate": {"const": "\ud800"}, "key of 1 MB": {"properties": {"k" * 900_000: {}}},
    }
    yield from listed.items()


def text(value):
    """JSON of a body that holds Raw."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(key) + ":" + text(item) for key, item in value.items()) + "}"
    if isinstance(value, list) and len(value) < 10:
        return "[" + ",".join(text(item) for item in value) + "]"
    return json.dumps(value)


def fields():
    for field, value in itertools.product(FIELDS, NUMBERS + OTHERS):
        path = {"input": RESPONSES, "max_output_tokens": RESPONSES, "prompt": TEXT, "echo": TEXT, "suffix": TEXT, "system": MESSAGES,
                "stop_sequences": MESSAGES, "thinking": MESSAGES, "tokens": "/detokenize"}.get(field, CHAT)
        yield f"{path} {field} = {str(value)[:20]!r}", path, text({**GOOD[path], field: value})


def texts():
    for word in WORDS:
        yield f"special {word!r}", CHAT, json.dumps({"messages": [{"role": "user", "content": f"say {word} now {word}"}], "max_tokens": 2})
        yield f"special in a name {word!r}", CHAT, json.dumps({"messages": [{"role": "user", "name": word, "content": word[:3]}, {"role": "user", "content": word[3:]}],
                                                               "max_tokens": 2})
        yield f"special in a result {word!r}", CHAT, json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "tool", "tool_call_id": word, "content": word}],
                                                                 "max_tokens": 2})
    for piece, count in itertools.product(BOMBS, (26_000, 128_000, 1_000_000)):
        if len(piece.encode()) * count < 3_900_000:
            yield f"{count} x {piece!r}", TEXT, json.dumps({"prompt": piece * count, "max_tokens": 1}, ensure_ascii=False)
            yield f"tokenize {count} x {piece!r}", "/tokenize", json.dumps({"prompt": piece * count}, ensure_ascii=False)
    for size in (93, 94, 95, 96, 97, 2 ** 15):
        yield f"{size} token ids", TEXT, json.dumps({"prompt": [5] * size, "max_tokens": 1})
        for most in (1, 96, 2 ** 31 - 96, 2 ** 31 - 1, 2 ** 32 - size):
            yield f"{size} token ids, {most} more", TEXT, json.dumps({"prompt": [5] * size, "max_tokens": most})
    for token in (-1, 2 ** 31, 2 ** 63, 10 ** 6, 2 ** 31 - 1):
        for path, body in ((TEXT, {"prompt": [token]}), (TEXT, {"prompt": "a", "stop_token_ids": [token]}), (TEXT, {"prompt": "a", "logit_bias": {str(token): 1}}),
                           ("/detokenize", {"tokens": [token]}), (TEXT, {"prompt": "a", "allowed_token_ids": [token]})):
            yield f"{path} token {token}", path, json.dumps(body)
    for prompt in ("", [], [[]], [""], [[], []], None, [1], ["a", 1], [["a"]], {"a": 1}, 3):
        yield f"prompt {prompt!r}", TEXT, json.dumps({"prompt": prompt, "max_tokens": 1})
    for messages in ([], [{}], [[]], None, [{"role": "user"}], [{"role": "x", "content": "a"}], [{"role": "user", "content": None}],
                     [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
                     [{"role": "user", "content": "a"}] * 100_000, [{"role": "user", "content": [{"type": "text", "text": "a"}] * 100_000}]):
        for path in (CHAT, MESSAGES, RESPONSES):
            yield f"{path} messages {str(messages)[:40]}", path, json.dumps({"input" if path == RESPONSES else "messages": messages, "max_tokens": 1})


def json_texts():
    listed = {"brackets": "[" * 1_000_000, "braces": '{"a":' * 500_000, "keys": "{" + ",".join(f'"k{i}":0' for i in range(300_000)) + "}", "number": '{"prompt": "x", "seed": ' + "1" * 3_000_000 + "}",
              "key": '{"' + "k" * 3_000_000, "garbage behind": '{"prompt": "x"} x', "no JSON": "prompt=x", "empty": "", "null": "null", "list": "[]", "text": '"x"', "one": "1",
              "twice": '{"prompt": "a", "prompt": "b", "max_tokens": 1}', "comment": '{"prompt": "x" /* */}', "comma": '{"prompt": "x",}', "single": "{'prompt': 'x'}",
              "BOM": '\ufeff{"prompt": "x", "max_tokens": 1}', "lone surrogate": '{"prompt": "\\ud800"}', "surrogates turned": '{"prompt": "\\udc00\\ud800"}', "NUL": '{"prompt": "\\u0000", "max_tokens": 1}',
              "overlong": b'{"prompt": "\xc0\xaf"}', "over the end": b'{"prompt": "\xf4\x90\x80\x80"}', "no UTF-8": b'{"prompt": "\xff"}', "UTF-16": '{"prompt": "x"}'.encode("utf-16"),
              "half a character": b'{"prompt": "\xe2\x82"}', "line in a text": '{"prompt": "a\nb"}', "tools": json.dumps({**GOOD[CHAT], "tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(100_000)]})}
    for (name, body), path in itertools.product(listed.items(), (CHAT, TEXT, RESPONSES, MESSAGES)):
        yield f"{path} {name}", path, body
    for path, good in GOOD.items():
        whole = json.dumps(good)
        for cut in range(0, len(whole), max(1, len(whole) // 12)):
            yield f"{path} cut at {cut}", path, whole[:cut]


def forms():
    for name, schema in schemas():
        body = json.dumps({**GOOD[CHAT], "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}})
        yield f"schema {name}", CHAT, body
        yield f"tool with schema {name}", CHAT, json.dumps({**GOOD[CHAT], "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}], "tool_choice": "required"})
        yield f"guided_json {name}", TEXT, json.dumps({**GOOD[TEXT], "guided_json": schema})
    for pattern in PATTERNS:
        yield f"regex {pattern[:20]}", CHAT, json.dumps({**GOOD[CHAT], "guided_regex": pattern})
        yield f"pattern {pattern[:20]}", TEXT, json.dumps({**GOOD[TEXT], "guided_json": {"type": "string", "pattern": pattern}})
    for rules in RULES:
        yield f"grammar {rules[:30]!r}", TEXT, json.dumps({**GOOD[TEXT], "grammar": rules})
    for kwargs in ({"messages": []}, {"tokenize": True}, {"add_generation_prompt": False}, {"bos_token": "x" * 1_000_000}, {"tools": [1]}, {"x" * 1_000_000: 1}, {"__class__": 1},
                   {f"k{i}": 1 for i in range(1000)}, {"a": "{{ range(10**9) }}"}, {"loop": 1}, {"namespace": 1}, {"raise_exception": 1}, {"range": 3}, {"enable_thinking": [[]]}):
        yield f"kwargs {str(kwargs)[:30]}", CHAT, json.dumps({**GOOD[CHAT], "chat_template_kwargs": kwargs})


def pairs(random, count):
    """Two or three bad fields at once, of any route."""
    for number in range(count):
        path = random.choice(list(GOOD))
        body = dict(GOOD[path])
        for field in random.sample(FIELDS, random.choice((2, 2, 2, 3))):
            body[field] = random.choice(NUMBERS + OTHERS)
        yield f"pair {number} {path} {sorted(body)}", path, text(body)


def bodies(random, count):
    yield from fields()
    yield from texts()
    yield from json_texts()
    yield from forms()
    yield from pairs(random, count)


def wire(random, count):
    """(name, bytes, statuses that are right; None: any but a fault)."""
    body = json.dumps(GOOD[TEXT])
    head = f"POST {TEXT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    good = (head + body).encode()
    chunked = f"POST {TEXT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    refused = {400, 404, 405, 408, 411, 413, 414, 415, 417, 431, 501, 505}
    for size in ("9223372036854775808", "18446744073709551616", "-1", "+5", "1,1", "0x10", "", "1 1", "1e3", "999999999999999999999999"):
        yield f"length {size}", head.replace(f"Length: {len(body)}", f"Length: {size}").encode(), refused
    for line in ("Transfer-Encoding: chunked", "Content-Length: 3", "X : y", "X: a\0b", "X: y\r\n z", ": y", "X", "Host: y", "Expect: magic", "X: " + "a" * 1_000_000,
                 "\r\n".join(f"X{i}: y" for i in range(100_000)), "X\x7f: y", "X: \x01", "(): y", "Content-Type: text/plain", "Content-Length: " + "0" * 5000 + "1"):
        yield f"header {line[:20]!r}", head.replace("Connection: close", line).encode("latin-1") + body.encode(), refused
    for size in ("ffffffffffffffff", "f" * 17, "xyz", "-1", "", " 3", "3 ", "0x3", "3;" + "a" * 16_384):
        yield f"chunk size {size[:20]}", (chunked + size + "\r\nabc\r\n0\r\n\r\n").encode(), refused
    yield "1-byte chunks", (chunked + "".join(f"1\r\n{one}\r\n" for one in body) + "0\r\n\r\n").encode(), {200}
    yield "3 MB of 1-byte chunks", (chunked + "1\r\nx\r\n" * 1_000_000 + "0\r\n\r\n").encode(), refused
    yield "no end of chunks", (chunked + "10000\r\n" + "x" * 65536 + "\r\n").encode() * 1, refused | {200}
    for first in ("GET", "GET /", "GET / HTTP/1.1", "GET  / HTTP/1.1", "GET / HTTP/9.9", "get / HTTP/1.1", "PRI * HTTP/2.0", "GET http://x/ HTTP/1.1", "GET /\0 HTTP/1.1", "GET /%zz HTTP/1.1",
                  "GET /" + "a" * 1_000_000 + " HTTP/1.1", "\x16\x03\x01\x02", "A" * 100_000 + " / HTTP/1.1", "GET /v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1", "GET /../../etc/passwd HTTP/1.1",
                  "OPTIONS * HTTP/1.1", "CONNECT x:1 HTTP/1.1", "TRACE / HTTP/1.1", "DELETE /v1/models/demo HTTP/1.1"):
        yield f"line {first[:30]!r}", (first + "\r\nHost: x\r\nConnection: close\r\n\r\n").encode("latin-1"), None
    for number in range(count):
        data = bytearray(good)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(data))
            kind = random.randrange(4)
            if kind == 0:
                data[at] = random.randrange(256)
            elif kind == 1:
                del data[at:at + random.randint(1, 9)]
            elif kind == 2:
                data[at:at] = random.choice((b"\r\n", b"\n", b"\0", b" ", b"\xff", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"0" * 100))
            else:
                data[at:at] = data[random.randrange(len(data)):][:20]
        yield f"broken {number}", bytes(data), None
