"""``python -m tests.swarm``: many random sites, links and faults; once healed, every charger must come online."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import starmap
from statistics import median, quantiles

from tests.swarm.case import draw_case
from tests.swarm.trial import BOUND_S, live_through

PROGRESS_S = 10.0

Row = tuple[int, float | None, str, str, list[str]]
"""Number, seconds until online, why not, digest, kinds of fault."""


def _one(seed: int, number: int) -> Row:
    ended = live_through(draw_case(seed, number))
    kinds = [strike.fault["kind"] for strike in ended.case.strikes]
    return number, ended.online_s if ended.ok else None, ended.why, ended.digest, kinds


def _all(seed: int, count: int, workers: int) -> Iterator[Row]:
    work = [(seed, number) for number in range(count)]
    if workers == 1:
        yield from starmap(_one, work)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_one, *zip(*work, strict=True), chunksize=4)


def _swarm(seed: int, count: int, workers: int) -> int:
    began = told = time.monotonic()
    times: list[float] = []
    kinds: Counter[str] = Counter()
    failed = 0
    for number, online_s, why, _, struck in _all(seed, count, workers):
        kinds.update(struck)
        if online_s is None:
            failed += 1
            print(f"case {number} failed: {', '.join(struck)}\n  {why}")
            print(f"  replay: python -m tests.swarm --seed {seed} --only {number}")
        else:
            times.append(online_s)
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            print(f"{number + 1} of {count}, {failed} failed, {told - began:.0f} s", file=sys.stderr)
    took_s = time.monotonic() - began
    print(f"{count} cases of seed {seed} with {len(kinds)} kinds of fault in {took_s:.0f} s: {failed} failed")
    if len(times) > 1:
        p99 = quantiles(times, n=100)[98]
        spread = f"median {median(times):.0f} s, 99 % {p99:.0f} s, most {max(times):.0f} s"
        print(f"online after healing: {spread}; bound {BOUND_S:.0f} s")
    return 1 if failed else 0


def _replay(seed: int, number: int) -> int:
    case = draw_case(seed, number)
    print(json.dumps(case.as_json()))
    ended = live_through(case)
    for event in ended.recorder.events:
        print(event.as_json())
    print(f"digest {ended.digest}", file=sys.stderr)
    print(f"online {ended.online_s:.1f} s after healing" if ended.online_s is not None else ended.why, file=sys.stderr)
    return 0 if ended.ok else 1


def main() -> int:
    """Run the swarm, or replay one case with its whole trace."""
    parser = argparse.ArgumentParser(prog="python -m tests.swarm", description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="how many cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="replay one case and print its trace")
    args = parser.parse_args()
    return _swarm(args.seed, args.count, args.workers) if args.only is None else _replay(args.seed, args.only)


if __name__ == "__main__":
    raise SystemExit(main())
