"""Every task and thread of the daemon is on this list: one that meets what others wrote is fenced, and says where.

A new one fails here until somebody has thought about it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from fednode.desk import audit_calls, handlers, member_calls

PACKAGE = Path(handlers.__file__).parents[1]

TASKS = {
    "node/reactor.py": {
        "self.timers.run": "own timers; what they lead to goes through Studies.tell",
        "self._warm_up": "starts the worker",
        "self._part": "waits",
        "self._work": "WorkerTrainer judges the answer",
        "finish": "judges the job",
        "run": "awaits `finish`",
    },
    "daemon/daemon.py": {
        "_heed_signals": "own", "upkeep.watch_tables": "own files", "network.run": "the network's tasks are below",
        "serve_control": "answers are fenced unless they act", "_stop_when_changed": "own",
    },
    "desk/handlers.py": {
        "models.load": "ModelStore judges the file", "models.export": "copies a file that was judged",
    },
    "node/trainer.py": {"partial(judge, 'an answer', partial(decode_answer, bytes(record)))": "judged"},
    "desk/control.py": {"_cancel_when_gone": "reads one byte and forgets it"},
    "desk/audit_calls.py": {"work": "an answer: fenced by the control socket"},
    "p2p/link.py": {"self._write_blobs": "own bytes", "self._write_frames": "own bytes"},
    "p2p/mesh.py": {
        "self._host.serve": "listens; each socket ends at the border of libp2p", "self._dial_when_due": "own plans",
        "self._watch_silence": "own clock", "self._publish": "own bytes", "self._run_link": "Link.run",
        "self._serve_stream": "Link.serve is fenced", "self._dial": "the host's dial is fenced",
    },
    "p2p/libp2p/yardstick.py": {"network.run": "a benchmark"},
    "p2p/blobs.py": {"self._drained.result": "waits"},
}

CATCH_ALL = {"fence.py", "p2p/libp2p/gossip.py", "p2p/libp2p/network.py", "p2p/libp2p/stream.py"}
"""The fence, and the border of a library that raises whatever it likes."""


def calls(path: Path) -> Iterator[str]:
    """The functions that a file starts as tasks or in threads."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            owner = ast.unparse(node.func.value)
            is_start = node.func.attr == "start" and "nursery" in owner
            if node.func.attr in ("start_soon", "run_sync") or is_start:
                yield ast.unparse(node.args[0])


def test_every_task_is_on_the_list() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for folder in ("daemon", "desk", "node", "core", "home", "p2p")
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if (names := set(calls(path)))
    }
    assert found == {file: set(names) for file, names in TASKS.items()}


def test_only_the_fence_and_the_border_of_the_library_catch_everything() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception"
    }
    assert found == CATCH_ALL


def offers(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """The name of each call that is offered, and whether it is said to change something."""
    for node in ast.walk(tree):
        is_offer = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("once", "Offer")
        if is_offer and isinstance(node.args[0], ast.Attribute):
            yield node.args[0].attr, any(keyword.arg == "acts" for keyword in node.keywords)


def test_what_changes_something_is_known_as_such() -> None:
    """A call that signs, writes or ends the daemon and is not said to act would go on after a bug half way."""
    words = ("final(", "submit", "self._stop(", "models.export", "rotate")
    acts = 0
    for module in (handlers, member_calls, audit_calls):
        tree = ast.parse(inspect.getsource(module))
        offered = dict(offers(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name in offered:
                body = ast.unparse(ast.Module(node.body, []))
                assert offered[node.name] or not any(word in body for word in words), node.name
                acts += offered[node.name]
    assert acts > 10  # the offers are found
