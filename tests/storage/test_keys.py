"""Ids, and the keys of objects."""

from storage import keys, object_keys


def test_ids_sort_by_time_and_contain_the_hour_of_their_objects() -> None:
    ids = [keys.new_job_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert all(keys.is_job_id(job_id) for job_id in ids)
    assert keys.hour("job_01a203b4d5037207a59836e62a304243") == "2026112214"


def test_malformed_ids() -> None:
    good = keys.new_job_id()
    for text in (
        "",
        "job_",
        good[:-1],
        good + "0",
        good.upper(),
        "../" + good,
        good.replace("7", "8", 1)[:36] + "zzzz",
    ):
        assert not keys.is_job_id(text)


def test_a_results_key_ends_with_its_token() -> None:
    job_id = keys.new_job_id()
    assert object_keys.result("t", job_id, "tok", "png") == f"{object_keys.upload('t', job_id)}/tok.png"
