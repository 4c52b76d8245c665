"""The party: the unit of turns in the queue and of quotas.

A party is a tenant, or all anonymous tenants at one address together. A browser can create any
number of anonymous tenants, so they cannot each have a turn.
"""

import hashlib
import hmac

from web.access.caller import caller
from web.access.credentials import address
from web.access.rate_limits import network
from web.services import connected

PREFIX = "@"  # tenants' names do not begin with it


def party() -> str:
    """Return the caller's party; empty if it is the tenant itself.

    An anonymous party is a keyed digest of the address, which reveals nothing without
    SESSION_SECRET.
    """
    if not caller().anonymous:
        return ""
    secret = connected().settings.session_secret.get_secret_value().encode()
    return PREFIX + hmac.new(secret, network(address()).encode(), hashlib.sha256).hexdigest()[:16]


def party_name() -> str:
    """Return the name under which the caller's party takes turns and has quotas: the tenant's, or an anonymous one."""
    return party() or caller().tenant
