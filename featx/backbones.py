"""A name becomes a `Backbone`: the model, and the preprocessing and weights that belong to it."""

from __future__ import annotations

import hashlib
import math
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call
from torchvision.models import WeightsEnum
from torchvision.transforms import v2

from featx import glyphnet
from featx.errors import FeatxError, close_matches
from featx.heads import (
    drop_aux_heads,
    find_heads,
    in_size,
    output_layer,
    remove_head,
    replace_head,
)

__all__ = ["Backbone", "list_backbones", "load_backbone"]

_TIMM = "timm/"
# Image sizes for a first try of a user's model whose preprocessing leaves the size as it is.
_SIZES = (224, 64, 32, 28, 8)
_NO_NETWORK = 'or go on without a network: featx.load_backbone("glyphnet") has its weights with it.'


@dataclass(frozen=True, eq=False)
class Backbone:
    """A model with the preprocessing that belongs to its weights.

    Attributes
    ----------
    name : str
        What it was loaded as.
    model : torch.nn.Module
        The plain model in eval mode, its head still on: ``model(preprocess(images))`` gives class
        scores, `features` gives features.
    preprocess : callable
        Turns images (uint8 0-255 or float 0-1, ``(N, C, H, W)``) into what the model was trained on.
    num_features : int
        The size D of one image's features.
    in_channels : int
        Channels of the images that the model takes: 1 or 3.
    layer : str or None
        The layer whose output the features are. None: what the head takes in, or what the model
        returns if it has no head. ``""``: what the model returns.
    """

    name: str
    model: nn.Module
    preprocess: Callable[[torch.Tensor], torch.Tensor]
    num_features: int
    in_channels: int
    layer: str | None = None
    # Where the heads were at first: features go in there, whatever a user puts in their place.
    _places: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note where the head is."""
        places = find_heads(self.model) if self.layer is None else []
        object.__setattr__(self, "_places", places)

    @classmethod
    def from_module(
        cls,
        model: nn.Module,
        preprocess: Callable[[torch.Tensor], torch.Tensor],
        *,
        name: str | None = None,
        layer: str | None = None,
        in_channels: int | None = None,
        num_features: int | None = None,
    ) -> Backbone:
        """Make a backbone of any module.

        Its features are the output of `layer`, else what its head takes in, else what it returns.

        Parameters
        ----------
        model
            Any module that takes images ``(N, C, H, W)``. It is put in eval mode.
        preprocess
            Turns images (uint8 0-255 or float 0-1, ``(N, C, H, W)``) into what the model was
            trained on. ``lambda x: x`` if it takes floats 0-1 as they are.
        name
            What to call it; by default its class.
        layer
            The dotted name of a layer that gives ``(N, D)``, a feature map ``(N, C, H, W)`` or tokens
            ``(N, T, D)``; the latter two are averaged. ``""`` is the model's own output.
        in_channels
            Channels of its images: 1 or 3.
        num_features
            The size D of one image's features.

        Returns
        -------
        Backbone
            What is not given is found by one dry run on a black image; it leaves parameters, buffers
            and random state as they were.

        Raises
        ------
        FeatxError
            When the dry run fails, gives something else than ``(N, D)`` or ``(N, C, H, W)``, or `layer`
            is unknown.

        Examples
        --------
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> Backbone.from_module(model, lambda x: x, name="tiny")
        Backbone(tiny, 8 features)
        """
        for what, value, right in (
            ("model to be a torch module", model, isinstance(model, nn.Module)),
            ("preprocess to be a function of images", preprocess, callable(preprocess)),
        ):
            if not right:
                raise FeatxError(
                    f"Expected {what}, got {type(value).__name__}. Write "
                    "Backbone.from_module(model, preprocess)."
                )
        known = dict(model.named_modules())
        if layer is not None and layer not in known:
            raise FeatxError(
                f"Expected the name of a layer of this {type(model).__name__}, got {layer!r}. "
                f"{close_matches(layer, filter(None, known))}"
            )
        for what, value in (("in_channels", in_channels), ("num_features", num_features)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise FeatxError(
                    f"Expected {what} to be a whole number of at least 1, got {value!r}. Leave it out "
                    "to have it found."
                )
        model.eval()
        name = type(model).__name__ if name is None else name
        if in_channels is None:
            first = next((m for m in known.values() if isinstance(m, nn.Conv2d)), None)
            in_channels = 3 if first is None else first.in_channels
        if num_features is None:
            layer, num_features = _dry_run(model, preprocess, layer, in_channels)
        return cls(name, model, preprocess, num_features, in_channels, layer)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the features of preprocessed images: what the head would take in.

        They stay the same when the head is replaced or removed.

        Parameters
        ----------
        x
            Preprocessed images ``(N, C, H, W)``, on the model's device.

        Returns
        -------
        torch.Tensor
            ``(N, num_features)``; a convolutional head's feature map is averaged over its places. Where
            the model has two heads (distilled DeiT), the mean of what they take in.

        Raises
        ------
        FeatxError
            When they have another shape.

        Examples
        --------
        >>> import torch, featx
        >>> backbone = featx.load_backbone("glyphnet")
        >>> backbone.features(backbone.preprocess(torch.zeros(4, 8, 8))).shape
        torch.Size([4, 256])
        """
        features = _features(self.model, x, self.layer, self._places)
        if features.shape[1] != self.num_features:
            raise FeatxError(
                f"Expected {self.num_features} features of {self.name}, got {features.shape[1]}. Did its "
                "layers change? Load it again, or make a backbone of what it is now with "
                "featx.Backbone.from_module(model, preprocess)."
            )
        return features

    def __repr__(self) -> str:
        return f"Backbone({self.name}, {self.num_features} features)"

    @property
    def weights_id(self) -> str:
        """The content hash of all parameters and buffers: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]


def list_backbones() -> list[str]:
    """Name everything that `load_backbone` can load.

    Returns
    -------
    list of str
        GlyphNet first, then all of torchvision's classifiers, then, where timm is installed, its
        models as ``"timm/<name>"``. The first call imports timm, which takes about two seconds.

    Examples
    --------
    >>> list_backbones()[:3]
    ['glyphnet', 'alexnet', 'convnext_base']
    """
    names = ["glyphnet", *_torchvision_names()]
    if find_spec("timm"):
        names += [f"{_TIMM}{name}" for name in _import_timm().list_models()]
    return names


def load_backbone(name: str, weights: str | Path | WeightsEnum | None = "default") -> Backbone:
    """Load a backbone by name, with the preprocessing that belongs to its weights.

    Parameters
    ----------
    name
        ``"glyphnet"``, or any name that `list_backbones` lists. A timm name may end in the tag of
        its weights: ``"timm/resnet10t.c3_in1k"``.
    weights
        ``"default"``: GlyphNet's embedded weights (no network, ever), or the default weights of
        torchvision or timm, downloaded once with progress and hash check. Torchvision's weights or
        their name: ``ResNet18_Weights.IMAGENET1K_V1`` or ``"IMAGENET1K_V1"``; timm's tag.
        A ``.safetensors``, ``.pth`` or ``.pt`` file with a state dict, or a checkpoint that holds
        one; a file fine-tuned for other classes brings its own head. A file that has the name of one
        of torchvision's own gets the transform of those weights. ``None``: random weights, drawn
        from torch's global generator.

    Returns
    -------
    Backbone
        On the CPU, in eval mode.

    Raises
    ------
    FeatxError
        When the name or the weights are unknown, do not fit, or cannot be downloaded.

    Examples
    --------
    >>> backbone = load_backbone("glyphnet")
    >>> backbone.num_features, backbone.model.training
    (256, False)
    >>> load_backbone("resnet50", weights=None).num_features
    2048
    """
    name = str(name)
    path = _as_file(weights)
    if name == "glyphnet":
        if path is None and weights not in (None, "default"):
            raise _unknown_weights(name, weights, [])
        model, preprocess = glyphnet.GlyphNet(), glyphnet.preprocess
        if weights is not None:
            file = path or glyphnet.WEIGHTS_FILE
            _load_state(model, _read(file, name), file, name)
    elif name.startswith(_TIMM):
        model, preprocess = _timm_model(name, weights, path)
    elif name in _torchvision_names():
        model, preprocess = _torchvision_model(name, weights, path)
    else:
        raise _unknown_name(name)
    heads = find_heads(model.eval())
    first = next((p for p in model.parameters() if p.ndim == 4), None)
    in_channels = 3 if first is None else first.shape[1]
    if heads:
        num_features = in_size(model, heads[0])
    else:
        _, num_features = _dry_run(model, preprocess, "", in_channels)
    return Backbone(name, model, preprocess, num_features, in_channels)


# --- torchvision -----------------------------------------------------------------------------------


def _torchvision_names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def _torchvision_model(
    name: str, weights: str | Path | WeightsEnum | None, path: Path | None
) -> tuple[nn.Module, Callable]:
    known: Any = torchvision.models.get_model_weights(name)
    if path is not None:
        state = _read(path, name)
        for official in known:
            if Path(official.url).name == path.name:
                return _with_weights(name, official, state, path)
        model = _random_model(name)
        _load_state(model, state, path, name)
        if hasattr(model, "transform_input"):  # Inception and GoogLeNet
            # as torchvision sets it for the weights it trained
            model.transform_input = True  # pyright: ignore[reportArgumentType]
        return model, _fitting_transforms(model, known)
    if weights is None:
        model = _random_model(name)
        return model, _fitting_transforms(model, known)
    entry: Any = known.DEFAULT if weights == "default" else weights
    if isinstance(entry, str):
        entry = known.__members__.get(entry.removeprefix(f"{known.__name__}."))
    if not isinstance(entry, known):
        raise _unknown_weights(name, weights, list(known.__members__))
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    return _with_weights(name, entry, _downloaded(name, entry, file), file)


def _random_model(name: str) -> nn.Module:
    with warnings.catch_warnings():
        # two models announce that their initialisation will change; it stays torchvision's
        warnings.simplefilter("ignore", FutureWarning)
        return torchvision.models.get_model(name, weights=None)


def _downloaded(name: str, entry: Any, file: Path) -> Mapping[str, Any]:
    """Return the state dict of `entry` from torch's cache, or bring it there."""
    try:
        with _patience():
            return entry.get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        if file.exists():
            raise _damaged(name, file, error) from error
        where = f"Put the file {file.name} into {file.parent}"
        if isinstance(error, OSError) and not isinstance(error, URLError) and error.filename:
            where = (
                f"Set the environment variable TORCH_HOME to a folder that can be written, put the file "
                f"{file.name} into {file.parent}"
            )
        raise FeatxError(
            f"Could not get the weights of {name} ({_first_line(error)}). {where}, {_NO_NETWORK}"
        ) from error


