"""The exceptions of this library: one tree, every class with its facts as attributes.

Each class also descends from the builtin that a caller would expect, so that code
which knows nothing of Secateur (`except ValueError`) keeps working.
"""

from __future__ import annotations

from typing import Any


def _rebuild(cls: type[SecateurError], message: str, facts: dict[str, Any]) -> SecateurError:
    return cls(message, **facts)


class SecateurError(Exception):
    """Base of every exception that Secateur raises on purpose.

    A subclass names its facts in `facts`; each is a keyword of the constructor and an
    attribute of the instance, None where the raiser does not know it. Instances survive
    pickling, so that they cross process boundaries whole.
    """

    facts: tuple[str, ...] = ()

    def __init__(self, message: str, /, **facts: Any) -> None:
        unknown = sorted(facts.keys() - set(self.facts))
        if unknown:
            raise TypeError(f"{type(self).__name__} has no fact named {', '.join(unknown)}")
        super().__init__(message)
        for name in self.facts:
            setattr(self, name, facts.get(name))

    def at_layer(self, layer: str) -> SecateurError:
        """Return the same error with the layer named: as a fact, and before the message."""
        facts = {name: getattr(self, name) for name in self.facts}
        return type(self)(f"layer {layer!r}: {self}", **{**facts, "layer": layer})

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], {n: getattr(self, n) for n in self.facts})


def told(error: BaseException) -> str:
    """Return type and message of an exception of other people's code, whose message may fail.

    Args:
        error: any exception.

    Example:
        >>> told(ValueError("no such thing"))
        'ValueError: no such thing'
    """
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


class ShapeError(SecateurError, ValueError):
    """An array's shape does not match what it goes with."""

    facts = ("argument", "shape", "expected", "layer")


class DtypeError(SecateurError, TypeError):
    """An array's dtype is not one that the operation is exact for."""

    facts = ("argument", "dtype", "expected", "layer")


class NotFiniteError(SecateurError, ValueError):
    """NaN or infinity where codes are to be made."""

    facts = ("argument", "layer", "channel")


class EmptyRangeError(SecateurError, ValueError):
    """A range whose low lies above its high."""

    facts = ("argument", "index", "low", "high", "layer")


class AccumulatorOverflowError(SecateurError, OverflowError):
    """An accumulator does not fit 64 bits; nothing was wrapped, nothing was returned.

    `index` is its place in an array of results, where that is what is known.
    """

    facts = ("channel", "low", "high", "layer", "index")


class BitsError(SecateurError, ValueError):
    """A bit width outside what is permitted."""

    facts = ("argument", "bits", "lowest", "highest", "layer")


class MissingExtraError(SecateurError, ImportError):
    """An optional dependency is not installed; `extra` is the pip extra that brings it."""

    facts = ("package", "extra", "feature")


class UnsupportedModuleError(SecateurError, NotImplementedError):
    """A torch module or operation that cannot become part of a network."""

    facts = ("layer", "operation", "supported")


class UnsupportedOperatorError(SecateurError, NotImplementedError):
    """A node of an ONNX model that cannot become part of a network; `remedy` says what helps."""

    facts = ("node", "operator", "problem", "remedy")


class UnfinishedModelError(SecateurError, RuntimeError):
    """A model whose training or pruning has not been finished cannot be frozen."""

    facts = ("layer",)


class InputRangeError(SecateurError, ValueError):
    """An input value outside the range that the proof was made for."""

    facts = ("index", "value", "low", "high")


class NetworkError(SecateurError, ValueError):
    """Operations that do not form a network (unknown inputs, cycles, wrong shapes)."""

    facts = ("layer", "operation")


class InfeasibleError(SecateurError, ValueError):
    """No mask can meet the target; even with every weight removed the range is too wide."""

    facts = ("layer", "channel", "bits", "needed_bits")


class UnknownStrategyError(SecateurError, LookupError):
    """No strategy has that name; `near` lists names like it."""

    facts = ("name", "near", "known")


class OptionError(SecateurError, ValueError):
    """A strategy's option is unknown, ill-typed or out of range."""

    facts = ("strategy", "option", "value", "accepted")


class ScheduleError(SecateurError, ValueError):
    """A pruning schedule or a training setting that no run can follow."""

    facts = ("argument", "value")


class MaskError(SecateurError, ValueError):
    """A strategy gave back masks that do not fit the problem it was given."""

    facts = ("strategy", "layer", "shape", "dtype", "expected")


class BrokenPromiseError(SecateurError, ValueError):
    """A strategy's masks do not keep what it promised, as proved by the engine."""

    facts = ("strategy", "layer", "channel", "low", "high", "bits", "promised")


class WidthError(SecateurError, ValueError):
    """A proved width exceeds the limit of the circuit; nothing was compiled."""

    facts = ("layer", "channels", "bits", "limit", "backend")


class UnknownLayerError(SecateurError, LookupError):
    """A pruning problem has no layer of that name."""

    facts = ("layer", "known")


class UnknownSaliencyError(SecateurError, LookupError):
    """No saliency has that name; `near` lists names like it."""

    facts = ("name", "near", "known")


class SaliencyError(SecateurError, ValueError):
    """A saliency's scores are misshapen, negative or not finite."""

    facts = ("saliency", "layer", "index", "value")


class MissingDataError(SecateurError, ValueError):
    """A strategy or saliency asked for activations or gradients, and no data was given."""

    facts = ("needed",)


