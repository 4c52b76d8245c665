"""How much one caller may change in a while, counted in Redis for all webs together."""

import ipaddress
import math
import sys
import time

import redis
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from storage import keys
from storage.problems import Problem
from storage.queue.functions import Functions
from storage.settings import Settings
from web.access.caller import LOCAL, Caller

# Bits of an IPv6 prefix: of one link, whose hosts can take any address of it, and of the usual largest assignment to
# one customer, who has 65,536 such links.
IPV6_LINK, IPV6_SITE = 64, 48

Limit = tuple[RateLimitItem, tuple[str, str]]


class Counters(RedisStorage):
    """The library's counters over our own connections, and so with their timeouts.

    The library would load a Lua script of its own, which no role but the operator may.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        super().__init__(settings.redis_url, connection_pool=client.connection_pool, key_prefix=f"{keys.PREFIX}limits")
        self._functions = Functions(client)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return int(self._functions("count", key, expiry, amount))


class RateLimits:
    """Windows of fixed times: what was refused fits once the window is over, however many images it is, so that
    `Retry-After` can be exact. Every method raises Problem `rate_limited`, or redis.RedisError in an outage.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._window = FixedWindowRateLimiter(Counters(client, settings))
        self._of_caller, self._of_address = parse(settings.limit_key), parse(settings.limit_address)
        self._of_network = parse(settings.limit_network)

    def take(self, caller: Caller, address: str, images: int = 1, counted: int = 0) -> None:
        """For images and other changes, of which `counted` were taken already."""
        for limit, who in self._limits(caller, address):
            if images > limit.amount:
                raise Problem("payload_too_large", f"At most {limit}: send fewer images at a time.")
            self._take(limit, who, images - counted)

    def take_rendering(self, caller: Caller, address: str) -> None:
        """For a picture that is made for one request. As many as changes, and counted beside them."""
        for limit, (kind, name) in self._limits(caller, address):
            self._take(limit, (f"renderings-{kind}", name), 1)

    def most(self, caller: Caller, address: str) -> int:
        """How many images one request may bring at most."""
        return min((limit.amount for limit, _ in self._limits(caller, address)), default=sys.maxsize)

    def take_body(self, address: str) -> None:
        """For a body that a caller without a credential sends."""
        for limit, who in self._places("bodies", address):
            self._take(limit, who, 1)

    def take_session(self, address: str) -> None:
        for limit, who in self._places("sessions", address):
            self._take(limit, who, 1)

    def take_failure(self, address: str) -> None:
        """For a credential that is not valid."""
        for limit, who in self._places("failures", address):
            self._take(limit, who, 1)

    def check_failures(self, address: str) -> None:
        for limit, who in self._places("failures", address):
            self._check(limit, who)

    def _limits(self, caller: Caller, address: str) -> list[Limit]:
        if caller is LOCAL:
            return []
        limits: list[Limit] = [(self._of_caller, ("callers", caller.key_id or caller.tenant))]
        if caller.anonymous:
            limits += self._places("addresses", address)
        return limits

    def _places(self, what: str, address: str) -> list[Limit]:
        """The counters of a client that is known by its address only."""
        places: list[Limit] = [(self._of_address, (what, network(address)))]
        if around := site(address):
            places.append((self._of_network, (what, around)))
        return places

    def _take(self, limit: RateLimitItem, who: tuple[str, str], cost: int) -> None:
        if cost > 0 and not self._window.hit(limit, *who, cost=cost):
            raise self._refusal(limit, who)

    def _check(self, limit: RateLimitItem, who: tuple[str, str]) -> None:
        if not self._window.test(limit, *who):
            raise self._refusal(limit, who)

    def _refusal(self, limit: RateLimitItem, who: tuple[str, str]) -> Problem:
        reset_at = self._window.get_window_stats(limit, *who).reset_time
        # Redis tells whole seconds, rounded: one more, so that nobody comes too early.
        pause_s = max(0, math.ceil(reset_at - time.time())) + 1
        return Problem("rate_limited", f"The limit is {limit}.", pause_s)


def network(address: str) -> str:
    """The counter of one client: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_LINK), strict=False))
    return str(parsed) if parsed else address[:64]


def site(address: str) -> str:
    """The counter of the network around an IPv6 address, its /48; empty for all others."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_SITE), strict=False))
    return ""


def places(address: str) -> tuple[str, ...]:
    """Whose shares a client at this address uses: its own, and its site's."""
    return tuple(filter(None, (network(address), site(address))))


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IPv4 address in IPv6 notation is the IPv4 address; None for what is not an address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed
