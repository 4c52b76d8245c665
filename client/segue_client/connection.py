"""Where the service is, and the HTTP client that reaches it: address, key, proxies and certificates."""

import ipaddress
import os
import re
import ssl

import httpx

CONNECT_S, TRANSFER_S = 10, 90
HOST = re.compile(r"[\w.:-]+")
PROXY_VARIABLES = (
    "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "all_proxy", "https_proxy", "http_proxy", "no_proxy",
)  # fmt: skip
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class ConfigurationError(ValueError):
    """The address, the key or the environment cannot be used. The text never holds the key."""


def address(url: str) -> httpx.URL:
    """Raises ConfigurationError where it is not the address of a server."""
    try:
        found = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigurationError("url: not an address: http://… or https://…") from error
    if found.scheme not in ("http", "https") or not HOST.fullmatch(found.host):
        raise ConfigurationError("url: http://… or https://…")
    if found.userinfo or found.query or found.fragment:
        raise ConfigurationError("url: only scheme, host, port and path; the key goes into SEGUE_KEY")
    return found


def clean_key(key: str) -> str:
    """Without the line end that a file or a clipboard adds. Raises ConfigurationError."""
    key = key.strip()
    if any(not "!" <= letter <= "~" for letter in key):
        raise ConfigurationError("key: it has characters that no key has (spaces, control or non-ASCII characters)")
    return key


def http_client(url: str, key: str) -> httpx.Client:
    """It never follows a redirect, since that would take the key along. Raises ConfigurationError."""
    base, key = address(url), clean_key(key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(CONNECT_S, read=TRANSFER_S, write=TRANSFER_S, pool=None)
    certificates = _certificates(base)
    # A transport of our own keeps httpx from reading the proxy variables: loopback never goes through a proxy.
    direct = httpx.HTTPTransport(verify=certificates) if is_loopback(base.host) else None
    try:
        return httpx.Client(
            base_url=base, headers=headers, timeout=timeout, verify=certificates, transport=direct,
            follow_redirects=False,
        )  # fmt: skip
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        named = [name for name in PROXY_VARIABLES if os.environ.get(name)]
        raise ConfigurationError(f"{' or '.join(named)}: no proxy that can be used: http://… or https://…") from error


def _certificates(base: httpx.URL) -> ssl.SSLContext | bool:
    """What a server's certificate is checked against; for plain HTTP nothing is loaded."""
    if base.scheme == "http":
        return False
    try:
        return httpx.create_ssl_context()
    except (OSError, ValueError) as error:
        named = [name for name in CERTIFICATE_VARIABLES if os.environ.get(name)]
        raise ConfigurationError(f"{' or '.join(named)}: no certificates can be read there") from error


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
