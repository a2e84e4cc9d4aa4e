"""The generator of the golden vectors: rope.md in mpmath, sharing no code with ropecore.

`python -m spec.generate` writes the vectors, the manifest, the schemas and the lists in rope.md;
`--check` compares bytes.

The modules, in the order in which they are used: `numbers` (digits, arrays), `inputs` (x, q, k, g),
`rules` (chapters 4 and 5), `lanes` (3), `axes` (6), `plan` (2), `tensor` (7), `truth` (2 and 8 to
11), `layouts` (8), `needs` (features), `cases` (one function a kind of case), `topics/` (the
cases), `flags` (notes), `withdrawn`, `listing` (rope.md), `schemas`, `files` (writing),
`crosscheck` (every rotation once more, in complex numbers).
"""
