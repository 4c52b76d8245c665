"""Create MinIO's users and policies through its admin API, as its root user."""

from urllib.parse import urlsplit

import urllib3
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException

from storage.problems import Unavailable
from storage.roles.roles import PROGRAMS, policy
from storage.s3 import OUTAGES, RETRY, TIMEOUT
from storage.settings import Settings


def make_users(settings: Settings) -> None:
    """Create a user for each program's role that has a secret in `s3_users`.

    Repeating it updates secrets and rights. Raises Unavailable if the server does not answer or
    does not have MinIO's admin API.
    """
    url = urlsplit(settings.s3_url)
    admin = MinioAdmin(
        endpoint=url.netloc,
        credentials=StaticProvider(settings.s3_access_key, settings.s3_secret_key.get_secret_value()),
        region=settings.s3_region,
        secure=url.scheme == "https",
        http_client=urllib3.PoolManager(
            timeout=TIMEOUT,
            retries=urllib3.Retry(**RETRY),
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(settings.s3_ca) if settings.s3_ca else None,
        ),
    )
    try:
        for role in (role for role in PROGRAMS if role in settings.s3_users):
            name = f"{settings.bucket_prefix}{role}"
            admin.policy_add(name, policy=policy(role, settings.bucket_prefix))
            admin.user_add(role, settings.s3_users[role].get_secret_value())
            admin.policy_set(name, user=role)
    except (*OUTAGES, MinioAdminException) as error:
        raise Unavailable(f"creating MinIO users failed: {error}") from error
