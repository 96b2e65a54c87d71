"""A plan as independent tasks, and running one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlffdb.errors import InvalidStructureError
from mlffdb.sampling.items import Context, Item
from mlffdb.sampling.method import Method, Pool
from mlffdb.sampling.plan import Block, Plan
from mlffdb.sampling.relaxation import NotConvergedError
from mlffdb.sampling.seeds import derive_seed
from mlffdb.structures import Candidate, Rejection

if TYPE_CHECKING:
    from mlffdb.sampling.engines import EngineCache


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work that depends on nothing but the plan and itself."""

    #: Position in the plan, from 0.
    index: int
    block: str
    #: What the source builds its items from; small JSON.
    payload: dict[str, Any]
    #: Structures that come out if nothing is rejected.
    expected: int


@dataclass(frozen=True, slots=True)
class BlockRow:
    """What a block would make."""

    block: str
    domain: str
    source: str
    items: int
    methods: str
    expected: int
    engines: str
    #: What is known to be rejected or left out already.
    problems: tuple[str, ...]


def tasks(plan: Plan) -> Iterator[Task]:
    """Enumerate the tasks of *plan*; cheap, nothing three-dimensional is built."""
    index = 0
    for block in plan.blocks:
        for work in block.source.work():
            expected = work.items * _expected(block, work.parents)
            yield Task(index, block.name, work.payload, expected)
            index += 1


def run_task(plan: Plan, task: Task, *, engines: EngineCache) -> Iterator[Candidate | Rejection]:
    """Make the structures of *task*; the same plan and task give the same ones.

    What cannot be made comes as a Rejection with its reason, and the rest goes on. Raises
    TeacherError where an engine is a teacher that cannot be loaded.
    """
    block = plan.block(task.block)
    seed = derive_seed(plan.seed, block.name, task.payload, "source")
    domain = block.domain or block.source.default_domain
    try:
        for item in block.source.build(task.payload, domain, seed):
            if isinstance(item, Rejection):
                yield item
            else:
                yield from _run_methods(plan, block, item, engines)
    except InvalidStructureError as error:
        yield Rejection(None, None, error.code, str(error))


def describe(plan: Plan) -> list[BlockRow]:
    """Return a row for each block: what would be made, and what is known to fail."""
    return [_row(block) for block in plan.blocks]


def _row(block: Block) -> BlockRow:
    work = list(block.source.work())
    engines = dict.fromkeys(
        method.engine.label for method in block.methods if hasattr(method, "engine")
    )
    return BlockRow(
        block=block.name,
        domain=block.domain or block.source.default_domain or "by composition",
        source=block.source.type,
        items=sum(part.items for part in work),
        methods=", ".join(method.type for method in block.steps) or "as_is",
        expected=sum(part.items * _expected(block, part.parents) for part in work),
        engines=", ".join(engines) or "–",
        problems=tuple(block.source.problems()),
    )


def _expected(block: Block, parents: int) -> int:
    """Structures that come from one item with so many structures of its own."""
    pool: Pool = (None,) * parents
    total = parents
    for method in block.steps:
        made, pool = method.expected(pool)
        total += made
    return total


def _run_methods(
    plan: Plan, block: Block, item: Item, engines: EngineCache
) -> Iterator[Candidate | Rejection]:
    yield from item.given
    for label, method in _labelled(block.steps):
        seed = derive_seed(plan.seed, block.name, item.key, label)
        context = Context(seed, np.random.default_rng(seed), engines)
        yield from _run_method(method, item, context)


def _labelled(methods: tuple[Method, ...]) -> Iterator[tuple[str, Method]]:
    """Name each method by its type and its number among those of that type.

    Seeds follow from these names, so that adding a method of another type changes no other
    stream.
    """
    seen: dict[str, int] = {}
    for method in methods:
        number = seen[method.type] = seen.get(method.type, -1) + 1
        yield f"{method.type} {number}", method


def _run_method(method: Method, item: Item, context: Context) -> Iterator[Candidate | Rejection]:
    from mlffdb.sampling.engines import EngineFailedError

    try:
        yield from method.run(item, context)
    except InvalidStructureError as error:
        yield item.rejection(error.code, f"{method.type}: {error}")
    except NotConvergedError as error:
        yield item.rejection("not_converged", f"{method.type}: {error}")
    except EngineFailedError as error:
        yield item.rejection("engine_failed", f"{method.type}: {error}")
