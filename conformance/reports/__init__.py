"""What a run found: as text and JSON, JUnit, Markdown, a badge, a page."""
