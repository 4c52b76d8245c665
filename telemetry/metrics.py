"""What one process counts, for Prometheus. Label values come from fixed sets: never a tenant, a job or a file name.

These counters end with their process. Jobs are counted in Redis instead (storage/queue/counters.py).
"""

from prometheus_client import Counter, Gauge, Histogram

# Stages are measured in whole milliseconds. Bounds between two of those put each value on its side.
STAGE_BOUNDS = (0.0015, 0.0025, 0.0055, 0.0105, 0.0255, 0.0505, 0.1005, 0.2505, 0.5005, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUESTS = Counter("segue_requests", "Responses of the web server", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "segue_request_seconds",
    "Seconds until a response begins; without requests that asked to wait",
    ["method", "route"],
    buckets=REQUEST_BOUNDS,
)
REFUSALS = Counter("segue_refusals", "Requests refused at admission, by problem code", ["reason"])

IMAGES = Counter("segue_images", "Images that passed the engine", ["model"])
MEGAPIXELS = Counter("segue_megapixels", "Megapixels of the photos that passed the engine")
MICRO_BATCH = Histogram("segue_micro_batch_images", "Images of a claim", buckets=(1, 2, 4, 8, 16, 32, 64))
STAGE_SECONDS = Histogram("segue_stage_seconds", "Seconds of a job's stage", ["stage"], buckets=STAGE_BOUNDS)
ENGINE_SECONDS = Counter("segue_engine_busy_seconds", "Seconds in which the engine computed")

TASKS = Counter("segue_tasks", "Runs of the housekeeper's tasks", ["task", "result"])

ROLLOUT_SHARE = Gauge("segue_rollout_share", "Share of stable's jobs that the canary gets; 0 without a rollout")
ROLLOUT_EVIDENCE = Gauge(
    "segue_rollout_evidence", "Evidence (e-value) that the canary is worse than allowed", ["check"]
)
ROLLED_BACK = Gauge(
    "segue_rollout_rolled_back_timestamp_seconds", "When the last rollout was rolled back; 0 if it was not"
)

PART_ERRORS = Counter("segue_part_errors", "Calls that Redis, the object store or the SQL database failed", ["part"])
for _part in ("redis", "object_store", "records"):
    PART_ERRORS.labels(_part)
REDIS_ERRORS, STORE_ERRORS, RECORDS_ERRORS = (PART_ERRORS.labels(part) for part in ("redis", "object_store", "records"))
