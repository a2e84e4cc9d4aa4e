"""Well-known libraries as targets, and what the suite says of them: REPORT.md, report.html.

    ropecore conformance --peers                                         every library that is
      installed
    ropecore conformance ropecore.conformance.peers.litgpt:target        one of them, like any
      target

Each module calls a library's public functions with the settings that its documentation gives.
peers.toml lists them: package, version, where its RoPE stands in the source, how it is called, and
what each failure comes from.
"""

from ._catalogue import Known as Known
from ._catalogue import Peer as Peer
from ._catalogue import known as known
from ._catalogue import peers as peers
from ._report import summary as summary
from ._report import write as write
from ._runs import Judged as Judged
from ._runs import run_peers as run_peers
