"""The generator of the golden vectors: rope.md in mpmath, sharing no code with ropecore.

`python -m spec.generate` writes the vectors, the manifest and the lists in rope.md; `--check` compares bytes.

The modules, in the order in which they are used: `numbers` (digits, arrays), `inputs` (x, q, k), `rules` (chapters 4, 5),
`lanes` (chapter 3), `axes` (chapter 6), `plan` (chapter 2), `truth` (chapters 2, 8 to 11), `layouts` (chapter 8), `cases`
(one function a kind of case), `topics/` (the cases), `flags` (notes), `listing` (rope.md), `files` (writing), `crosscheck`.
"""
