"""A real S3 server on loopback, behind a proxy that counts requests and spoils answers as it is told."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.servers import Port, spawn, stop, wait_until_ready

HOP = {"connection", "transfer-encoding", "expect", "keep-alive", "host", "content-length"}


def error_body(status: int) -> bytes:
    code = {403: "AccessDenied", 404: "NoSuchKey", 503: "SlowDown"}.get(status, "InternalError")
    return f"<Error><Code>{code}</Code></Error>".encode()


class Store:
    """An S3 store of one bucket, ``s3://data``.

    Attributes:
        faults: end of a key -> what happens to the next requests for it, one after the other: a status, such
            as 500; ``truncate``: half of the body comes; ``reset``: the connection ends; a number of seconds
            below 60: the answer comes so late. Faults of ``"GET "`` + key are of reading alone.
        requests: (method, key) -> how often it was asked for.
    """

    def __init__(self, port: int) -> None:
        self.faults: defaultdict[str, list[Any]] = defaultdict(list)
        self.requests: Counter[tuple[str, str]] = Counter()
        self.delay = 0.0  # seconds before any answer, as from far away
        self._target = port
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        import boto3

        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket="data")

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="data", Key=key, Body=data)

    def put_folder(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket="data", Key=key)["Body"].read()

    def keys(self, prefix: str) -> dict[str, int]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix=f"{prefix}/")
        found = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"][len(prefix) + 1 :]: entry["Size"] for entry in found}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, method: str, key: str) -> Any:
        for pattern, actions in self.faults.items():
            verb, space, end = pattern.partition(" ") if pattern.startswith("GET ") else ("", "", pattern)
            if actions and key.endswith(end) and (not space or verb == method):
                return actions.pop(0)
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def serve(self) -> None:
                key = unquote(self.path.partition("?")[0]).removeprefix("/data/")
                store.requests[self.command, key] += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(store.delay)
                action = store.fault(self.command, key)
                if action == "reset":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if isinstance(action, int) and action >= 400:
                    self.answer(action, {"Content-Type": "application/xml"}, error_body(action))
                    return
                if isinstance(action, (int, float)):
                    time.sleep(action)
                link = http.client.HTTPConnection("127.0.0.1", store._target, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
                link.request(self.command, self.path, body, {**headers, "Host": self.headers["Host"]})
                found = link.getresponse()
                data = found.read()
                headers = {k: v for k, v in found.getheaders() if k.lower() not in HOP}
                length = found.getheader("Content-Length") if self.command == "HEAD" else None
                self.answer(found.status, headers, data, half=action == "truncate", length=length)
                link.close()

            def answer(self, status, headers, data, half=False, length=None) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data[: len(data) // 2] if half else data)
                if half:
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

        return Handler


@contextmanager
def serving() -> Iterator[Store]:
    """Start a server process, and name it to everything that reads the environment, as people do."""
    pytest.importorskip("moto.server", reason="needs moto[server], a server of the S3 protocol")
    pytest.importorskip("s3fs", reason="needs s3fs, the file system of s3://")
    import s3fs

    port = Port()
    number = port.release()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", number]
    process = spawn(command, "s3.log")
    wait_until_ready(
        process, "s3.log", lambda: urllib.request.urlopen(f"http://127.0.0.1:{number}", timeout=5), 60
    )
    store = Store(int(number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # of the package below; the tests are of what is above it
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            yield store
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            store.close()
            stop(process)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """The store, for a file of tests."""
    with serving() as one:
        yield one
