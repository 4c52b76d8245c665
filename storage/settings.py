"""All settings.

A process reads them from the environment once, and no other module reads the environment.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from storage import tls


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


# NoDecode: pydantic would parse the JSON of a variable, but not the content of a file.
Secrets = Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_parsed)]

RATE = r"^[1-9]\d*/(second|minute|hour|day)$"


class SecretFiles(PydanticBaseSettingsSource):
    """`S3_SECRET_KEY_FILE=/run/secrets/s3` instead of `S3_SECRET_KEY=…`, for any setting."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        path = os.environ.get(f"{field_name.upper()}_FILE")
        return (Path(path).read_text().strip() if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(None, name)[0] for name in self.settings_cls.model_fields}
        return {name: value for name, value in values.items() if value is not None}


class Settings(BaseSettings):
    """The environment variables are these field names in upper case; `.env.example` explains each."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # a malformed input may contain a secret
    )

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_ca: Path | None = None
    s3_url: str = "http://127.0.0.1:8333"
    s3_ca: Path | None = None
    s3_access_key: str = "segue"
    s3_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    s3_users: Secrets = {}
    bucket_prefix: str = "segue-"
    sql_url: SecretStr = SecretStr("sqlite:///var/records.db")
    sql_users: Secrets = {}
    port: int = 8000
    bind: str = "127.0.0.1"
    web_processes: int = Field(default=1, ge=1)
    shard: str = Field(default="", pattern=r"^[a-z0-9]{0,8}$")

    require_keys: bool = False
    public_page: bool = False
    session_secret: SecretStr = SecretStr("")
    session_s: int = Field(default=7 * 24 * 3600, ge=60)
    session_idle_s: int = Field(default=24 * 3600, ge=60)
    audit_days: int = Field(default=365, ge=31)
    key_cache_s: float = Field(default=15, ge=0, le=30)
    limit_key: str = Field(default="1200/minute", pattern=RATE)
    limit_address: str = Field(default="300/minute", pattern=RATE)
    limit_network: str = Field(default="3000/minute", pattern=RATE)
    trusted_proxy: str = ""
    root_path: str = ""
    cors_origins: str = ""
    cors_credentials: bool = False

    max_connections: int = Field(default=4000, ge=10)
    limit_connections: str = Field(default="3000/minute", pattern=RATE)
    max_bodies: int = Field(default=400, ge=2)
    max_bodies_bytes: int = Field(default=256 * 1024 * 1024, ge=48 * 1024 * 1024)
    head_s: float = Field(default=20, gt=0)
    body_s: float = Field(default=300, gt=0)
    body_rate: int = Field(default=8192, ge=0)

    max_upload_bytes: int = 10 * 1024 * 1024
    max_upload_pixels: int = 25_000_000
    max_upload_side: int = 10_000
    quota_jobs: int = Field(default=100_000, ge=1)
    quota_bytes: int = Field(default=20 * 1024**3, ge=1)
    deadline_s: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    retention_s: int = Field(default=7 * 24 * 3600, ge=1)
    max_backlog_s: float = Field(default=21600, gt=0)
    workers: int = Field(default=1, ge=1)
    max_waiters: int = Field(default=2000, ge=0)
    picture_bytes: int = Field(default=640 * 1024 * 1024, gt=0)

    micro_batch: int = Field(default=16, ge=1, le=64)
    micro_batch_pixels: int = 64_000_000
    micro_batch_bytes: int = 64 * 1024 * 1024
    copy_bytes: int = Field(default=32 * 1024 * 1024, ge=0)
    lease_s: float = Field(default=30, gt=0)
    ticket_s: float = Field(default=5, gt=0)
    sweep_s: float = Field(default=2, gt=0)
    reconcile_s: float = Field(default=30, gt=0)
    adopt_s: float = Field(default=300, gt=0)
    adopt_after_s: float = Field(default=60, ge=0)
    clean_s: float = Field(default=60, gt=0)
    scrub_s: float = Field(default=3600, gt=0)
    record_s: float = Field(default=1, gt=0)
    stall_s: float = Field(default=60, gt=0)
    engine: Literal["auto", "litert", "tensorflow"] = "auto"
    model_public_key: str = ""
    model_cache: Path = Path("var/models")
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"
    training_folder: Path = Path("var/training")
    checkpoint_s: float = Field(default=60, ge=0)
    training_lease_s: float = Field(default=120, gt=0)
    learn_s: float = Field(default=15, gt=0)
    learn_dataset: str = ""
    learn_after: int = Field(default=0, ge=0)
    learn_every_s: float = Field(default=0, ge=0)
    learn_on_drift: bool = False
    learn_recipe: Annotated[dict[str, Any], NoDecode, BeforeValidator(_parsed)] = {}
    rollout_s: float = Field(default=5, gt=0)
    rollout_policy: Annotated[dict[str, Any], NoDecode, BeforeValidator(_parsed)] = {}
    rollout_candidates: bool = False
    otel_exporter_otlp_endpoint: str = ""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    metrics_bind: str = "127.0.0.1"

    @model_validator(mode="after")
    def _check_encryption(self) -> Self:
        tls.check_redis(self.redis_url, self.redis_ca)
        tls.check_s3(self.s3_url, self.s3_ca)
        tls.check_sql(self.sql_url.get_secret_value())
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFiles(settings_cls), dotenv_settings

    def replace(self, **changes: Any) -> Self:
        return self.model_copy(update=changes)
