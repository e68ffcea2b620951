"""HTTPS and gRPC over TLS with the official clients, a certificate that changes, and clients that never shake hands."""
import json
import os
import signal
import socket
import ssl
import subprocess
import time

import grpc
import httpx
import openai
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from conftest import STORY, Server


def make_pair(folder, name):
    """A certificate for localhost that signs itself: (certificate, key) as paths."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-keyout", key, "-out", certificate, "-subj", f"/CN={name}", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return certificate, key


class TlsServer(Server):
    """A server with a certificate; `trusted` is what its clients take."""

    def __init__(self, folder, *flags, client=None):
        self.trusted, self.client_pair = folder / "server.crt", client
        super().__init__("--ssl-certfile", str(folder / "server.crt"), "--ssl-keyfile", str(folder / "server.key"), *flags)

    def context(self):
        context = ssl.create_default_context(cafile=str(self.trusted))
        if self.client_pair:
            context.load_cert_chain(*map(str, self.client_pair))
        return context

    def get(self, path, headers=None, method="GET", body=None):
        with httpx.Client(verify=self.context(), timeout=30) as client:
            response = client.request(method, f"https://localhost:{self.port}{path}", headers=headers, content=body)
        return response.status_code, response.text, response.headers

    def client(self, **options):
        return openai.OpenAI(base_url=f"https://localhost:{self.port}/v1", api_key="none", max_retries=0,
                             http_client=httpx.Client(verify=self.context(), timeout=60))

    def grpc_port(self):
        line = next(line for line in self.log if "gRPC listens on port" in line)
        return int(line.rsplit(" ", 1)[1])

    def serial(self):
        with socket.create_connection(("127.0.0.1", self.port), 10) as plain:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) as wrapped:
                return ssl.DER_cert_to_PEM_cert(wrapped.getpeercert(True)).strip()


@pytest.fixture
def tls(tmp_path):
    make_pair(tmp_path, "server")
    server = TlsServer(tmp_path, "--grpc-port", "0", "--ssl-handshake-timeout", "1")
    yield server
    assert server.stop() == 0


def test_official_clients_ask_and_stream_over_tls(tls, tmp_path):
    client = tls.client()
    whole = client.chat.completions.create(model="demo", messages=STORY, temperature=0, max_tokens=24)
    stream = client.chat.completions.create(model="demo", messages=STORY, temperature=0, max_tokens=24, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 10 and "".join(pieces) == whole.choices[0].message.content
    trusted = grpc.ssl_channel_credentials((tmp_path / "server.crt").read_bytes())
    with grpc.secure_channel(f"localhost:{tls.grpc_port()}", trusted) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        Server.wait_for(lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=10).status ==
                        health_pb2.HealthCheckResponse.SERVING, "not serving")  # told a moment after /health is
    assert "https://localhost" in "".join(tls.out) or "https://127.0.0.1" in "".join(tls.out)
    health = subprocess.run([os.environ["FOREGATE_E2E_BINARY"], "health"], capture_output=True, text=True,
                            env=dict(os.environ, FOREGATE_PORT=str(tls.port), FOREGATE_SSL_CERTFILE="x"))
    assert health.returncode == 0, health.stderr


def test_who_is_not_trusted_or_speaks_plain_is_refused(tls):
    with pytest.raises(ssl.SSLCertVerificationError):
        with socket.create_connection(("127.0.0.1", tls.port)) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
    assert b"HTTP" not in tls.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError):
        with socket.create_connection(("127.0.0.1", tls.port)) as plain:
            old.wrap_socket(plain)
    assert tls.get("/health")[0] == 200


def resident(server):
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_handshakes_that_never_end_cost_little_and_are_dropped(tls):
    tls.get("/health")
    before = resident(tls)
    slow = [socket.create_connection(("127.0.0.1", tls.port)) for _ in range(400)]
    for connection in slow:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 300)
    time.sleep(0.3)
    grown = (resident(tls) - before) / len(slow)
    assert grown < 128 * 1024, f"{grown / 1024:.0f} KiB each"
    assert tls.get("/health")[0] == 200
    for connection in slow:
        connection.settimeout(5)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        connection.close()
    status = tls.get("/metrics")[1]
    dropped = next(line for line in status.splitlines() if "tls_handshakes" in line and 'result="too_slow"' in line)
    assert float(dropped.rsplit(" ", 1)[1]) == 400


def test_certificates_change_while_streams_go_on(tls, tmp_path):
    old = tls.serial()
    stream = tls.client().chat.completions.create(model="demo", messages=STORY, max_tokens=400, stream=True, temperature=0,
                                                  extra_body={"ignore_eos": True})
    first = next(iter(stream))
    (tmp_path / "server.key").write_text("no key at all")
    tls.process.send_signal(signal.SIGHUP)
    tls.wait_for(lambda: any("the old certificate stays" in line for line in tls.log), "not said")
    assert tls.serial() == old and first.id
    made = make_pair(tmp_path, "next")
    os.replace(made[1], tmp_path / "server.key")
    os.replace(made[0], tmp_path / "server.crt")
    tls.wait_for(lambda: tls.serial() != old, "not read again")
    assert sum(1 for _ in stream) > 100, "the stream that was open ended whole"
    assert tls.client().models.list().data[0].id == "demo"


def test_clients_show_a_certificate_where_authorities_are_named(tmp_path):
    make_pair(tmp_path, "server")
    mine, other = make_pair(tmp_path, "mine"), make_pair(tmp_path, "other")
    server = TlsServer(tmp_path, "--ssl-ca-certs", str(mine[0]), client=mine)
    try:
        assert json.loads(server.get("/v1/models")[1])["data"][0]["id"] == "demo"
        for pair in (None, other):
            server.client_pair = pair
            with pytest.raises(httpx.TransportError):
                server.get("/health")
        server.client_pair = mine
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("flags, word", [(["--ssl-certfile", "/nonexistent"], "--ssl-keyfile"),
                                         (["--ssl-keyfile", "/nonexistent"], "--ssl-certfile"),
                                         (["--ssl-certfile", "/nonexistent", "--ssl-keyfile", "/x"], "--ssl-certfile")])
def test_bad_files_exit_2_and_are_named(flags, word):
    command = [os.environ["FOREGATE_E2E_BINARY"], "serve", os.environ["FOREGATE_E2E_MODEL"], "--port", "0", *flags]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert run.returncode == 2 and word in run.stderr, run.stderr
