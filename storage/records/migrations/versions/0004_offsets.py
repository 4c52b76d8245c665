"""starts of an attempt's stages"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("offsets_ms", sa.JSON(), server_default="{}", nullable=False))
