"""TLS to Redis, S3 and PostgreSQL. Settings that would skip verification are refused at startup."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

# The other modes accept a server without checking its name.
SQL_MODES = ("disable", "verify-full")


def redis_options(url: str, ca: Path | None) -> dict[str, Any]:
    """TLS options for redis-py and for Celery's transport; empty for an unencrypted connection."""
    if urlsplit(url).scheme != "rediss":
        return {}
    trusted = {"ssl_ca_certs": str(ca)} if ca else {}  # otherwise the system's CAs
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **trusted}


def check_redis(url: str, ca: Path | None) -> None:
    """Raises ValueError. Refuses URL parameters, because they would override `redis_options`."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("REDIS_URL: redis://… or rediss://…")
    if parts.query:
        raise ValueError("REDIS_URL must not have parameters: they could disable verification; see REDIS_CA")
    _check_ca("REDIS", ca, parts.scheme == "rediss", "rediss")


def check_s3(url: str, ca: Path | None) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("S3_URL: http://… or https://…")
    _check_ca("S3", ca, parts.scheme == "https", "https")


def _check_ca(name: str, ca: Path | None, encrypted: bool, scheme: str) -> None:
    if ca and not encrypted:
        raise ValueError(f"{name}_CA is set, but {name}_URL is not {scheme}://: nothing would be encrypted")
    if ca and not ca.is_file():
        raise ValueError(f"{name}_CA: no such file")


def check_sql(url: str) -> None:
    if urlsplit(url).scheme.partition("+")[0] not in ("sqlite", "postgresql"):
        raise ValueError("SQL_URL: sqlite:///… or postgresql+psycopg://…")
    modes = parse_qs(urlsplit(url).query).get("sslmode", [])
    if set(modes) - set(SQL_MODES):
        raise ValueError("SQL_URL: sslmode=verify-full (with sslrootcert=…), or disable on a network of your own")
