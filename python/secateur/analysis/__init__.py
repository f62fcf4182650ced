"""Analysis: a proved range for every node of a network.

Ranges flow from the input to the output, one operation at a time, each computed by the
operation's own rule from the ranges of its sources. The range of an affine operation is exact
over the box of its input ranges. Through a whole network a range is *sound*: never too narrow.
It is also *exact* where an input of the network is known that attains both its ends;
`RangeReport.witness` gives that input.
"""

from secateur.analysis.reports import NodeRange as NodeRange, RangeReport as RangeReport
from secateur.analysis.walking import Given as Given, analyze as analyze
