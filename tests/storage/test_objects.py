"""The object store's contract, over a real S3 server."""

import pictures
import pytest
from pydantic import SecretStr
from specs import spec

from storage import Storage
from storage.job import Outcome, Status
from storage.objects import OUTCOME_TEXT, RESULTS, UPLOADS, MinioObjects
from storage.problems import Problem, Unavailable
from storage.settings import Settings


def test_an_upload_brings_its_spec_back(connection: Storage) -> None:
    made = spec(b"content", filename='größe 猫 "quoted".jpg', key_hash="k" * 32, fingerprint="f" * 32)
    connection.objects.put_upload(made, b"content")
    assert connection.objects.get_upload(made) == b"content"
    assert connection.objects.spec(made.tenant, made.id) == made


def test_the_longest_name_fits_into_the_metadata(connection: Storage) -> None:
    made = spec(b"x", filename="ü" * 127, key_hash="k" * 32, fingerprint="f" * 32)
    connection.objects.put_upload(made, b"x")
    assert connection.objects.spec(made.tenant, made.id) == made


def test_what_is_not_there_is_none(connection: Storage) -> None:
    absent = spec()
    assert connection.objects.get_upload(absent) is None
    assert connection.objects.spec(absent.tenant, absent.id) is None
    assert connection.objects.outcome("no/such/key") is None
    assert connection.objects.results(absent.tenant, absent.id) == []
    connection.objects.remove(UPLOADS, "no/such/key")


def test_results_keep_their_outcome_and_the_oldest_stands_first(connection: Storage) -> None:
    made = spec()
    many = [{"id": i, "name": f"class {i} größe", "pixels": i} for i in range(200)]  # far more than metadata could hold
    good = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "1"}, {"width": 4, "classes": many}, {"infer": 2})
    mask = pictures.mask_png({OUTCOME_TEXT: good.to_json()})
    bad = Outcome.of_problem(made.id, Problem("image_decode_failed", "The image is damaged."))
    first = connection.objects.put_result(made, "token-b", good, mask)
    second = connection.objects.put_result(made, "token-a", bad)
    assert {listed.key for listed in connection.objects.results(made.tenant, made.id)} == {first, second}
    assert connection.objects.outcome(first) == good.with_digest(mask)
    assert connection.objects.outcome(second) == bad
    assert connection.objects.get(RESULTS, first) == mask
    assert (first.endswith("token-b.png"), second.endswith("token-a.failed")) == (True, True)


def test_more_than_a_page_is_listed(connection: Storage) -> None:
    for number in range(1050):
        connection.objects.put(UPLOADS, f"paged/{number:05}", b"", "text/plain")
    listed = [entry.key for entry in connection.objects.listing(UPLOADS, "paged/")]
    assert listed == [f"paged/{number:05}" for number in range(1050)]


def test_making_the_buckets_again_is_harmless(connection: Storage) -> None:
    connection.objects.make_buckets()
    assert connection.objects.ready()


@pytest.mark.parametrize("change", [{"s3_url": "http://127.0.0.1:9"}, {"s3_secret_key": SecretStr("wrong")}])
def test_a_store_that_does_not_serve_us_is_unavailable(settings: Settings, change: dict[str, object]) -> None:
    objects = MinioObjects(settings.replace(**change))
    assert not objects.ready()
    for use in (
        lambda: objects.put(UPLOADS, "k", b"", "text/plain"),
        lambda: objects.get(UPLOADS, "k"),
        lambda: list(objects.listing(UPLOADS, "")),
        lambda: objects.remove(UPLOADS, "k"),
    ):
        with pytest.raises(Unavailable):
            use()