@contextmanager
def _patience(seconds: float = 30) -> Iterator[None]:
    """Give up on a server that is silent for so long; torch.hub itself would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _with_weights(
    name: str, entry: Any, state: Mapping[str, Any], file: Path
) -> tuple[nn.Module, Callable]:
    """Let torchvision build the model of `entry`, which knows its options, from `state`."""
    # A twin of the enum's member: the builder asks it for meta data and for the state dict.
    twin: Any = object.__new__(type(entry))
    twin._name_, twin._value_ = entry.name, entry.value
    twin.get_state_dict = lambda *args, **kwargs: state
    try:
        model = torchvision.models.get_model(name, weights=twin)
    except Exception as error:  # whatever stands in the file is met here first
        raise _damaged(name, file, error) from error
    return model, entry.transforms()


def _damaged(name: str, file: Path, error: Exception) -> FeatxError:
    return FeatxError(
        f"Expected {file} to hold a state dict of {name}, the weights of that name, but it does not "
        f"load: {_first_line(error)} Delete it and load again to have it downloaded anew."
    )


def _fitting_transforms(model: nn.Module, known: Any) -> Callable:
    """Return the transform of the first known weights, the default first, that fits `model`.

    A ViT takes one image size only, and its default weights may be for another than the size it is
    built with.
    """
    model.eval()
    for entry in [known.DEFAULT, *known]:
        transforms = entry.transforms()
        if _takes(model, transforms(torch.zeros(1, 3, 8, 8))):
            return transforms
    return known.DEFAULT.transforms()  # a model that meta tensors cannot go through


def _takes(model: nn.Module, x: torch.Tensor) -> bool:
    """Say whether `model` takes images of the size of `x`, without computing a number."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    try:
        with torch.no_grad():
            functional_call(model, meta, x.to("meta"))
    except Exception:  # a model may refuse with any error
        return False
    return True


