"""The network: a frozen graph of integer operations, the value that every stage takes and gives."""

from secateur.network.graph import Input as Input, Network as Network, Output as Output
from secateur.network.operations import (
    Add as Add,
    Concat as Concat,
    Conv as Conv,
    Layer as Layer,
    Linear as Linear,
    Lookup as Lookup,
    MaxPool as MaxPool,
    Operation as Operation,
    Reshape as Reshape,
    Shape as Shape,
    SumPool as SumPool,
    Transpose as Transpose,
)
from secateur.network.tables import (
    Activation as Activation,
    Affine as Affine,
    ExplicitTable as ExplicitTable,
    Floats as Floats,
    FunctionTable as FunctionTable,
    Integers as Integers,
    Quantize as Quantize,
    Table as Table,
)
