"""Middleware that accepts forwarding headers only from a declared proxy."""

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# A request with one of these has passed a proxy.
FORWARDING = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
DECLARED = "segue.declared_proxy"  # in the WSGI environment of a request that a declared proxy sent


PREFIX = "HTTP_X_FORWARDED_PREFIX"
_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)


class TrustedProxy:
    """WSGI middleware: accepts X-Forwarded-For, -Proto, -Host and -Prefix from `proxies`.

    `proxies`: addresses or networks, separated by commas.
    """

    def __init__(self, app: "WSGIApplication", proxies: str) -> None:
        self._app, self._forwarded = app, ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_prefix=1)
        self._proxies = networks(proxies)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        declared = within(environ.get("REMOTE_ADDR", ""), self._proxies)
        environ[DECLARED] = declared
        if not is_path(environ.get(PREFIX, "").removesuffix("/")):
            environ.pop(PREFIX, None)  # such a prefix could turn our links into links to another host
        app = self._forwarded if declared else self._app
        return app(environ, start_response)


def within(address: str, proxies: list[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a Unix socket has no address
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any((mapped or parsed) in proxy for proxy in proxies)


class RootPath:
    """WSGI middleware: serves the app under the path `root`, whether or not the proxy strips it."""

    def __init__(self, app: "WSGIApplication", root: str) -> None:
        self._app, self._root = app, root.rstrip("/")

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if self._root:
            environ["SCRIPT_NAME"] = self._root
            if f"{path}/".startswith(f"{self._root}/"):
                environ["PATH_INFO"] = path.removeprefix(self._root) or "/"
        return self._app(environ, start_response)


def is_path(text: str) -> bool:
    """Accept paths such as `/segue` and `/a/b`: no empty segment, and nothing that could name a host."""
    return _PATH.fullmatch(text) is not None


def networks(names: str) -> list[Network]:
    """Parse comma-separated addresses and networks. Raises ValueError."""
    return [ipaddress.ip_network(name.strip(), strict=False) for name in names.split(",") if name.strip()]