# --- timm ------------------------------------------------------------------------------------------


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise FeatxError(
            "Expected timm to be installed, for names that begin with timm/. Run: pip install "
            "'featx[timm]'"
        ) from error
    return timm


def _timm_model(
    name: str, weights: str | Path | WeightsEnum | None, path: Path | None
) -> tuple[nn.Module, Callable]:
    timm = _import_timm()
    architecture, _, tag = name.removeprefix(_TIMM).partition(".")
    if not timm.is_model(architecture):
        raise _unknown_name(name)
    listed = timm.list_pretrained(f"{architecture}.*") + timm.list_pretrained(architecture)
    tags = sorted({known.partition(".")[2] for known in listed} - {""})
    if isinstance(weights, str) and path is None and weights != "default":
        tag = weights
    if (tag and tag not in tags) or (isinstance(weights, WeightsEnum)):
        raise _unknown_weights(name, tag or weights, tags)
    full = f"{architecture}.{tag}" if tag else architecture
    download = weights is not None and path is None
    if download and not listed:
        raise FeatxError(
            f"Expected timm to have weights for {name}, but it has none. Pass weights=None for random "
            "ones, or a file."
        )
    try:
        model = timm.create_model(full, pretrained=download)
    except Exception as error:  # the hub's client has its own families of errors
        if not download:
            raise
        config = timm.get_pretrained_cfg(full)
        file = config.hf_hub_filename or "model.safetensors"
        source = f"the file {file} of {config.hf_hub_id} on the Hugging Face hub"
        raise FeatxError(
            f"Could not get the weights of {name} ({_first_line(error)}). Put "
            f"{source if config.hf_hub_id else config.url} into any folder and pass its path as "
            f"weights=…, {_NO_NETWORK}"
        ) from error
    if path is not None:
        _load_state(model, _read(path, name), path, name)
    return model, _timm_transforms(timm.data.resolve_model_data_config(model))


