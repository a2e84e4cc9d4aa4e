"""The conformance suite: judge an implementation of RoPE by the golden vectors.

    import ropecore.conformance as conformance

    report = conformance.run(conformance.load_target("numpy"))
    print(report.text())  # failures, the likely bug, and at last "N passed, N failed"
    assert report.ok      # all cases ran, some passed, none failed

A target is any object or module with one function, `apply(plan, x, positions=positions) -> y`, x
and y of shape (b, h, s, d).  Each further name that it has is a capability, and is judged:

    apply(.., offset=, tensor_format=, role=, inverse=, transpose=, precision=)
                          keywords that it takes, each for itself
    apply(.., case=)      is given the vector's JSON object without the result
    apply_(plan, x, positions=)
                          the same, in place
    cos_sin(plan, positions, role=, precision=, dtype=)
                          tables, (.., n_pairs)
    rotate(plan, x, cos, sin, tensor_format=, inverse=, transpose=)
    shift(plan, x, delta, tensor_format=)
                          rotated keys, moved
    vjp(plan, x, g, positions=, offset=, tensor_format=)
                          the gradient with respect to x
    from_meta(plan)       a module(x, positions=), built without memory that it got later
    frequencies(config, seq_len)
                          (frequencies, attention_factor[, log_magnitude])
    rules                 an object with ropecore's own names, such as RopeConfig
    ambient(name)         a context manager, or None where there is no such mode
    asarray(numpy_array, dtype_name), to_numpy(array)
                          its own arrays; NumPy's unless given
    variants              {name: target}: the same in another mode
    capabilities          a mapping: see `Capabilities`
    RopeError             its refusals; ValueError and TypeError unless given

A program in another language is a target too: `with Program("node rope.js") as program:
run(program)` is what --command does.

Results are compared within the error model of rope.md, R-10.6, in the precision that the target
declares.
"""

from .cases import Case as Case
from .cases import cases as cases
from .program import Program as Program
from .reports.page import html as html
from .reports.report import Report as Report
from .reports.report import Result as Result
from .runner import run as run
from .target import Capabilities as Capabilities
from .target import Target as Target
from .target import load_target as load_target
from .verdicts import Outcome as Outcome
from .verdicts import Skip as Skip
from .verdicts import Worst as Worst
