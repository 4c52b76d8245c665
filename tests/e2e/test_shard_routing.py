"""nginx sends each request to the shard that its key or session names."""

import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import services
from balancing import at, nginx_alone
from callers import bearer
from certificates import Authority

KEY = f"{'0' * 12}_{'s' * 43}"
A, B, OLD = f"seg_a_{KEY}", f"seg_b_{KEY}", f"seg_{KEY}"
Headers = dict[str, str]


class Named(ThreadingHTTPServer):
    """Answers every request with its name, as the web servers of a shard would with theirs."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Answer)


@pytest.fixture(scope="module")
def shards() -> Iterator[str]:
    """Yield SHARDS, with a server for each of two names. `include` is also a word of nginx."""
    servers = {name: Named(name) for name in ("a", "b", "include")}
    threads = [threading.Thread(target=server.serve_forever, args=[0.05]) for server in servers.values()]
    for thread in threads:
        thread.start()
    yield " ".join(f"{name}={at(server.server_port)}" for name, server in servers.items())
    for server in servers.values():
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="module")
def plain(nginx: None, shards: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx_alone(tmp_path_factory.mktemp("plain"), SHARDS=shards) as port:
        yield f"http://127.0.0.1:{port}"


def cookie(text: str, **others: str) -> Headers:
    return {"Cookie": text, **others}


@pytest.mark.parametrize(
    ("headers", "shard"),
    [
        ({}, "a"),
        (bearer(A), "a"),
        (bearer(B), "b"),
        (bearer(f"seg_include_{KEY}"), "include"),
        (bearer(OLD), "a"),
        (bearer(f"seg_c_{KEY}"), "a"),
        ({"Authorization": f"bearer  {B}"}, "b"),
        ({"Authorization": f"Bearer x {B}"}, "a"),
        ({"Authorization": f"Basic {B}"}, "a"),
        ({"Authorization": B}, "a"),
        (bearer(B.upper()), "a"),
        (bearer(f"seg_B_{KEY}"), "a"),
        (bearer(f"seg_bb_{KEY}"), "a"),
        (bearer("seg_b"), "a"),
        (cookie("segue_session=b~t"), "b"),
        (cookie("other=1; segue_session=b~t; segue_csrf=2"), "b"),
        (cookie("segue_session=a~t", **bearer(B)), "b"),
        (cookie("segue_session=b~t", **bearer(A)), "a"),
        (cookie("segue_session=b~t", **bearer(OLD)), "a"),
        (cookie("segue_session=b~t; segue_session=a~t"), "b"),
        (cookie("segue_session=t; segue_session=b~t"), "a"),
        (cookie("segue_session=B~t"), "a"),
        (cookie("SEGUE_SESSION=b~t"), "a"),
        (cookie("xsegue_session=b~t"), "a"),
        (cookie("other=segue_session=b~t"), "a"),
        (cookie("__Host-segue_session=b~t"), "a"),
    ],
)
def test_a_request_reaches_the_shard_that_it_names(plain: str, headers: Headers, shard: str) -> None:
    assert httpx.get(plain, headers=headers).text == shard


def test_over_tls_only_the_cookie_of_this_host_counts(nginx: None, shards: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pem = authority.server_file()
    trusted = ssl.create_default_context(cafile=authority.ca)
    with (
        nginx_alone(tmp_path, SHARDS=shards, TLS_CERTIFICATE=pem, TLS_KEY=pem) as port,
        httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted) as http,
    ):
        assert http.get("/", headers=cookie("__Host-segue_session=b~t")).text == "b"
        assert http.get("/", headers=cookie("segue_session=a~t; __Host-segue_session=b~t")).text == "b"
        assert http.get("/", headers=cookie("segue_session=b~t")).text == "a"


def test_without_shards_every_request_reaches_the_only_web_servers(nginx: None, shards: str, tmp_path: Path) -> None:
    only = shards.split()[1].removeprefix("b=")
    with nginx_alone(tmp_path, WEB_SERVERS=only) as port:
        for headers in ({}, bearer(A), bearer(OLD), cookie("segue_session=a~t")):
            assert httpx.get(f"http://127.0.0.1:{port}", headers=headers).text == "b"


def test_a_shard_is_added_without_a_restart(nginx: None, shards: str, tmp_path: Path) -> None:
    """As docs/shards.md says: the script writes and checks the configuration, and nginx reads it again.

    Each request has its own connection, because nginx then closes those that are idle.
    """
    with nginx_alone(tmp_path, SHARDS=shards.split(maxsplit=1)[0]) as port:
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(url, headers=bearer(B)).text == "a"
        env = services.environment(VAR=tmp_path, PORT=port, SHARDS=shards)
        subprocess.run(["deploy/nginx.sh", "-tq"], env=env, cwd=services.ROOT, check=True)
        os.kill(int((tmp_path / "nginx" / "nginx.pid").read_text()), signal.SIGHUP)
        services.wait_until(lambda: httpx.get(url, headers=bearer(B)).text == "b", "the new configuration")
        assert httpx.get(url, headers=bearer(A)).text == "a"
        assert httpx.post(url, content=b"0" * 2**20).text == "a"  # a body that nginx writes to a file


@pytest.mark.parametrize("shards", ["A=h:1", "a", "a=", "a=h:1,", "=h:1", "a=h:1 ninechars=h:2", "a_b=h:1"])
def test_malformed_shards_are_refused(nginx: None, tmp_path: Path, shards: str) -> None:
    env = services.environment(VAR=tmp_path, SHARDS=shards)
    done = subprocess.run(
        ["deploy/nginx.sh", "-tq"], env=env, cwd=services.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"SHARDS: {shards.rsplit(maxsplit=1)[-1]} is not ")
