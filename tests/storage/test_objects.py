"""The object store's contract, on real S3 servers."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace

import misbehaving
import pictures
import pytest
import services
import urllib3
from pydantic import SecretStr
from specs import spec

from storage import keys, object_keys, s3
from storage.job import Outcome, Status
from storage.objects import OUTCOME_TEXT, RESULTS, UPLOADS, MinioObjects
from storage.problems import Problem, Unavailable
from storage.settings import Settings
from storage.transfers import MOST_BYTES


@pytest.fixture(scope="module", params=["SeaweedFS", "MinIO"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of each of the two S3 servers; every test runs on both."""
    folder, secret = tmp_path_factory.mktemp("objects"), secrets.token_hex(8)
    start = services.start_s3 if request.param == "SeaweedFS" else services.start_minio
    service = start(folder, secret)
    yield Settings(s3_url=f"http://127.0.0.1:{service.port}", s3_secret_key=secret, bucket_prefix="test-")
    service.stop()


@pytest.fixture(params=[False, True], ids=["offline", "online"])
def objects(server: Settings, request: pytest.FixtureRequest) -> MinioObjects:
    made = MinioObjects(server, online=request.param)
    services.wait_until(lambda: services.prepared(made), "the object store")
    return made


def test_the_spec_of_a_job_is_read_from_its_upload(objects: MinioObjects) -> None:
    made = spec(b"content", filename='größe  猫 "quoted".jpg', key_hash="k" * 32, fingerprint="f" * 32)
    objects.put_upload(made, b"content")
    assert objects.get_upload(made) == b"content"
    assert objects.spec(made.tenant, made.id) == made


def test_a_photo_is_copied_for_another_job(objects: MinioObjects) -> None:
    content = secrets.token_bytes(300_000)
    old, lost = spec(content, tags="a"), spec()
    objects.put_upload(old, content)
    rerun = replace(old, id=keys.rerun(old.id, "pets/3"), filename='größe  猫 "quoted".jpg')
    assert objects.copy_upload(old.tenant, old.id, rerun)
    assert not objects.copy_upload(lost.tenant, lost.id, replace(rerun, id=keys.rerun(lost.id, "pets/3")))
    assert objects.spec(rerun.tenant, rerun.id) == rerun
    assert objects.reruns(old.tenant, old.id) == [rerun.id]
    assert objects.reruns(lost.tenant, lost.id) == []
    objects.remove(UPLOADS, object_keys.upload(old.tenant, old.id))
    assert objects.get_upload(rerun) == content


@pytest.mark.parametrize("size", [0, MOST_BYTES, MOST_BYTES + 1])
def test_an_object_of_any_size_is_read_as_it_was_stored(objects: MinioObjects, size: int) -> None:
    content = secrets.token_bytes(size)
    objects.put(UPLOADS, "size", content, "application/octet-stream")
    assert objects.get(UPLOADS, "size") == content


