"""Rate limits per caller and address, counted in Redis for all web processes together."""

import ipaddress
import math
import sys
import time
from functools import lru_cache

import redis
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from storage import keys
from storage.problems import Problem
from storage.queue.functions import Functions
from storage.settings import Settings
from web.access.caller import LOCAL, Caller

# IPv6 prefix lengths. A host can use any address of its link (/64). The usual largest assignment to
# one customer (/48) has 65,536 links.
IPV6_LINK, IPV6_SITE = 64, 48
MOST_EXHAUSTED = 10_000  # remembered windows: forgetting them only costs round trips

Limit = tuple[RateLimitItem, tuple[str, str]]


class Counters(RedisStorage):
    """The library's counters on our own Redis connections, with their timeouts.

    The library would load its own Lua script, which only the operator role may do.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        super().__init__(settings.redis_url, connection_pool=client.connection_pool, key_prefix=f"{keys.PREFIX}limits")
        self._functions = Functions(client)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return int(self._functions("count", key, expiry, amount))


class RateLimits:
    """Fixed-window limits. A refused request fits into the next window, so `Retry-After` is exact.

    The methods that take or check raise Problem `rate_limited`, or redis.RedisError in an outage.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._window = FixedWindowRateLimiter(Counters(client, settings))
        self._of_caller, self._of_address = parse(settings.limit_key), parse(settings.limit_address)
        self._of_network = parse(settings.limit_network)
        self._exhausted: dict[Limit, float] = {}  # until when: a flood of refused requests need not ask Redis again

    def take(self, caller: Caller, address: str, images: int = 1, counted: int = 0) -> None:
        """Count images or other changes; `counted` of them were counted already."""
        for limit, who in self._limits(caller, address):
            if images > limit.amount:
                raise Problem("payload_too_large", f"At most {limit}: send fewer images at a time.")
            self._take(limit, who, images - counted)

    def take_rendering(self, caller: Caller, address: str) -> None:
        """Count one rendering. Renderings have the same limits as changes, but separate counters."""
        for limit, (kind, name) in self._limits(caller, address):
            self._take(limit, (f"renderings-{kind}", name), 1)

    def most(self, caller: Caller, address: str) -> int:
        """Return the most images that one request may contain."""
        return min((limit.amount for limit, _ in self._limits(caller, address)), default=sys.maxsize)

    def take_body(self, address: str) -> None:
        """Count a body sent without a credential."""
        for limit, who in self._places("bodies", address):
            self._take(limit, who, 1)

    def take_session(self, address: str) -> None:
        for limit, who in self._places("sessions", address):
            self._take(limit, who, 1)

    def take_failure(self, address: str) -> None:
        """Count an invalid credential."""
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
        """Return the counters of an address and, for IPv6, of the network around it."""
        places: list[Limit] = [(self._of_address, (what, network(address)))]
        if around := site(address):
            places.append((self._of_network, (what, around)))
        return places

    def _take(self, limit: RateLimitItem, who: tuple[str, str], cost: int) -> None:
        if cost <= 0:
            return
        self._check_exhausted(limit, who)
        if not self._window.hit(limit, *who, cost=cost):
            raise self._refusal(limit, who)

    def _check(self, limit: RateLimitItem, who: tuple[str, str]) -> None:
        self._check_exhausted(limit, who)
        if not self._window.test(limit, *who):
            raise self._refusal(limit, who)

    def _check_exhausted(self, limit: RateLimitItem, who: tuple[str, str]) -> None:
        """Refuse without Redis until the window ends: its count never falls."""
        if (reset_at := self._exhausted.get((limit, who), 0)) > time.time():
            raise _rate_limited(limit, reset_at)

    def _refusal(self, limit: RateLimitItem, who: tuple[str, str]) -> Problem:
        if len(self._exhausted) >= MOST_EXHAUSTED:
            self._exhausted.clear()
        reset_at = self._window.get_window_stats(limit, *who).reset_time
        self._exhausted[limit, who] = reset_at
        return _rate_limited(limit, reset_at)


def _rate_limited(limit: RateLimitItem, reset_at: float) -> Problem:
    # Redis returns rounded seconds. Add one, so that no client retries too early.
    pause_s = max(0, math.ceil(reset_at - time.time())) + 1
    return Problem("rate_limited", f"The limit is {limit}.", pause_s)


def network(address: str) -> str:
    """Return what identifies one client: its IPv4 address, or the /64 of its IPv6 address."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_LINK), strict=False))
    return str(parsed) if parsed else address[:64]


def site(address: str) -> str:
    """Return the /48 around an IPv6 address; empty for any other address."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_SITE), strict=False))
    return ""


@lru_cache(1024)
def places(address: str) -> tuple[str, ...]:
    """Return the owners whose shares a client at this address uses: itself and its site."""
    return tuple(filter(None, (network(address), site(address))))


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address; None if it is not one. An IPv4-mapped IPv6 address becomes IPv4."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed
