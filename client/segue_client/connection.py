"""The HTTP client: checks the address and the key, and chooses proxies and certificates."""

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
    """The address, the key or the environment is not valid. The message never contains the key."""


def address(url: str) -> httpx.URL:
    """Parse the address of a server. Raises ConfigurationError."""
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
    """Strip the line end that a file or a clipboard adds. Raises ConfigurationError."""
    key = key.strip()
    if any(not "!" <= letter <= "~" for letter in key):
        raise ConfigurationError("key: spaces, control characters and non-ASCII characters are not allowed")
    return key


def http_client(url: str, key: str) -> httpx.Client:
    """Build the client. It follows no redirects, which would send the key to another address.

    Raises ConfigurationError.
    """
    base, key = address(url), clean_key(key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(CONNECT_S, read=TRANSFER_S, write=TRANSFER_S, pool=None)
    certificates = _certificates(base)
    # An explicit transport keeps httpx from reading the proxy variables: no proxy for loopback.
    direct = httpx.HTTPTransport(verify=certificates) if is_loopback(base.host) else None
    try:
        return httpx.Client(
            base_url=base, headers=headers, timeout=timeout, verify=certificates, transport=direct,
            follow_redirects=False,
        )  # fmt: skip
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        named = [name for name in PROXY_VARIABLES if os.environ.get(name)]
        raise ConfigurationError(f"{' or '.join(named)}: not a proxy address: http://… or https://…") from error


def _certificates(base: httpx.URL) -> ssl.SSLContext | bool:
    """The trusted certificate authorities; False for plain HTTP, which needs none."""
    if base.scheme == "http":
        return False
    try:
        return httpx.create_ssl_context()
    except (OSError, ValueError) as error:
        named = [name for name in CERTIFICATE_VARIABLES if os.environ.get(name)]
        raise ConfigurationError(f"{' or '.join(named)}: the certificates cannot be read") from error


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
