"""Rows of a prompt beside sequences that decode: as many as their pace, or --itl-target-ms, leaves room for."""

import pytest

from wire import Client, ask, metrics, post, wait_for


@pytest.mark.parametrize("settings, fewest, most", [({}, 40, 200), ({"itl_target_ms": 10000}, 6, 25)])
def test_a_prompt_beside_a_stream(start, settings, fewest, most):
    """A row costs 2 ms, a step 5 ms: by its own pace the stream waits for the least chunk only."""
    server = start(FAKE_STEP_US=5000, FAKE_ROW_US=2000, prefix_cache=0, draft_max=0, **settings)
    with Client(server.port) as stream:
        stream.send(post({"prompt": "x", "max_tokens": 8000, "stream": True, "ignore_eos": True}))
        wait_for(lambda: metrics(server.port)["octet_generation_tokens_total"] > 5)
        before = metrics(server.port)["octet_engine_steps_total"]
        assert ask(server.port, {"prompt": [65] * 600, "max_tokens": 1}).status == 200
        steps = metrics(server.port)["octet_engine_steps_total"] - before
    assert fewest <= steps <= most


def test_alone_a_prompt_is_not_cut(start):
    server = start(FAKE_ROW_US=100, itl_target_ms=1)
    ask(server.port, {"prompt": [65] * 960, "max_tokens": 1})
    assert metrics(server.port)["octet_engine_steps_total"] == 10  # the fake's 96 rows each
