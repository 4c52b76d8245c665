"""Environments of real shells: errors are one sentence and an exit code, never a traceback."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import services
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from misbehaving import server

QUEUE = b'{"lanes": {}, "workers": 0, "images_per_s": 0, "backlog_s": null}'
KEY = "seg_very-secret"


def segue(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**services.environment(PYTHONPATH=services.PYTHONPATH), **environment}
    command = [sys.executable, "-m", "segue_client", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60, errors="replace")


def is_a_sentence(done: "subprocess.CompletedProcess[str]") -> bool:
    return "Traceback" not in done.stderr and bool(done.stderr.strip()) and len(done.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def url() -> "pytest.Generator[str]":
    with server(lambda _: (200, {"Content-Type": "application/json"}, QUEUE)) as (made, _):
        yield made


PROXIES = {"ALL_PROXY": "socks5://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "nonsense://x"}


@pytest.mark.parametrize("name", PROXIES)
def test_loopback_never_goes_through_a_proxy(url: str, name: str) -> None:
    done = segue("queue", "--url", url, **{name: PROXIES[name]})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"SEGUE_URL": "http://segue.invalid", "ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY"),
        ({"SEGUE_URL": "http://segue.invalid", "HTTP_PROXY": "nonsense://x"}, "HTTP_PROXY"),
        ({"SEGUE_URL": "https://127.0.0.1:1", "SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE"),
        ({"SEGUE_KEY": f"{KEY}ü"}, "key"),
        ({"SEGUE_URL": "http://["}, "url"),
        ({"SEGUE_URL": "ftp://x"}, "url"),
        ({"SEGUE_URL": f"http://user:{KEY}@x"}, "url"),
    ],
)
def test_an_unusable_environment_is_reported(environment: dict[str, str], named: str) -> None:
    done = segue("queue", **environment)
    assert done.returncode == 2
    assert is_a_sentence(done), done.stderr
    assert named in done.stderr
    assert KEY not in done.stderr + done.stdout


def test_a_missing_certificate_file_does_not_matter_without_tls(url: str) -> None:
    assert segue("queue", SEGUE_URL=url, SSL_CERT_FILE="/nowhere.pem").returncode == 0


def test_a_key_with_a_line_end_works(url: str) -> None:
    assert segue("queue", SEGUE_URL=url, SEGUE_KEY=f"{KEY}\r\n").returncode == 0


def test_a_terminal_that_cannot_show_a_name(url: str, tmp_path: Path) -> None:
    (tmp_path / "猫→.txt").write_text("no photo")
    for encoding in ("cp1252", "ascii", "utf-8"):
        done = segue("submit", str(tmp_path / "猫→.txt"), SEGUE_URL=url, PYTHONIOENCODING=encoding)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert "not_sent" in done.stdout


@pytest.mark.parametrize("where", ["http://segue.invalid", "http://127.0.0.1:1", "silent"])
def test_a_wrong_address_is_reported_soon(where: str, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}" if where == "silent" else where
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.jpg").write_bytes(b"\xff\xd8\xff and nothing more")
        started = time.monotonic()
        done = segue("folder", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--url", address)
        assert time.monotonic() - started < 20  # about 5 s on an idle machine
    assert done.returncode == 1
    assert f"{address} does not answer" in done.stdout


VARIABLES = (
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SEGUE_KEY",
    "COLUMNS",
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "socks5://127.0.0.1:1", "http://127.0.0.1:1", "http://[", "://", "127.0.0.1:1", "*", "/nowhere", "/", "80",
         "::1", "http://u:p@127.0.0.1:1", "schlüssel", "a b"]
    ),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12),
)  # fmt: skip
URLS = st.one_of(
    st.sampled_from(
        ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://segue.invalid", "https://[::1]:1", "http://"]
    ),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(environment=st.dictionaries(st.sampled_from(VARIABLES), VALUES, max_size=4), where=URLS)
def test_any_environment_ends_with_a_sentence(environment: dict[str, str], where: str) -> None:
    """Runs in this process, so only `main` catches errors."""
    from unittest import mock

    from typer.testing import CliRunner

    from segue_client.commands.app import assemble

    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    with (
        mock.patch.dict(os.environ, clean | environment | {"SEGUE_URL": where}, clear=True),
        mock.patch("segue_client.commands.service.PATIENCE_S", 0.05),
    ):
        done = CliRunner().invoke(assemble([]), ["queue", "--json"])
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit)
    assert done.stderr.strip()
