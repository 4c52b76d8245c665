"""Forwarding headers count only when a declared proxy sends them."""

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


# A request with one of these has passed a proxy.
FORWARDING = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
DECLARED = "segue.declared_proxy"  # in the WSGI environment of a request that a declared proxy sent


class TrustedProxy:
    """WSGI middleware: `proxies` (addresses or networks, by comma) may tell X-Forwarded-For, -Proto and -Host."""

    def __init__(self, app: "WSGIApplication", proxies: str) -> None:
        self._app, self._forwarded = app, ProxyFix(app, x_for=1, x_proto=1, x_host=1)
        self._proxies = networks(proxies)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        declared = self._trusts(environ.get("REMOTE_ADDR", ""))
        environ[DECLARED] = declared
        app = self._forwarded if declared else self._app
        return app(environ, start_response)

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket has none
            return False
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return any((mapped or parsed) in proxy for proxy in self._proxies)


def networks(names: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Raises ValueError for what is neither an address nor a network."""
    return [ipaddress.ip_network(name.strip(), strict=False) for name in names.split(",") if name.strip()]
