"""Security headers of every response, errors included."""

from flask import Response, request

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STRICT_TRANSPORT_SECURITY = "max-age=31536000; includeSubDomains"
# For `Vary`: a cached response must not outlive a sign-out.
CREDENTIALS = ("Authorization", "Cookie")


def protect(response: Response) -> Response:
    """Set the headers. A response without its own `Cache-Control` gets `no-store`."""
    response.headers.update(ALWAYS)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY
    response.headers.setdefault("Cache-Control", "no-store")
    if request.endpoint != "static":
        response.vary.update(CREDENTIALS)
    return response
