from __future__ import annotations

import threading

from mm_client_api.request import CorrelationIds, InferenceRequest


def test_correlation_ids_are_unique_among_threads_and_clients() -> None:
    clients = [CorrelationIds(), CorrelationIds()]
    request = InferenceRequest("m", {}, [])
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda ids=ids: found.extend([ids.fill(request) for _ in range(200)]))
        for ids in clients * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1200
    assert clients[0].fill(InferenceRequest("m", {}, [], correlation_id="mine")) == "mine"
