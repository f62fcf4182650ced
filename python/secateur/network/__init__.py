"""The network: a frozen graph of integer operations, the value that every stage takes and gives."""

from secateur.network.arrays import Floats as Floats, Integers as Integers, Mask as Mask
from secateur.network.change import CannotUndoError as CannotUndoError, Change as Change
from secateur.network.ends import Input as Input, Output as Output, Ranking as Ranking
from secateur.network.graph import Network as Network
from secateur.network.layers import Conv as Conv, Layer as Layer, Linear as Linear
from secateur.network.lookups import LARGEST_TABLE as LARGEST_TABLE, Lookup as Lookup
from secateur.network.operation import (
    Box as Box,
    End as End,
    Operation as Operation,
    Shape as Shape,
)
from secateur.network.pools import MaxPool as MaxPool, SumPool as SumPool
from secateur.network.rearranging import (
    Concat as Concat,
    Reshape as Reshape,
    Transpose as Transpose,
)
from secateur.network.sums import Add as Add
from secateur.network.tables import (
    Activation as Activation,
    Affine as Affine,
    Bend as Bend,
    Combine as Combine,
    Count as Count,
    ExplicitTable as ExplicitTable,
    FunctionTable as FunctionTable,
    Quantize as Quantize,
    Step as Step,
    Table as Table,
    tabulate as tabulate,
)
from secateur.network.taking import Place as Place, Take as Take
