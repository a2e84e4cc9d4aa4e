"""What the flags M96 to M107 mean: a step of the rotation is lost, or a part of the input."""

from .note import Note, note

LOST: dict[str, Note] = {
    "M96": note("the input is not rotated at all", "every token looks as if at position 0; norms are right"),
    "M97": note("the sines are lost", "norms shrink; right at position 0"),
    "M98": note("the sines are cosines too", "wrong everywhere, at position 0 too"),
    "M99": note("positions are doubled", "distances count double; right at position 0"),
    "M100": note("the index of a token is added to its position", "right where a call has one token"),
    "M101": note("only the first head is rotated", "right where there is one head"),
    "M102": note("the last of several tokens is not rotated", "right where a call has one token"),
    "M103": note("the first axis of positions is used for all axes", "text looks right, images do not"),
    "M104": note("the position of the first token is used for all", "right where a call has one token"),
    "M105": note("every pair turns with the frequency of the first", "right at head_dim 2 and at position 0"),
    "M106": note(
        "a rule that depends on the length is given that of a longer table", "right at lengths that are powers of two"
    ),
    "M107": note("the bits of a row change with the number of rows", "every result is within its bound"),
}
