"""The simulated lists that change in place, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tap_sequence.simulator import DEMO_CREDENTIALS, Simulator

Simulate = Callable[..., Simulator]


def get(simulator: Simulator, path: str, **query: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(
            simulator.base_url + path, params=query, auth=DEMO_CREDENTIALS, timeout=10, allow_redirects=False
        )


def ids(response: requests.Response) -> list[str]:
    return [entry["id"] for entry in response.json()["items"]]


def test_pages_go_forward_and_back(simulate: Simulate) -> None:
    simulator = simulate()
    everything = [user["id"] for user in simulator.api.users.entries()]
    first = get(simulator, "/users", limit=5)
    second = get(simulator, "/users", limit=5, after=first.json()["pagination"]["after"])
    assert ids(first) + ids(second) == everything[:10]
    back = get(simulator, "/users", limit=5, before=second.json()["pagination"]["before"])
    assert ids(back) == ids(first)
    assert second.json()["pagination"]["totalResultSize"] == len(everything)


def test_changed_entry_keeps_its_place_and_a_cursor_to_a_removed_one_works(simulate: Simulate) -> None:
    simulator = simulate()
    users = simulator.api.users
    before = users.entries()
    cursor = get(simulator, "/users", limit=3).json()["pagination"]["after"]
    users.put({**before[3], "state": "DEACTIVATED"})
    users.remove(before[2]["id"])
    after = get(simulator, "/users", limit=2, after=cursor).json()["items"]
    assert after == [{**before[3], "state": "DEACTIVATED"}, before[4]]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"sortOrder": "ASC"}, {"after": "%%"}, {"before": "bm9uZQ=="}]
)
@pytest.mark.parametrize("path", ["/users", "/sequence-accounts"])
def test_request_that_the_documentation_does_not_allow_is_refused(
    simulate: Simulate, path: str, query: dict[str, Any]
) -> None:
    assert get(simulate(), path, **query).status_code == 400


def test_entry_has_no_path_of_its_own(simulate: Simulate) -> None:
    simulator = simulate()
    assert get(simulator, f"/users/{simulator.api.users.entries()[0]['id']}").status_code == 404
