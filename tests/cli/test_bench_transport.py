"""The transport benchmark: keys and table with a small transfer between real processes."""

from __future__ import annotations

import json

import pytest

from fednode.cli.bench_transport import KINDS, _End
from fednode.cli.main import run
from fednode.errors import Unavailable


@pytest.mark.slow
def test_a_small_transfer_measures_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "transport", "--size", "2", "--repeats", "1", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {
        "mb_per_s",
        "cpu_s_per_gb",
        "stock_mb_per_s",
        "stock_cpu_s_per_gb",
        "raw_tcp_mb_per_s",
        "raw_tcp_cpu_s_per_gb",
        "ratio_to_stock",
        "size_bytes",
        "repeats",
    }
    assert result["size_bytes"] == 2 * 1024 * 1024
    assert all(value > 0 for value in result.values())


def test_the_table_names_all_three(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {f"{key}{what}": 2.5 for key in ("", "stock_", "raw_tcp_") for what in ("mb_per_s", "cpu_s_per_gb")}
    monkeypatch.setattr("fednode.cli.bench_transport.measure", lambda *what: {**figures, "ratio_to_stock": 1.7})
    assert run(["bench", "transport", "--size", "3"]) == 0
    out = capsys.readouterr().out
    for text in ("this network", "py-libp2p as shipped", "raw TCP", "1.7 times", "3 MiB, medians of 5"):
        assert text in out


@pytest.mark.slow
def test_a_process_that_ends_early_is_named() -> None:
    end = _End(KINDS[0], "no such role", 1)
    with pytest.raises(Unavailable, match="raw no such role"):
        end.hear()
    end.end()