class SpecificationError(SecateurError, ValueError):
    """What was given as a strategy or saliency is none; `argument` says what it lacks."""

    facts = ("name", "argument")


class StrategyFailedError(SecateurError, RuntimeError):
    """A strategy's own code raised; the cause is chained."""

    facts = ("strategy", "distribution", "version")


class ClashingStrategyError(SecateurError, LookupError):
    """Two distributions offer a strategy or saliency of one name, so that neither is meant."""

    facts = ("name", "distributions")


class PluginError(SecateurError, ImportError):
    """A plugin could not be used; `reason` says whether it failed to import, or is ill-made."""

    facts = ("distribution", "version", "entry_point", "reason")


class PointError(SecateurError, TypeError):
    """A point of a sweep that has no identity: not a mapping, or with a field of no plain value."""

    facts = ("point", "field", "value")


class SendError(SecateurError, TypeError):
    """A point, or the evaluate function, cannot be sent to a worker process."""

    facts = ("point", "evaluate")


class ResultError(SecateurError, TypeError):
    """An evaluate function gave back something else than a mapping of numbers and strings."""

    facts = ("point", "name", "value")


class WorkerError(SecateurError, RuntimeError):
    """A sweep's executor broke or was shut down; what had come back is kept."""

    facts = ("executor", "in_flight", "journal")


class JournalError(SecateurError, ValueError):
    """A journal that is foreign, newer than this library, or damaged; `line` counts from 1."""

    facts = ("path", "line", "difference")


class JournalLockedError(SecateurError, BlockingIOError):
    """Another sweep is writing the journal at this moment."""

    facts = ("path",)


class JournalWriteError(SecateurError, OSError):
    """A journal cannot be written; what it holds so far is whole."""

    facts = ("path", "records")


class UnprovableError(SecateurError, NotImplementedError):
    """An operation of a traced function whose range is not known to be sound."""

    facts = ("operation", "location")


class ProofMismatchError(SecateurError, RuntimeError):
    """The two independent proofs of one layer disagree: a bug of ours, nothing was compiled."""

    facts = ("layer", "channel", "graph", "network")


class ArgumentError(SecateurError, ValueError):
    """A single argument that is none of the values permitted for it."""

    facts = ("argument", "value", "expected")


class SelectionLimitError(SecateurError, RuntimeError):
    """An exact selection with more partial solutions than memory permits."""

    facts = ("channel", "limit", "layer")


class OutOfMemoryError(SecateurError, MemoryError):
    """A result that memory does not hold."""

    facts = ("bytes",)


class OrderError(SecateurError, ValueError):
    """An order of removal, or the counts asked of it, is not one."""

    facts = ("argument", "index", "value", "expected")


class IndexRangeError(SecateurError, IndexError):
    """A channel or input that the layer does not have."""

    facts = ("argument", "index", "size")


class TableRangeError(SecateurError, IndexError):
    """A range that reaches beyond the entries of its table."""

    facts = ("channel", "low", "high", "first", "last")


class ColumnError(SecateurError, LookupError):
    """The results of a sweep have no such column, or it holds no numbers."""

    facts = ("name", "known")


class FileFormatError(SecateurError, ValueError):
    """A file that is none of ours, is truncated, or was altered."""

    facts = ("path", "problem")


class FileVersionError(SecateurError, ValueError):
    """A file that another version of this library or of a backend wrote, and this cannot read."""

    facts = ("path", "version", "known")


class ConformanceError(SecateurError, AssertionError):
    """A strategy fails a check of the conformance kit; the cause is chained where one raised."""

    facts = ("strategy", "check", "problem")


class MessageError(SecateurError, ValueError):
    """A message between client and server that is truncated, altered, or of another kind."""

    facts = ("kind", "problem")


class MismatchError(SecateurError, ValueError):
    """Parts, or messages, of two different circuits."""

    facts = ("what", "expected", "found")


class ForeignKeysError(SecateurError, ValueError):
    """A ciphertext and keys that do not belong together."""

    facts = ("expected", "found")


class RoundingError(SecateurError, ValueError):
    """Low bits that cannot be dropped: some entries of a table, `entries`, would become one."""

    facts = ("layer", "bits", "most", "channel", "entries")


class SearchError(SecateurError, LookupError):
    """No candidate reaches what was asked for; `best` and `point` are what came nearest."""

    facts = ("accuracy", "best", "point", "wall_s")


class BackendError(SecateurError, RuntimeError):
    """A backend refused a circuit that fits its widths; `reason` is what it said."""

    facts = ("backend", "reason")


class UnpicklableError(SecateurError, TypeError):
    """A value that no pickle can hold; the message says how it is kept."""

    facts = ("kind",)


class PassphraseError(SecateurError, ValueError):
    """A file of keys that its passphrase does not open."""

    facts = ("path",)


class ServiceError(SecateurError, ConnectionError):
    """A server of a circuit that cannot be reached, or that answers with an error."""

    facts = ("url", "status", "reason")


class AuthenticationError(SecateurError, PermissionError):
    """A token that is missing, unknown, or not fit to be one."""

    facts = ("path",)


class StoreFullError(SecateurError, OSError):
    """A server keeps as many evaluation keys as it may."""

    facts = ("kept", "most")


class WorkerDiedError(SecateurError, ChildProcessError):
    """Worker processes of a server ended over one request."""

    facts = ("exit_code",)


class WorkerTimeoutError(SecateurError, TimeoutError):
    """A request took a server's worker longer than it may."""

    facts = ("seconds",)