def test_only_the_settings_configure_the_connection(objects: MinioObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_PROXY_URL", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, nowhere)
    for name in ("AWS_SKIP_SIGNATURE", "AWS_UNSIGNED_PAYLOAD", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "nonsense")
    objects.put(UPLOADS, "environment", b"x", "text/plain")
    assert objects.get(UPLOADS, "environment") == b"x"


def test_a_missing_bucket_is_an_outage(server: Settings) -> None:
    with pytest.raises(Unavailable):
        MinioObjects(server.replace(bucket_prefix="absent-")).get(UPLOADS, "k")


@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
def test_a_404_that_is_not_from_the_store_is_an_outage(online: bool) -> None:
    with misbehaving.server(lambda _: (404, {"Content-Type": "text/html"}, b"<h1>default backend</h1>")) as (url, _):
        objects = MinioObjects(Settings(s3_url=url, s3_secret_key="secret"), online)
        with pytest.raises(Unavailable):
            objects.get(UPLOADS, "k")
        with pytest.raises(Unavailable):
            objects.put(UPLOADS, "k", b"x", "text/plain")


@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
@pytest.mark.parametrize("fault", ["closed connection", "server error"])
def test_one_fault_of_the_store_is_no_outage(online: bool, fault: str) -> None:
    def answer(number: int) -> misbehaving.Answer:
        if number != 1:
            return 200, {"ETag": '"e"'}, b"content"
        if fault == "server error":
            return 503, {"Retry-After": "3600"}, b""
        raise ConnectionAbortedError

    with misbehaving.server(answer) as (url, seen):
        objects = MinioObjects(Settings(s3_url=url, s3_secret_key="secret"), online)
        assert objects.get(UPLOADS, "k") == b"content"
        assert objects.get(UPLOADS, "k") == b"content"
        assert len(seen) == 3


def test_a_timeout_is_not_repeated_while_a_client_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "TIMEOUT_ONLINE", urllib3.Timeout(0.5))
    asked = threading.Event()

    def answer(number: int) -> misbehaving.Answer:
        asked.wait(5)
        return 200, {}, b""

    with misbehaving.server(answer) as (url, seen):
        with pytest.raises(Unavailable):
            MinioObjects(Settings(s3_url=url, s3_secret_key="secret"), online=True).get(UPLOADS, "k")
        asked.set()
    assert len(seen) == 1


def test_the_longest_name_fits_into_the_metadata(objects: MinioObjects) -> None:
    origin = {"request_id": "r" * 64, "traceparent": "t" * 55}
    made = spec(b"x", filename="ü" * 127, key_hash="k" * 32, fingerprint="f" * 32, **origin)
    objects.put_upload(made, b"x")
    assert objects.spec(made.tenant, made.id) == made


def test_a_missing_object_is_none(objects: MinioObjects) -> None:
    absent = spec()
    assert objects.get_upload(absent) is None
    assert objects.spec(absent.tenant, absent.id) is None
    assert objects.outcome("no/such/key") is None
    assert objects.results(absent.tenant, absent.id) == []
    objects.remove(UPLOADS, "no/such/key")


def test_results_keep_their_outcome_and_are_listed_oldest_first(objects: MinioObjects) -> None:
    made = spec()
    many = [{"id": i, "name": f"class {i} größe", "pixels": i} for i in range(200)]  # far more than metadata could hold
    good = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "1"}, {"width": 4, "classes": many}, {"infer": 2})
    mask = pictures.mask_png({OUTCOME_TEXT: good.to_json()})
    bad = Outcome.of_problem(made.id, Problem("image_decode_failed", "The image is damaged."))
    first = objects.put_result(made, "token-b", good, mask)
    second = objects.put_result(made, "token-a", bad)
    assert {listed.key for listed in objects.results(made.tenant, made.id)} == {first, second}
    assert objects.outcome(first) == good.with_digest(mask)
    assert objects.outcome(second) == bad
    assert objects.get(RESULTS, first) == mask
    assert (first.endswith("token-b.png"), second.endswith("token-a.failed")) == (True, True)


def test_a_listing_of_more_than_one_page_is_complete(objects: MinioObjects) -> None:
    for number in range(1050):
        objects.put(UPLOADS, f"paged/{number:05}", b"", "text/plain")
    listed = [entry.key for entry in objects.listing(UPLOADS, "paged/")]
    assert listed == [f"paged/{number:05}" for number in range(1050)]


def test_making_the_buckets_again_is_harmless(objects: MinioObjects) -> None:
    objects.make_buckets()
    assert objects.ready()


@pytest.mark.parametrize("change", [{"s3_url": "http://127.0.0.1:9"}, {"s3_secret_key": SecretStr("wrong")}])
def test_a_store_that_refuses_us_is_unavailable(server: Settings, change: dict[str, object]) -> None:
    objects = MinioObjects(server.replace(**change))
    assert not objects.ready()
    for use in (
        lambda: objects.put(UPLOADS, "k", b"", "text/plain"),
        lambda: objects.get(UPLOADS, "k"),
        lambda: list(objects.listing(UPLOADS, "")),
        lambda: objects.remove(UPLOADS, "k"),
    ):
        with pytest.raises(Unavailable):
            use()
