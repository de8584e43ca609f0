"""The control socket: what is asked comes back, errors keep their class, nobody can hang or end the daemon."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

import pytest
import trio

from fednode.desk import control
from fednode.desk.calls import EVERYBODY, Arguments, Call, Emit, Handlers, Offer, once
from fednode.desk.control import serve_control
from fednode.desk.control_client import NotRunning, call_daemon, pack_frame, socket_address, stream_daemon
from fednode.documents import Json
from fednode.errors import FednodeError, Refused, Rejected, StorageError, Unavailable, UsageError
from fednode.home.files import Home, HomeLock
from fednode.ledger.members.bodies import Role


async def _echo(args: Arguments) -> Json:
    return {"text": args.text("text", "nothing"), "number": args.optional_number("number")}


async def _damaged(args: Arguments) -> Json:
    raise StorageError("the store is damaged; resync")


async def _rejected(args: Arguments) -> Json:
    raise Rejected("nonce too low")


async def _count(args: Arguments, emit: Emit) -> Json:
    for number in range(args.number("to")):
        await emit(number)
    return "done"


def _handlers(**calls: Call) -> Handlers:
    return Handlers({name: once(call, EVERYBODY) for name, call in calls.items()})


HANDLERS = Handlers({
    **_handlers(echo=_echo, damaged=_damaged, rejected=_rejected).offers, "count": Offer(_count, EVERYBODY),
    "charts": once(_echo, frozenset({Role.CLINICIAN})),
})


@asynccontextmanager
async def _daemon(root: Path, handlers: Handlers = HANDLERS) -> AsyncIterator[Home]:
    home = Home(root)
    home.create()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, home, handlers))
            yield home
            nursery.cancel_scope.cancel()


def _ask(home: Home, name: str, **args: Json) -> Awaitable[Json]:
    return trio.to_thread.run_sync(partial(call_daemon, home, name, args, 5.0))


async def test_calls_streams_and_mode(tmp_path: Path) -> None:
    async with _daemon(tmp_path) as home:
        assert stat.S_IMODE(home.socket.stat().st_mode) == 0o600
        assert await _ask(home, "echo", text="gr\u00fc\u00df", number=7) == {"text": "gr\u00fc\u00df", "number": 7}
        said = await trio.to_thread.run_sync(lambda: list(stream_daemon(home, "count", {"to": 3}, 5.0)))
        assert said == [0, 1, 2, "done"]
    assert not Home(tmp_path).socket.exists()


@pytest.mark.parametrize(
    ("call", "args", "kind", "says"),
    [
        ("damaged", {}, StorageError, "the store is damaged; resync"),
        ("rejected", {}, Refused, "nonce too low"),
        ("nothing", {}, UsageError, "knows no call 'nothing'"),
        ("echo", {"text": 3}, UsageError, "argument 'text' must be a text"),
        ("echo", {"number": True}, UsageError, "argument 'number' must be a number"),
    ],
)
async def test_errors_arrive_in_their_class(
    tmp_path: Path, call: str, args: dict[str, Json], kind: type[FednodeError], says: str
) -> None:
    async with _daemon(tmp_path) as home:
        with pytest.raises(kind, match=says) as caught:
            await _ask(home, call, **args)
        assert caught.value.exit_code == kind.exit_code


async def test_a_deep_home_is_no_problem(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    async with _daemon(deep) as home:
        assert len(str(home.socket)) > 200
        assert await _ask(home, "echo") == {"text": "nothing", "number": None}


async def test_a_stale_socket_is_replaced_and_a_missing_daemon_is_one_sentence(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with pytest.raises(NotRunning, match=r"no daemon runs on the home .*; start it with"):
        call_daemon(home, "echo")
    with socket.socket(socket.AF_UNIX) as stale, socket_address(home.socket) as address:
        stale.bind(address)
    with pytest.raises(NotRunning, match="no daemon runs"):
        call_daemon(home, "echo")
    lock = HomeLock.acquire(home)
    with pytest.raises(NotRunning, match=rf"process {os.getpid()}\) is just starting or stopping"):
        call_daemon(home, "echo")
    lock.release()
    async with _daemon(tmp_path) as home:
        await _ask(home, "echo")


async def test_garbage_and_half_requests_hurt_nobody_else(tmp_path: Path) -> None:
    def send(home: Home, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as caller, socket_address(home.socket) as address:
            caller.connect(address)
            caller.sendall(data)
            caller.shutdown(socket.SHUT_WR)
            return caller.recv(4096)

    async with _daemon(tmp_path) as home:
        run = trio.to_thread.run_sync
        assert b"a request has 1 to" in await run(send, home, b"\xff" * 100)
        assert b"another language" in await run(send, home, b"\0\0\0\x04junk")
        assert await run(send, home, b"\0\0\0\x09half") == b""
        assert b"control format 1, the command line 9" in await run(send, home, pack_frame({"format": 9, "call": "x"}))
        assert await _ask(home, "echo") == {"text": "nothing", "number": None}


async def test_a_caller_that_hangs_up_cancels_its_handler(tmp_path: Path) -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def forever(args: Arguments) -> Json:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        return None

    async with _daemon(tmp_path, _handlers(forever=forever)) as home:
        with socket_address(home.socket) as address:
            caller = await trio.open_unix_socket(address)
        await caller.send_all(pack_frame({"format": 1, "call": "forever", "args": {}}))
        await started.wait()
        await caller.aclose()
        await cancelled.wait()


async def test_a_caller_that_hangs_up_while_it_is_told_things_ends_nothing(tmp_path: Path) -> None:
    async def chatter(args: Arguments, emit: Emit) -> Json:
        while True:
            await emit("x" * 65536)

    async with _daemon(tmp_path, Handlers({**HANDLERS.offers, "chatter": Offer(chatter, EVERYBODY)})) as home:
        for _ in range(20):  # whether writing or reading notices first is a matter of chance
            with socket_address(home.socket) as address:
                caller = await trio.open_unix_socket(address)
            await caller.send_all(pack_frame({"format": 1, "call": "chatter", "args": {}}))
            await caller.receive_some(100)
            await caller.aclose()
        assert await _ask(home, "echo") == {"text": "nothing", "number": None}


async def test_a_silent_daemon_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    async def forever(args: Arguments) -> Json:
        await trio.sleep_forever()
        return None

    async with _daemon(tmp_path, _handlers(forever=forever)) as home:
        with pytest.raises(Unavailable, match=r"did not answer within 0.05 s; it may be suspended"):
            await trio.to_thread.run_sync(partial(call_daemon, home, "forever", None, 0.05))


async def test_other_accounts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control.struct, "unpack", lambda form, data: (1, os.geteuid() + 1, 1))
    async with _daemon(tmp_path) as home:
        with pytest.raises(Refused, match="may not control this daemon"):
            await _ask(home, "echo")


async def test_a_role_that_lacks_a_call_is_told_which_roles_have_it(tmp_path: Path) -> None:
    async def nobody(value: Json) -> None:
        raise AssertionError("nothing is said before the answer")

    async with _daemon(tmp_path) as home:
        with pytest.raises(Refused, match="the role hospital may not ask for 'charts'; these may: clinician"):
            await _ask(home, "charts")
        allowed = Arguments({"text": "a chart"})
        assert await HANDLERS.answer("charts", Role.CLINICIAN, allowed, nobody) == {"text": "a chart", "number": None}
        with pytest.raises(Refused, match="the role auditor may not"):
            await HANDLERS.answer("charts", Role.AUDITOR, allowed, nobody)


HOSTILE = [
    b'{"format":1,"call":"echo","args":{"number":' + b"9" * 5000 + b"}}",
    b'{"format":' + b"1" * 5000 + b',"call":"echo","args":{}}',
    b'{"format":1,"call":"\\ud800","args":{}}',
    b'{"format":"\\udfff","call":"echo","args":{}}',
    b'{"format":1,"call":["echo"],"args":{}}',
    b'{"format":1,"call":"echo","args":{"text":"\\ud800"}}',
    b'{"format":1,"call":"echo","args":{"number":1e400}}',
    b'{"format":1,"call":"echo","args":{"number":NaN}}',
    b'{"format":1,"call":"echo","args":[]}',
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b"\xff\xfe\x00",
    b"null",
    b'"text"',
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_no_request_ends_the_daemon(tmp_path: Path, body: bytes) -> None:
    """Each gets an answer or a hang-up, and the next caller is served."""
    def send(home: Home) -> bytes:
        with socket.socket(socket.AF_UNIX) as caller, socket_address(home.socket) as address:
            caller.settimeout(5)
            caller.connect(address)
            caller.sendall(len(body).to_bytes(4, "big") + body)
            return caller.recv(1 << 16)

    async with _daemon(tmp_path) as home:
        answer = await trio.to_thread.run_sync(send, home)
        assert b'"error"' in answer, answer
        assert await _ask(home, "echo") == {"text": "nothing", "number": None}


@pytest.mark.parametrize("does_act", [False, True])
async def test_a_value_that_cannot_be_shown_is_told_and_a_fault_in_what_acts_ends_the_daemon(
    tmp_path: Path, does_act: bool
) -> None:
    async def broken(args: Arguments) -> Json:
        raise OverflowError("secret")

    handlers = Handlers({**HANDLERS.offers, "broken": once(broken, EVERYBODY, acts=does_act)})
    with pytest.raises(BaseExceptionGroup) if does_act else nullcontext():
        async with _daemon(tmp_path, handlers) as home:
            with pytest.raises(Refused, match="cannot handle .OverflowError") as caught:
                await _ask(home, "broken")
            assert "secret" not in str(caught.value)
            assert await _ask(home, "echo", text="on", number=1) == {"text": "on", "number": 1}
