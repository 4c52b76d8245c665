"""The caller of a request: its tenant and scopes."""

from dataclasses import dataclass

from flask import g

from storage.records.api_key import ANONYMOUS, ApiKey, Scope


@dataclass(frozen=True)
class Caller:
    """`key_id`: empty for a caller without a key."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str = ""

    @classmethod
    def by_key(cls, key: ApiKey) -> "Caller":
        return cls(key.tenant, key.scopes, key.id)

    @classmethod
    def by_anonymous_session(cls, tenant: str) -> "Caller":
        return cls(tenant, frozenset({Scope.SUBMIT, Scope.READ}))

    @property
    def anonymous(self) -> bool:
        return self.tenant.startswith(ANONYMOUS)

    @property
    def name(self) -> str:
        """The caller as decisions and runs record it: the tenant, and the key id if there is one."""
        return f"{self.tenant} {self.key_id}".rstrip()

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


# The caller of every request to an open server (docs/decisions/0014).
LOCAL = Caller("local", frozenset(Scope))


def caller() -> Caller:
    """Return the caller of the current request. Public routes have none."""
    found: Caller = g.caller
    return found
