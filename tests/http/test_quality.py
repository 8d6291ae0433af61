"""The record of a model's quality: what /v1/models and /metrics show, and the gate at the start."""

import json

import pytest

from wire import fetch


def model(daemon):
    return json.loads(fetch(daemon.port, "/v1/models").body)["data"][0]


def test_without_a_record(start):
    daemon = start()
    assert model(daemon)["quality"] is None
    assert b"octet_model_quality" not in fetch(daemon.port, "/metrics").body


def test_a_record_is_shown(start):
    daemon = start(FAKE_KLD=3000)
    quality = model(daemon)["quality"]
    assert quality["kld_mean"] == 0.003 and quality["same_top"] == 0.9375 and quality["ppl_ratio"] == 1.015625
    assert quality["precision"] == quality["kv"] == "int8"
    page = fetch(daemon.port, "/metrics").body.decode()
    for line in ["kld_mean 0.003", "same_top 0.9375", "ppl_ratio 1.015625"]:
        assert f"\noctet_model_quality_{line}\n" in page


def test_a_record_that_is_good_enough(start):
    assert start(FAKE_KLD=3000, require_kld=0.003, require_same_top=0.93, require_ppl_ratio=1.02).port
    assert start(FAKE_KLD=3000, OCTET_REQUIRE_KLD="0.004").port


def test_nobody_asks_for_the_digest(start):
    assert start(FAKE_KLD=3000, FAKE_CHANGED=1).port


def refused(start, **settings):
    """It ends with status 1 and one sentence, which is returned."""
    daemon = start(wait=None, **settings)
    assert daemon.wait() == 1
    assert not daemon.log("ready") and daemon.stdout() == ""
    said = [line for line in daemon.stderr().splitlines() if not line.startswith("{")]
    assert len(said) == 1 and said[0].startswith("octetd: ") and "fake.gguf" in said[0], said
    assert "octet eval" in said[0] and "--record" in said[0]
    return said[0]


@pytest.mark.parametrize("settings, words", [
    (dict(require_kld=0.002), ["--require-kld 0.002", "KL divergence", "0.003"]),
    (dict(require_same_top=0.95), ["--require-same-top 0.95", "0.9375"]),
    (dict(require_kld=0.003, require_ppl_ratio=1.01), ["--require-ppl-ratio 1.01", "1.01562"]),
    (dict(require_kld=1, kv="f16"), ["kv int8", "f16 would run", "--kv f16 --record"]),
    (dict(require_kld=1, FAKE_CHANGED=1), ["changed after"]),
    (dict(OCTET_REQUIRE_KLD="0.002"), ["--require-kld 0.002"]),
])
def test_a_record_that_is_not(start, settings, words):
    said = refused(start, FAKE_KLD=3000, **settings)
    for word in words:
        assert word in said, said


def test_no_record(start):
    said = refused(start, require_same_top=0.5)
    assert "--require-same-top 0.5" in said and "no record" in said