def _timm_transforms(config: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make timm's evaluation transform for tensors, by the rules of its `transforms_imagenet_eval`."""
    crop = config["input_size"][1:]
    scaled = [math.floor(size / config["crop_pct"]) for size in crop]
    sizes: dict[str, dict[str, Any]] = {
        "squash": {"size": scaled},  # the shape of the image is lost, nothing of it is
        "border": {"size": None, "max_size": min(scaled)},  # CenterCrop pads with 0, the mean
    }
    return v2.Compose(
        [
            v2.Resize(
                **sizes.get(config["crop_mode"], {"size": min(scaled)}),
                interpolation=v2.InterpolationMode(config["interpolation"]),
                antialias=True,
            ),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=config["mean"], std=config["std"]),
            v2.CenterCrop(crop),
        ]
    )


# --- files -----------------------------------------------------------------------------------------


def _as_file(weights: str | Path | WeightsEnum | None) -> Path | None:
    """Return the path when `weights` names a file, and None when it is a word or None."""
    if not isinstance(weights, (str, Path)) or not str(weights).endswith(
        (".safetensors", ".pth", ".pt")
    ):
        return None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FeatxError(f"Expected a file with weights, but there is none at {path.absolute()}.")
    return path


def _read(path: Path, name: str) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only: a pickle that would run code is refused
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise _does_not_load(path, name, error) from error


def _load_state(model: nn.Module, content: Any, path: Path, name: str) -> None:
    """Load what a file holds; head and auxiliary heads become what they are in the file."""
    state = _unwrapped(content, list(model.state_dict()))
    if state is None:
        raise _does_not_load(path, name, f"no tensor in it has a name that {name} knows.")
    drop_aux_heads(model, but={key.partition(".")[0] for key in state})
    head = next(iter(find_heads(model)), None)
    if head is not None and not any(key.startswith(f"{head}.") for key in state):
        remove_head(model)
    elif head is not None:
        layer, old = output_layer(model, head)
        weight = state.get(f"{layer}.weight")
        if weight is not None and len(weight) != len(old.weight):
            replace_head(model, len(weight))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise _does_not_load(path, name, error) from error


def _unwrapped(content: Any, keys: list[str]) -> dict[str, torch.Tensor] | None:
    """Find the state dict in a checkpoint, with the names `keys` that the model has.

    A training script keeps it under a key of its own beside the epoch and the optimizer, and
    DataParallel, Lightning and torch.compile put a prefix before each name. So: of all mappings in
    the checkpoint, and all prefixes in it, take those under which most of the keys are found.
    """
    longest = max(keys, key=len)
    best: dict[str, torch.Tensor] | None = None
    most = 0
    for state in _mappings(content):
        ends = [k.removesuffix(longest) for k in state if k.endswith(f".{longest}")]
        for prefix in ["", *ends]:
            found = sum(f"{prefix}{key}" in state for key in keys)
            if found > most:
                inside = {
                    k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)
                }
                best, most = inside, found
    return best


def _mappings(content: Any) -> Iterable[dict[str, torch.Tensor]]:
    """Yield each mapping of names to tensors in a checkpoint, the outer ones first."""
    if isinstance(content, Mapping):
        tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
        yield {k: v for k, v in tensors.items() if isinstance(k, str)}
        for value in content.values():
            yield from _mappings(value)


