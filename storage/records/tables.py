"""The SQL tables. Times are ms UTC; 0 for what has not happened yet.

A change here needs a migration (storage/records/migrations/) that only adds: processes of the
previous version still write while it runs. List a table here as `RETIRED` for one version before dropping it.
"""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

# Explicit names for constraints, so that migrations can refer to them on every database.
NAMES = {
    "pk": "pk_%(table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
}
# Tables that this version neither reads nor writes. They stay in the database for one version, because
# the previous version's `segue backup` reads them; the next version drops them.
RETIRED = ("webhook_deliveries",)
ID, TENANT, MODEL = String(40), String(64), String(129)

metadata = MetaData(naming_convention=NAMES)


def _ms(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _text(name: str, kind: String | Text | None = None, default: str = "") -> Column[str]:
    return Column(name, kind if kind is not None else Text(), nullable=False, server_default=default)


jobs = Table(
    "jobs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", TENANT, nullable=False),
    Column("status", String(16), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lane", String(16), nullable=False),
    Column("model", MODEL, nullable=False),  # the alias or version that the job named
    _ms("created_ms"),
    _ms("deadline_ms"),
    _ms("started_ms"),
    _ms("finished_ms"),
    _ms("retained_until_ms"),
    _ms("erased_ms"),
    _text("batch_id", ID),
    _text("custom_id"),
    _text("filename"),
    _text("sha256", String(64)),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("format", String(16), nullable=False),
    _text("tags"),
    _text("request_id", String(64)),  # of the request that created the job, like `traceparent`
    _text("traceparent", String(55)),
    Index(None, "tenant", "created_ms", "id"),
    Index(None, "tenant", "status", "created_ms", "id"),
    Index(None, "batch_id", "created_ms", "id"),
    Index(None, "retained_until_ms"),
)

# One row per attempt that was requested: the submission and each retry. A lost lease adds no row.
attempts = Table(
    "attempts",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    _text("micro_batch_id", ID),
    _text("worker"),
    _text("model", MODEL),  # the version that was used
    _ms("started_ms"),
    _ms("finished_ms"),
    Column("lost", JSON, nullable=False),  # expired leases: [{"worker", "started_ms", "lost_ms"}]
    Column("timings_ms", JSON, nullable=False),
    Column("offsets_ms", JSON, nullable=False, server_default="{}"),  # stage → its start, in ms after the claim
    Column("error", JSON, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    _text("key"),
    _text("sha256", String(64)),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("classes", JSON, nullable=False),
    Index(None, "confidence", "job_id"),
)

micro_batches = Table(
    "micro_batches",
    metadata,
    Column("id", ID, primary_key=True),
    _text("worker"),
    _text("model", MODEL),
    Column("size", Integer, nullable=False),
    Column("infer_ms", Integer, nullable=False),
    _ms("started_ms"),
    _ms("finished_ms"),
    Index(None, "finished_ms"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", TENANT, nullable=False),
    _text("name"),
    Column("lane", String(16), nullable=False),
    Column("model", MODEL, nullable=False),
    Column("deadline_s", Integer, nullable=False),
    _ms("created_ms"),
    _text("closed", String(16)),
    _ms("erased_ms"),
    Index(None, "tenant", "created_ms", "id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", ID, primary_key=True),
    Column("job_id", ID, nullable=False),
    Column("tenant", TENANT, nullable=False),
    Column("verdict", String(16), nullable=False),
    _text("note"),
    _text("model", MODEL),
    _text("mask_key"),
    Column("consent_training", Boolean, nullable=False),
    _text("consent_wording"),
    _ms("created_ms"),
    _ms("erased_ms"),
    Index(None, "job_id"),
    Index(None, "tenant", "created_ms", "id"),
)

# Jobs whose senders consented to training. A row is removed with the review.
reviews = Table(
    "reviews",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("tenant", TENANT, nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Float, nullable=False),
    Column("scores", JSON, nullable=False),  # null: not scored yet
    _text("model", MODEL),  # made the mask
    _text("verdict", String(16)),
    _ms("consent_ms"),
    _text("decided_by"),
    _ms("decided_ms"),
    _text("note"),
    Index(None, "state", "priority", "job_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),  # the key's public part
    Column("digest", String(64), nullable=False),  # SHA-256 of the whole key
    Column("tenant", TENANT, nullable=False),
    Column("scopes", JSON, nullable=False),
    _text("name"),
    _ms("created_ms"),
    _ms("revoked_ms"),
    _ms("expires_ms"),
    _ms("rotated_ms"),
    _text("old_digest", String(64)),  # of the key before the last rotation
    _ms("old_until_ms"),
    _ms("last_used_ms"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of the cookie's token
    Column("tenant", TENANT, nullable=False),
    _text("key_id", String(16)),
    _ms("created_ms"),
    _ms("seen_ms"),
    _ms("expires_ms"),
    _ms("ended_ms"),
    _text("agent"),
    Index(None, "tenant"),
    Index(None, "key_id"),
    Index(None, "expires_ms"),
)

# Triggers refuse to change its rows, and to remove young ones.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", ID, primary_key=True),
    _ms("at_ms"),
    Column("count", Integer, nullable=False),
    Column("action", String(32), nullable=False),
    _text("actor", TENANT),
    _text("key_id", String(16)),
    _text("source", TENANT),
    _text("target"),
    _text("detail"),
    Index(None, "at_ms"),
    Index(None, "action", "at_ms"),
    Index(None, "actor", "at_ms"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("id", MODEL, primary_key=True),  # name/version
    _ms("published_ms"),
    _text("trained_on"),
    Column("card", JSON, nullable=False),
)

training_runs = Table(
    "training_runs",
    metadata,
    Column("id", ID, primary_key=True),
    _text("kind", String(16), "train"),
    Column("status", String(16), nullable=False),
    _text("version", MODEL),
    _text("dataset"),
    Column("parameters", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    _ms("started_ms"),
    _ms("finished_ms"),
)
