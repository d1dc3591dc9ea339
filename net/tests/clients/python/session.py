"""A session of the package etcd3 against the server on the port that the first argument names.

Each step checks what comes back; a failure raises.
"""

import sys
import threading

import etcd3

PATIENCE_SECONDS = 20


def put_and_get(client):
    client.put("python/a", "1")
    before = client.put("python/a", "2", prev_kv=True)
    assert before.prev_kv.value == b"1", before
    value, meta = client.get("python/a")
    assert (value, meta.key, meta.version) == (b"2", b"python/a", 2), (value, meta)
    assert meta.mod_revision == meta.create_revision + 1
    assert client.get("python/none") == (None, None)
    assert client.put_if_not_exists("python/new", "1")
    assert not client.put_if_not_exists("python/new", "2")
    assert client.replace("python/new", "1", "3")
    assert not client.replace("python/new", "1", "4")
    assert client.get("python/new")[0] == b"3"


def ranges(client):
    for number in range(50):
        client.put(f"python/r/{number:02}", str(99 - number))
    keys = [meta.key for _, meta in client.get_prefix("python/r/")]
    assert keys == [f"python/r/{number:02}".encode() for number in range(50)], keys
    sorted_by_value = client.get_prefix("python/r/", sort_order="ascend", sort_target="value")
    assert next(iter(sorted_by_value))[1].key == b"python/r/49"
    assert len(list(client.get_range("python/r/10", "python/r/20"))) == 10
    assert client.delete("python/r/00")
    assert not client.delete("python/r/00")
    assert client.delete_prefix("python/r/").deleted == 49


def transactions(client):
    client.put("python/t", "1")
    succeeded, answers = client.transaction(
        compare=[
            client.transactions.value("python/t") == "1",
            client.transactions.version("python/t") > 0,
        ],
        success=[
            client.transactions.put("python/t", "2"),
            client.transactions.get("python/t"),
        ],
        failure=[client.transactions.put("python/t", "wrong")],
    )
    assert succeeded
    assert answers[1][0][0] == b"2", answers
    succeeded, _ = client.transaction(
        compare=[client.transactions.create("python/t") == "0"],
        success=[client.transactions.delete("python/t")],
        failure=[],
    )
    assert not succeeded


def watch(client):
    seen = []
    enough = threading.Event()

    def gather(answer):
        for event in answer.events:
            seen.append((type(event).__name__, event.key, event.value))
        if len(seen) >= 3:
            enough.set()

    identifier = client.add_watch_prefix_callback("python/w/", gather)
    client.put("python/w/a", "1")
    client.put("python/w/b", "2")
    client.delete("python/w/a")
    assert enough.wait(PATIENCE_SECONDS), seen
    client.cancel_watch(identifier)
    assert seen == [
        ("PutEvent", b"python/w/a", b"1"),
        ("PutEvent", b"python/w/b", b"2"),
        ("DeleteEvent", b"python/w/a", b""),
    ], seen

    revision = client.get("python/w/b")[1].mod_revision
    events, cancel = client.watch("python/w/b", start_revision=revision)
    assert next(events).value == b"2"
    cancel()


def leases(client):
    lease = client.lease(600)
    client.put("python/l", "1", lease=lease)
    assert lease.granted_ttl == 600
    assert 590 <= lease.remaining_ttl <= 600
    assert list(lease.keys) == [b"python/l"]
    assert [answer.TTL for answer in lease.refresh()] == [600]
    lease.revoke()
    assert client.get("python/l") == (None, None)


def lock(client):
    """etcd3 builds its lock from transactions, a lease and a watch."""
    first = client.lock("python", ttl=60)
    second = client.lock("python", ttl=60)
    assert first.acquire(timeout=PATIENCE_SECONDS)
    assert first.is_acquired()
    assert not second.acquire(timeout=1)
    assert first.release()
    assert second.acquire(timeout=PATIENCE_SECONDS)
    assert second.release()


def compaction(client):
    client.put("python/c", "1")
    revision = client.put("python/c", "2").header.revision
    client.compact(revision, physical=True)
    events, cancel = client.watch("python/c", start_revision=revision - 1)
    try:
        next(events)
    except etcd3.exceptions.RevisionCompactedError as error:
        assert error.compacted_revision == revision, error.compacted_revision
    else:
        raise AssertionError("a watch of a compacted revision goes on")
    cancel()


def status(client):
    status = client.status()
    assert status.version == "3.7.3", status.version
    members = list(client.members)
    assert len(members) == 1
    assert members[0].id == status.leader.id
    assert client.hash() is not None


def main():
    client = etcd3.client(port=int(sys.argv[1]), timeout=PATIENCE_SECONDS)
    for step in (put_and_get, ranges, transactions, watch, leases, lock, compaction, status):
        step(client)
        print(step.__name__, flush=True)
    client.close()
    print("ok")


if __name__ == "__main__":
    main()
