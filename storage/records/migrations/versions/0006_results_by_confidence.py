"""an index by which a backfill reads the results in the order of their confidence"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL statement_timeout = 0")  # millions of rows take longer than a request may
    op.create_index("ix_results_confidence_job_id", "results", ["confidence", "job_id"])
