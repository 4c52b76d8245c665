"""The Python client: fetches the mask of one photo, then runs two photos as a batch.

    python examples/python_client.py cat.jpg dog.jpg        # writes mask.png and batch/ here

SEGUE_URL is the server's address; set SEGUE_KEY if the server requires a key.
"""

import os
import sys
from pathlib import Path

from segue_client import Client, ProblemError


def one_photo(client: Client, photo: Path) -> None:
    job = client.submit(photo)
    print(f"submitted: {job.id}")
    job = client.wait(job, timeout_s=120)
    if job.result is None:
        sys.exit(f"ended: {job.status}, {job.error}")
    Path("mask.png").write_bytes(client.mask(job))  # checked against the job's SHA-256
    for entry in job.result["classes"]:
        print(f"{entry['name']:>12} {entry['fraction']:6.1%}")


def two_as_a_batch(client: Client, photos: list[Path]) -> None:
    batch = client.open_batch("two photos")
    batch.append([(photo.name, photo.read_bytes()) for photo in photos])
    batch.close()
    Path("batch").mkdir(exist_ok=True)
    for item in batch:  # in the order in which they end
        print(f"{item.custom_id}: {item.status}")
        if item.result:
            Path("batch", f"{item.custom_id}.png").write_bytes(client.mask(item))


def main() -> None:
    photos = [Path(name) for name in sys.argv[1:3]]
    with Client(os.environ.get("SEGUE_URL", "http://127.0.0.1:8000"), key=os.environ.get("SEGUE_KEY", "")) as client:
        try:
            one_photo(client, photos[0])
            two_as_a_batch(client, photos)
        except ProblemError as refusal:
            sys.exit(str(refusal))


if __name__ == "__main__":
    main()