def _does_not_load(path: Path, name: str, error: BaseException | str) -> FeatxError:
    return FeatxError(
        f"Expected {path} to hold a state dict of {name}, as torch.save(model.state_dict(), …) "
        f"writes it, but it does not load: {_first_line(error)}"
    )


# --- one pass --------------------------------------------------------------------------------------


def _features(
    model: nn.Module,
    x: torch.Tensor,
    layer: str | None,
    places: list[str],
    forward: Callable[[torch.Tensor], Any] | None = None,
) -> torch.Tensor:
    """Run `model` (by way of `forward`) once and return the features of `x`, pooled."""
    taken: dict[str, Any] = {}

    def take(place: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
            taken[place] = next(iter((*args, *kwargs.values())))

        return hook

    def give(module: nn.Module, args: tuple, output: Any) -> None:
        taken["layer"] = output

    with ExitStack() as hooks:
        for place in filter(None, {_standing(model, place) for place in places}):
            module = model.get_submodule(place)
            handle = module.register_forward_pre_hook(take(place), with_kwargs=True)
            hooks.callback(handle.remove)
        if layer:
            handle = model.get_submodule(layer).register_forward_hook(give)
            hooks.callback(handle.remove)
        output = (forward or model)(x)
    if layer and not taken:
        raise FeatxError(
            f"Expected a layer that takes part in the forward pass, but {layer} does not. Name a layer in "
            "it, or one that is called."
        )
    pooled = [_pooled(value, bool(layer)) for value in (taken.values() or [output])]
    return torch.stack(pooled).mean(0) if len(pooled) > 1 else pooled[0]


def _standing(model: nn.Module, place: str) -> str:
    """Return `place`, or what is left of the way to it: a user may have replaced a container."""
    while place:
        try:
            model.get_submodule(place)
        except AttributeError:
            place = place.rpartition(".")[0]
        else:
            break
    return place


def _pooled(features: Any, tokens: bool) -> torch.Tensor:
    if isinstance(features, torch.Tensor):
        if features.ndim == 2:
            return features
        if features.ndim == 4:
            return features.flatten(2).mean(2)
        if features.ndim == 3 and tokens:
            return features.mean(1)
    got = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    raise FeatxError(
        f"Expected features (N, D) or a feature map (N, C, H, W), got {got}. Name the layer that gives "
        "them: featx.Backbone.from_module(model, preprocess, layer=…)."
    )


def _dry_run(
    model: nn.Module, preprocess: Callable, layer: str | None, in_channels: int
) -> tuple[str | None, int]:
    """Return the layer to read (None: the head's input) and D, by one pass of a black image."""
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    heads = find_heads(model) if layer is None else []
    outputs: list[Any] = []
    reasons: list[str] = []

    def forward(x: torch.Tensor) -> Any:
        outputs.append(functional_call(model, buffers, x))  # what it writes goes to the clones
        return outputs[-1]

    seeded = [device] if device.type == "cuda" else []
    for size in _SIZES:
        try:
            with torch.random.fork_rng(seeded), torch.no_grad():
                x = preprocess(torch.zeros(1, in_channels, size, size, device=device))
                features = _features(model, x, layer, heads, forward)
        except FeatxError:
            raise
        except Exception as error:  # a user's model may fail with any error
            reasons.append(f"{_first_line(error)} (images of {size} x {size})")
            continue
        output = outputs[-1]
        if heads and not _gives(output_layer(model, heads[0])[1], output):
            # the last linear layer is in the middle of the backbone: this model has no head
            return "", _pooled(output, False).shape[1]
        return layer, features.shape[1]
    raise FeatxError(
        f"Expected a {type(model).__name__} that takes preprocessed images of {in_channels} channels, but "
        f"a dry run failed: {reasons[0]}. Check preprocess and in_channels, or pass num_features, too."
    )


def _gives(layer: nn.Module, output: Any) -> bool:
    """Say whether `output` is of the size that the head's `layer` gives."""
    size = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
    return isinstance(output, torch.Tensor) and output.ndim > 1 and output.shape[1] == size


# --- errors ----------------------------------------------------------------------------------------


def _unknown_name(name: str) -> FeatxError:
    known = list_backbones()
    return FeatxError(
        f"Expected the name of a backbone, got {name!r}. {close_matches(name, known)}"
    )


def _unknown_weights(name: str, weights: object, known: list[str]) -> FeatxError:
    words = ["default", *known]
    return FeatxError(
        f"Expected weights of {name}: one of {', '.join(words)}, a .safetensors or .pth file, or "
        f"None for random ones; got {weights!r}."
    )


def _first_line(error: BaseException | str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
