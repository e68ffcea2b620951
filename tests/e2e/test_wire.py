"""HTTP abuse by raw bytes: each is refused within a bound, and the answer to a canary does not change."""
import json
import random
import time

import pytest

from conftest import STORY

pytestmark = pytest.mark.usefixtures("canary")

BODY = json.dumps({"prompt": "x", "max_tokens": 1})


def request(headers="", body=BODY, line="POST /v1/completions HTTP/1.1", length=None):
    size = f"Content-Length: {len(body) if length is None else length}\r\n"
    return f"{line}\r\nHost: x\r\n{headers}{size}\r\n{body}".encode()


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def error_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


CHUNKED = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(body, size):
    return "".join(f"{len(body[i:i + size]):x}\r\n{body[i:i + size]}\r\n" for i in range(0, len(body), size))


REFUSED = {
    "one header of 1 MB": (request("X: " + "a" * 1_000_000 + "\r\n"), {431}),
    "10^5 headers": (request("".join(f"X-{i}: y\r\n" for i in range(100_000))), {431}),
    "request line of 1 MB": (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {431}),
    "CL and TE": (request("Transfer-Encoding: chunked\r\n"), {400}),
    "TE and CL": ((CHUNKED[:-2] + "Content-Length: 5\r\n\r\n0\r\n\r\n").encode(), {400}),
    "two lengths": (request("Content-Length: 3\r\n"), {400}),
    "two equal lengths": (request(f"Content-Length: {len(BODY)}\r\n"), {400}),
    "length 1,1": (request(length="1,1"), {400}),
    "length -1": (request(length=-1), {400}),
    "length +5": (request(length="+5"), {400}),
    "length 2^63": (request(length=2**63), {413}),
    "length 2^64": (request(length=2**64), {400, 413}),
    "length 0x10": (request(length="0x10"), {400}),
    "length empty": (request(length=""), {400}),
    "TE twice": ((CHUNKED[:-2] + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode(), {400}),
    "TE xchunked": (CHUNKED.replace("chunked", "xchunked").encode(), {400, 501}),
    "TE gzip, chunked": (CHUNKED.replace("chunked", "gzip, chunked").encode(), {400, 501}),
    "TE identity": (CHUNKED.replace("chunked", "identity").encode(), {400, 501}),
    "TE in HTTP/1.0": (CHUNKED.replace("HTTP/1.1", "HTTP/1.0").encode(), {400}),
    "bare LF": (request().replace(b"\r\n", b"\n"), {400}),
    "space before colon": (request("X : y\r\n"), {400}),
    "folded line": (request("X: y\r\n z\r\n"), {400}),
    "NUL in a header": (request("X: a\0b\r\n"), {400}),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", {400}),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "HTTP/3.0": (b"GET /health HTTP/3.0\r\nHost: x\r\n\r\n", {400, 505}),
    "HTTP/0.9": (b"GET /health\r\n\r\n", {400, 505}),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)), {400}),
    "random bytes": (random.Random(1).randbytes(3000), {400}),
    "unknown expectation": (request("Expect: magic\r\n"), {417}),
    "body over the cap": (request(body="x" * (4 * 1024 * 1024 + 1)), {413}),
    "announced over the cap": (request(length=5_000_000), {413}),
    "chunk size ffffffffffffffff": ((CHUNKED + "ffffffffffffffff\r\nabc").encode(), {400, 413}),
    "chunk size overflow": ((CHUNKED + "f" * 17 + "\r\nabc").encode(), {400, 413}),
    "chunk size not hex": ((CHUNKED + "xyz\r\nabc\r\n").encode(), {400}),
    "chunk without CRLF": ((CHUNKED + "3\r\nabcdef\r\n").encode(), {400}),
    "chunk extension of 16 KB": ((CHUNKED + "1;" + "a" * 16384 + "\r\nx\r\n0\r\n\r\n").encode(), {400}),
    "trailers of 16 KB": ((CHUNKED + "1\r\nx\r\n0\r\nX: " + "a" * 16384 + "\r\n\r\n").encode(), {400}),
    "endless chunked body": ((CHUNKED + chunks("x" * 5_000_000, 65536)).encode(), {413}),
    "no length": (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n", {411}),
    "text/plain": (request("Content-Type: text/plain\r\n"), {415}),
    "form": (request("Content-Type: application/x-www-form-urlencoded\r\n"), {415}),
    "GET on a POST path": (b"GET /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {405}),
    "DELETE": (b"DELETE /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {405}),
    "unknown path": (b"GET /etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404}),
    "dot dot": (b"GET /v1/models/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404}),
    "target is not a path": (b"GET health HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server, name):
    data, statuses = REFUSED[name]
    if b"Connection: close" not in data and (411 in statuses or 415 in statuses):
        data = data.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n", 1)
    begin = time.monotonic()
    answer = server.exchange(data)
    assert status_of(answer) in statuses, answer[:300]
    assert time.monotonic() - begin < 4
    error = error_of(answer)
    assert error["message"] and len(error["message"]) < 300


BAD_BODIES = {
    "10^6 brackets": "[" * 1_000_000,
    "10^6 braces": '{"a":' * 500_000,
    "deep messages": '{"messages": ' + "[" * 10_000 + "]" * 10_000 + "}",
    "10^6 keys": "{" + ",".join(f'"k{i}":0' for i in range(300_000)) + "}",
    "10 MB number": '{"prompt": "x", "seed": ' + "1" * 3_000_000 + "}",
    "huge key": '{"' + "k" * 3_000_000,
    "trailing garbage": '{"prompt": "x"} x',
    "not JSON": "prompt=x",
    "empty": "",
    "NaN": '{"prompt": "x", "temperature": NaN}',
    "1e999": '{"prompt": "x", "temperature": 1e999}',
    "-1e999": '{"prompt": "x", "logit_bias": {"1": -1e999}}',
    "lone surrogate": '{"prompt": "\\ud800"}',
    "10^6 logit biases": '{"prompt": "x", "logit_bias": {' + ",".join(f'"{i}":1' for i in range(300_000)) + "}}",
    "10^5 stops": '{"prompt": "x", "stop": [' + ",".join(['"a"'] * 100_000) + "]}",
    "3 MB prompt": '{"prompt": "' + "a" * 3_000_000 + '"}',
    "3 MB of spaces": '{"prompt": "' + " " * 3_000_000 + '"}',
    "3 MB of line breaks": '{"prompt": "' + "\\n" * 1_500_000 + '"}',
    "26k combining marks": '{"prompt": "' + "e\\u0301" * 26_000 + '"}',
    "10^5 prompts": '{"prompt": [' + ",".join(['"a"'] * 100_000) + "]}",
    "max_tokens wrapping": '{"prompt": "x", "max_tokens": 4294967297}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_body(server, name):
    begin = time.monotonic()
    status, body, _ = server.post("/v1/completions", BAD_BODIES[name])
    assert status == 400, body[:300]
    assert len(body) < 2000 and json.loads(body)["error"]["message"]
    assert time.monotonic() - begin < 4


def test_invalid_utf8_body(server):
    status, body, _ = server.post("/v1/completions", b'{"prompt": "\xff\xfe"}')
    assert status == 400, body


def test_one_byte_chunks_are_taken(server):
    body = json.dumps({"prompt": "Once upon a time", "max_tokens": 2, "user": "u" * 20_000})
    answer = server.exchange((CHUNKED + chunks(body, 1) + "0\r\nX-Trailer: y\r\n\r\n").encode())
    assert status_of(answer) == 200


def test_a_body_may_begin_with_white_space(server):
    """Also where it comes in one piece with the header: it is no folded line of that."""
    for space in (b" ", b"\t", b"\r\n \n"):
        body = space + json.dumps({"prompt": "a", "max_tokens": 1}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert server.exchange(head + body).startswith(b"HTTP/1.1 200 ")


def test_slow_header_times_out(server):
    with server.raw() as connection:
        begin = time.monotonic()
        connection.sendall(b"GET /health HTTP/1.1\r\nHo")
        assert status_of(connection.recv(4096)) == 408
        assert 0.5 < time.monotonic() - begin < 3


def test_dripped_header_times_out(server):
    with server.raw() as connection:
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 5:
                connection.sendall(b"G" if time.monotonic() == begin else b"E")
                time.sleep(0.1)
        except OSError:
            pass
        assert time.monotonic() - begin < 4


def test_slow_body_times_out(server):
    with server.raw() as connection:
        connection.sendall(request(length=100, body="{"))
        assert status_of(connection.recv(4096)) == 408


def test_expect_continue(server):
    with server.raw() as connection:
        connection.sendall(request("Expect: 100-continue\r\n", body="", length=len(BODY)))
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY.encode())
        assert status_of(connection.recv(4096)) == 200


def test_expect_continue_with_too_large_a_body_is_refused_unread(server):
    with server.raw() as connection:
        connection.sendall(request("Expect: 100-continue\r\n", body="", length=50_000_000))
        assert status_of(connection.recv(4096)) == 413


def test_pipelined_requests_are_answered_in_order(server):
    data = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + request() + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = server.exchange(data)
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 404]


def test_smuggled_request_is_not_answered(server):
    answer = server.exchange(request("Transfer-Encoding: chunked\r\n", body="0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 ") == 1 and b'"object"' not in answer


def test_keep_alive_head_options_and_methods(server):
    with server.raw() as connection:
        for line, status in ((b"GET /health", b"200"), (b"HEAD /health", b"200"), (b"OPTIONS /v1/completions", b"204")):
            connection.sendall(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(4096)
            head, _, rest = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 " + status)
            if line.startswith(b"GET"):
                assert rest == b'{"status":"ok"}'
            else:
                assert rest == b""
            if line.startswith(b"OPTIONS"):
                assert b"allow: POST, OPTIONS" in head


def test_http_1_0_stream_ends_by_close(server):
    body = json.dumps({"messages": STORY, "max_tokens": 3, "stream": True})
    answer = server.exchange(request(line="POST /v1/chat/completions HTTP/1.0", body=body))
    assert answer.endswith(b"data: [DONE]\n\n") and b"chunked" not in answer


def test_many_connects_and_aborts(server):
    for _ in range(500):
        server.raw().close()
    server.wait_for(lambda: server.metric("foregate:http_connections") < 10, "connections were kept")


def test_abort_during_the_body(server):
    for _ in range(50):
        with server.raw() as connection:
            connection.sendall(request(length=1000, body="{"))
    server.wait_for(lambda: server.metric("foregate:http_connections") < 10, "connections were kept")


def test_header_values_do_not_reach_errors(server):
    answer = server.exchange(b"GET /\x1b[31mred HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status_of(answer) in (400, 404) and b"red" not in answer
