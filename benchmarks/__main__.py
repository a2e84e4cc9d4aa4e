"""The command line: python -m benchmarks [--quick] [CASE..] [--json FILE] [--plot FILE] [--markdown
FILE].
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __doc__ as description
from . import report
from .case import Case
from .cases import all_cases
from .peers import Missing
from .timing import compare

TOKENS, QUICK_TOKENS = 4096, 64
PAIRS, QUICK_PAIRS = 21, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases and write what was asked for; return 1 if two sides disagreed."""
    options = _parser().parse_args(argv)
    pairs = options.pairs or (QUICK_PAIRS if options.quick else PAIRS)
    if options.join:
        runs = [report.from_json(path.read_text()) for path in options.join]
        found = {result.case.name: result for results, _ in runs for result in results}  # the last one of a name
        order = {case.name: place for place, case in enumerate(all_cases())}  # an older run may have others
        results, about = sorted(found.values(), key=lambda each: order.get(each.case.name, len(order))), runs[-1][1]
    else:
        cases = [case for case in all_cases() if not options.cases or any(word in case.name for word in options.cases)]
        if not cases:
            print("no case has such a name", file=sys.stderr)
            return 2
        about, results = report.machine(_threads(options.threads)), []
        about["clock"] = "processor time of all threads" if options.processor_time else "wall time"
        clock = time.process_time if options.processor_time else time.perf_counter
        for case in cases:
            results.append(_run(case, QUICK_TOKENS if options.quick else TOKENS, pairs, clock))
            print("  ".join(results[-1].words().values()), file=sys.stderr, flush=True)
    print(report.table(results))
    if options.json:
        options.json.write_text(report.as_json(results, about))
    if options.markdown:
        options.markdown.write_text(report.markdown(results, about))
    if options.plot:
        report.plot(results, options.plot)
    return int(any(result.reason.startswith("WRONG") for result in results))


def _run(case: Case, tokens: int, pairs: int, clock: Callable[[], float]) -> report.Result:
    try:
        pair = case.make(tokens)
        pair.check()
        calls = 1 if tokens == QUICK_TOKENS else pair.calls
        return report.Result(case, pair, compare(pair.call_a, pair.call_b, pairs, calls, clock))
    except Missing as reason:
        return report.Result(case, None, None, str(reason))
    except AssertionError as reason:
        return report.Result(case, None, None, f"WRONG: {reason}")
    finally:
        gc.collect()


def _threads(wanted: int | None) -> int:
    """Set torch's number of threads, and return it; all peers then use as many."""
    try:
        import torch
    except ImportError:
        return wanted or 1
    if wanted:
        torch.set_num_threads(wanted)
    return int(torch.get_num_threads())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help="words that a case's name contains; none for all cases"
    )
    parser.add_argument("--quick", action="store_true", help="small tensors and few pairs: to see that it runs")
    parser.add_argument("--join", type=Path, nargs="+", metavar="JSON", help="time nothing: join the results of runs")
    parser.add_argument("--pairs", type=int, help=f"pairs of calls a case (default {PAIRS})")
    cure = "processor time, not wall time: for a machine that does other work; take --threads 1"
    parser.add_argument("--processor-time", action="store_true", help=cure)
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single time")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a page of results")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios (needs matplotlib)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
