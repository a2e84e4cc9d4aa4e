"""Write the golden vectors, or check them: python -m spec.generate [--check | --rewrite]."""

import argparse
import sys

from . import crosscheck, files, topics


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    described = argparse.ArgumentParser(
        prog="python -m spec.generate",
        description="Write the golden vectors, the manifest and the lists in rope.md.",
        epilog="example: python -m spec.generate --check",
    )
    group = described.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file on disk differs by a byte")
    group.add_argument(
        "--rewrite", action="store_true", help="allow existing cases to change or to go: before a release only"
    )
    return described


def report(problems: list[str], summary: str) -> int:
    """Print problems, if there are any, and return the exit status."""
    if problems:
        print(*problems, summary, sep="\n", file=sys.stderr)
    return 1 if problems else 0


def main() -> int:
    """Run the command line."""
    options = parser().parse_args()
    cases = topics.cases()
    if status := report(crosscheck.problems(cases), "the cross-check disagrees; nothing was written"):
        return status
    generated = files.generated(cases)
    if options.check:
        status = report(files.differences(generated), "run python -m spec.generate")
        print(f"{len(cases)} cases regenerated and compared" if not status else f"{len(cases)} cases", file=sys.stderr)
        return status
    problems = files.changed(cases)
    if not options.rewrite and (
        status := report(problems, "existing cases are never changed (--rewrite allows it before a release)")
    ):
        return status
    files.write(generated)
    size = sum(len(content) for path, content in generated.items() if path.endswith(".json"))
    print(f"{len(cases)} cases, {size / 1e6:.2f} MB of JSON; {len(problems)} changed or gone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
