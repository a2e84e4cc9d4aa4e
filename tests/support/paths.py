"""Where the project's folders are, for tests that read files of it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
