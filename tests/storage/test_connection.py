"""The clients that a process keeps."""

from storage.connection import Storage, connect


def test_a_closed_storage_keeps_no_connection_and_can_be_used_again(own_store: Storage) -> None:
    made = connect(own_store.settings)
    number = made.jobs.client.client_id()
    with made.database.begin():
        pass
    pool = made.database.engine.pool
    made.close()
    assert str(number) not in {client["id"] for client in own_store.jobs.client.client_list()}
    assert pool.checkedin() == 0  # type: ignore[attr-defined]
    assert made.jobs.client.client_id() != number
    made.close()
