"""The benchmark: its arithmetic and its table; the measurements themselves on a small federation."""

from __future__ import annotations

import json
import os

import pytest
import trio

from fednode.bench import replay as bench_replay
from fednode.bench.chain import TX_BYTES, memo_text, transaction_bytes
from fednode.bench.command import CONSENSUS_LINES, LINES, _print, _print_columns
from fednode.bench.relay import Relay
from fednode.bench.round import phase_seconds
from fednode.cli.main import run
from fednode.demo.federation import free_ports, percentile

ONE_PROCESSOR = 100.0


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(number) for number in range(1, 201)]
    assert percentile(values, 95) == 190.0
    assert percentile([7.0], 95) == 7.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


def test_phases_are_told_by_their_medians():
    def report(keys, ack):
        return {"phases": [{"phase": "keys", "seconds": keys}, {"phase": "ack", "seconds": ack}]}

    assert phase_seconds([report(0.1, 0.2), report(0.3, 0.2), report(0.2, 0.5)]) == {"keys": 0.2, "ack": 0.2}


def test_people_get_a_table_of_everything(capsys):
    result = {key: 1.5 for key, _, _ in LINES}
    _print(result | {"phase_seconds_p50": {"keys": 0.025}, "members": 4, "cpu_count": 2, "rounds": 20})
    out = capsys.readouterr().out
    assert all(text in out for _, _, text in LINES)
    assert "keys 0.025" in out
    assert "4 daemons on 2 processors, 20 rounds" in out


def test_too_few_members_are_refused(capsys):
    assert run(["bench", "round", "--members", "3"]) == 2
    assert "--members" in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_benchmark_measures_everything_and_leaves_nothing_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["bench", "round", "--rounds", "2", "--samples", "5", "--idle-seconds", "1", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert {key for key, _, _ in LINES} <= set(result)
    assert (result["members"], result["rounds"], result["cpu_count"]) == (4, 2, os.cpu_count())
    assert 0 < result["secure_sum_seconds_p50"] < result["secure_round_seconds_p50"]
    assert 0 < result["submit_to_final_ms_p50"] <= result["submit_to_final_ms_p95"]
    assert 20 < result["idle_rss_mb"] <= result["round_rss_mb"] + 20
    assert result["idle_cpu_percent"] < ONE_PROCESSOR
    assert list(tmp_path.iterdir()) == []
    assert "rounds: 2 of 2" in err


@pytest.mark.parametrize("loss", ["0", "0.3"])
def test_a_secure_sum_in_one_process_is_exact_whatever_is_lost(capsys, loss):
    args = ["bench", "secure-sum", "--members", "4", "--params", "5000", "--loss", loss, "--format", "json"]
    assert run(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["max_abs_error"] < 1e-5
    assert result["bytes_sent_per_member"] > result["plain_bytes_sent_per_member"] == 2 * 3 * 5000
    assert 0 < result["feldman_s"] < result["cpu_s_per_member"]
    lost_again = result["bytes_sent_per_member"] - 1000 * result["constant_kb"] > 1.01 * 2 * 3 * 5000
    assert lost_again == (loss != "0")


def test_the_load_is_of_transactions_of_256_bytes():
    assert transaction_bytes() == TX_BYTES
    assert len({len(memo_text(f"load {number}")) for number in range(1000)}) == 1


def test_a_chain_that_was_made_holds_on_every_level(tmp_path):
    for level in range(5):
        folder = tmp_path / str(level)
        folder.mkdir()
        result = bench_replay.measure(4, 20, 0, level, folder, lambda text: None)
        assert (result["blocks"], result["level"]) == (20, level)
        assert result["blocks_per_s"] > 0


def test_a_large_state_is_in_the_store(tmp_path):
    result = bench_replay.measure(4, 5, 300, 2, tmp_path, lambda text: None)
    assert result["keys"] == 300
    genesis, _ = bench_replay._found(4)
    assert genesis.member_set.quorum == 3


async def test_cables_delay_both_ways_and_end_with_either_side():
    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    inner = listeners[0].socket.getsockname()[1]
    (outer,) = free_ports(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        with Relay({outer: inner}, 20):
            async with await trio.open_tcp_stream("127.0.0.1", outer) as stream:
                begin = trio.current_time()
                await stream.send_all(b"there and back")
                assert await stream.receive_some() == b"there and back"
                assert trio.current_time() - begin >= 0.04
        nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_a_small_federation_is_measured_under_load_and_without_its_leader(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sizes = ["--seconds", "2", "--samples", "5", "--kills", "1", "--keys", "50"]
    assert run(["bench", "consensus", *sizes, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    wanted = ("members", "tx_bytes", "tx_per_s", "latency_ms_p50", "latency_ms_p99", "cpu_ms_per_tx", "failover_s")
    assert all(result[key] > 0 for key in (*wanted, "blocks_per_s"))
    assert (result["members"], result["tx_bytes"], result["keys"]) == (4, TX_BYTES, 50)
    assert list(tmp_path.iterdir()) == []


def test_several_sizes_stand_side_by_side(capsys):
    results = [{key: 1.5 for key, _, _ in CONSENSUS_LINES} | {"members": number} for number in (4, 16)]
    _print_columns(CONSENSUS_LINES, results)
    out = capsys.readouterr().out
    assert "16" in out and all(text in out for _, _, text in CONSENSUS_LINES)


def test_replay_prints_what_it_measured(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["bench", "replay", "--blocks", "10"]) == 0
    assert "blocks checked" in capsys.readouterr().out
    assert run(["bench", "replay", "--blocks", "10", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["level"] == 2
    assert list(tmp_path.iterdir()) == []
