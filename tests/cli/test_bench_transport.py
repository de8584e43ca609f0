"""The transport benchmark: keys and table with a small transfer between real processes."""

from __future__ import annotations

import json

import pytest

from fednode.bench.transport import KINDS, _End
from fednode.cli.main import run
from fednode.errors import Unavailable

UNITS = ("mb_per_s", "cpu_s_per_gb")


@pytest.mark.slow
def test_a_small_transfer_measures_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "transport", "--size", "2", "--repeats", "1", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    kinds = ("", "stock_", "raw_tcp_")
    figures = {f"{kind}{turn}{what}" for kind in kinds for turn in ("", "first_") for what in UNITS}
    assert set(result) == figures | {"ratio_to_stock", "size_bytes", "repeats"}
    assert result["size_bytes"] == 2 * 1024 * 1024
    assert all(value > 0 for value in result.values())


def test_the_table_names_all_three(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"": 2.5, "stock_": 7.25, "raw_tcp_": 0.125}
    figures = {
        f"{kind}{turn}{what}": value for kind, value in kinds.items() for turn in ("", "first_") for what in UNITS
    }
    monkeypatch.setattr("fednode.bench.transport.measure", lambda *what: {**figures, "ratio_to_stock": 1.7})
    assert run(["bench", "transport", "--size", "3"]) == 0
    out = capsys.readouterr().out
    for text in ("this network", "py-libp2p as shipped", "raw TCP", "7.25", "0.125", "1.7 times", "medians of 5"):
        assert text in out


@pytest.mark.slow
def test_a_process_that_ends_early_is_named() -> None:
    end = _End(KINDS[0], "no such role", 1)
    with pytest.raises(Unavailable, match="raw no such role"):
        end.hear()
    end.end()
