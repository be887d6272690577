"""The attention relation module of InfoSAM.

One module, shared by teacher and student, turns an image embedding and a mask token into one
relation vector per sample. Sub-modules carry the official names (``distiller/relation_model.py``
of the authors' repository), so official relation checkpoints load.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from infosam_studio.errors import StudioError
from infosam_studio.resource_files import resource_path

# torch.nn.functional.normalize's own floor, stated because a zero relation must stay zero.
NORM_FLOOR = 1e-12


class RelationModule(nn.Module):
    """Relation between the tokens of an image embedding and one mask token.

    With f = LayerNorm(feat), m = LayerNorm(token):
    ``r = (W_q m + b_q)(W_k f + b_k)^T / sqrt(D) + m f^T`` and each row is divided by its L2 norm
    (paper equation of the relation; the residual uses the normalised tensors, as the code does).
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.query_proj = nn.Linear(dim, dim)
        self.key_proj = nn.Linear(dim, dim)
        self.layer_norm_feat = nn.LayerNorm(dim)
        self.layer_norm_mask = nn.LayerNorm(dim)
        self.scale = dim**-0.5

    @property
    def dim(self) -> int:
        """Width D of the tokens this module reads."""
        return self.query_proj.in_features

    def forward(self, feat: Tensor, token: Tensor) -> Tensor:
        """Relation vectors of unit L2 norm.

        Args:
            feat: image embedding as tokens, float [B, N, D].
            token: mask token, float [B, 1, D].

        Returns:
            [B, N]; a sample whose scores are all zero stays zero. Computed outside autocast in
            the module's own dtype: half precision costs up to 1 % of the loss.
        """
        dtype = self.query_proj.weight.dtype
        with torch.autocast(feat.device.type, enabled=False):
            feat = self.layer_norm_feat(feat.to(dtype))
            token = self.layer_norm_mask(token.to(dtype))
            query, key = self.query_proj(token), self.key_proj(feat)
            scores = query @ key.transpose(-1, -2) * self.scale + token @ feat.transpose(-1, -2)
            return functional.normalize(scores.squeeze(1), dim=-1, eps=NORM_FLOOR)


def tokens_of(features: Tensor) -> Tensor:
    """An encoder output [B, D, h, w] as tokens [B, h*w, D], the order the official code uses."""
    return features.flatten(2).transpose(1, 2)


def save_relation(module: RelationModule, path: Path, metadata: dict[str, str]) -> None:
    """Write the module's weights as safetensors, with string metadata such as its origin."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()
    }
    save_file(tensors, str(path), metadata={"format": "pt", **metadata})


def load_relation(path: Path) -> RelationModule:
    """Read a relation module: ``.safetensors``, or an official ``.pth`` checkpoint.

    Raises:
        StudioError: the file is unreadable, incomplete or of another shape.
    """
    try:
        state = _relation_state(path)
        module = RelationModule(int(state["query_proj.weight"].shape[1]))
        module.load_state_dict(state, strict=True)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError, EOFError) as error:
        raise StudioError(
            f"{path.name} is not a relation module this version can read; "
            "choose another file or train a new one."
        ) from error
    return module


def make_relation(model: str, *, seed: int) -> RelationModule:
    """The relation module that a training starts from.

    The shipped one for the starter, for which it was pre-trained; for any other ``model`` a
    fresh one that depends on ``seed`` alone.
    """
    path = resource_path("models", "starter_relation.safetensors")
    if model == "starter" and path.is_file():
        return load_relation(path)
    torch.manual_seed(seed + 1)
    return RelationModule()


def _relation_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(str(path))
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    state = checkpoint.get("relation_model", checkpoint)
    return {name: torch.as_tensor(value) for name, value in state.items()}
