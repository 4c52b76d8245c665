"""starts of an attempt's stages, and the request that created a job"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("offsets_ms", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("jobs", sa.Column("request_id", sa.String(64), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("traceparent", sa.String(55), server_default="", nullable=False))
