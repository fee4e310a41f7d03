"""Networks built without numbers (on the meta device), so that no process ever holds a whole one."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn, random

from hallo3_lightning.errors import UsageError
from hallo3_lightning.randomness import generator


def is_blank(module: nn.Module) -> bool:
    """Whether some of its numbers are still missing."""
    return any(tensor.is_meta for _, tensor in _tensors(module))


def refuse_unfillable(module: nn.Module) -> None:
    """Raise a UsageError that names what `fill` would leave without numbers, or give others than the constructor.

    A blank module is reset as `fill` would do it, and each tensor's in-place changes are counted: none means that nobody
    initialises it, another number than in construction that a constructor does what no `reset_parameters` repeats.
    """
    built = {name: tensor._version for name, tensor in _tensors(module)}
    _reset(module, set(module.modules()))
    parameters = dict(module.named_parameters())
    for name, tensor in _tensors(module):
        changes = tensor._version - built[name]
        if changes == 0 or (name in parameters and changes != built[name]):
            owner = module.get_submodule(name.rpartition(".")[0])
            fault = (
                "no reset_parameters() initialises it" if changes == 0 else "its constructor initialises it otherwise"
            )
            raise UsageError(
                f"parallel.meta is true, but {name} (of {type(owner).__name__}) would not get its numbers: {fault}; move "
                "the initialisation into a method reset_parameters() that the constructor calls last, or set "
                "parallel.meta to false"
            )


def fill(module: nn.Module, part: nn.Module, given: Mapping[str, Tensor], seed: int) -> None:
    """Numbers for what is blank in a part of a module: given ones by their names in the module, else fresh ones.

    Fresh ones are drawn from (seed, name of the submodule): the same however many ranks there are, and whatever the
    order of filling. They are others than a network gets that is built with numbers at once.
    """
    blank = {inner for inner in part.modules() if any(tensor.is_meta for _, tensor in _own(inner))}
    for inner in blank:
        inner.to_empty(device="cpu", recurse=False)
    names = {inner: name for name, inner in module.named_modules()}
    _reset(part, blank, {inner: generator(seed, f"weights {names[inner]}").initial_seed() for inner in part.modules()})
    for inner in blank:
        for name, tensor in _own(inner):
            found = given.get(f"{names[inner]}.{name}" if names[inner] else name)
            if found is not None:
                tensor.detach().copy_(found)


def _reset(part: nn.Module, blank: set[nn.Module], seeds: Mapping[nn.Module, int] | None = None) -> None:
    """Children before parents, whose initialisation may replace theirs; nothing that has no blank module in it."""
    with random.fork_rng(devices=[]):
        for inner in reversed(list(part.modules())):
            reset = getattr(inner, "reset_parameters", None)
            if reset is None or blank.isdisjoint(inner.modules()):
                continue
            if seeds is not None:
                random.manual_seed(seeds[inner])
            reset()


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
