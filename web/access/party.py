"""Who takes a turn in the queue and has a quota: a tenant, or all anonymous tenants at one address together.

A browser gets as many anonymous tenants as it asks for, so they cannot each have a turn.
"""

import hashlib
import hmac

from web.access.caller import caller
from web.access.credentials import address
from web.access.rate_limits import network
from web.services import connected

PREFIX = "@"  # begins no tenant's name


def party() -> str:
    """Empty for the tenant itself. A digest stands for the address: without SESSION_SECRET it tells nothing of it."""
    if not caller().anonymous:
        return ""
    secret = connected().settings.session_secret.get_secret_value().encode()
    return PREFIX + hmac.new(secret, network(address()).encode(), hashlib.sha256).hexdigest()[:16]
