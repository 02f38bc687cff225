"""Configuration that all kinds of models share: path, trained weights, reference and cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig


class BaseModelConfig(BaseModel):
    """A model and its reference. Each kind of policy extends it.

    Args:
        path: A folder written by ``save_pretrained``, or a name on the Hugging Face hub.
        revision: Branch, tag or commit on the hub.
        dtype: Precision of the frozen weights. Adapters and all weights that train are always float32.
        adapter: The low-rank adapter that trains; None trains every weight of the network.
        quantize: Packs the linear layers of the frozen base: ``"nf4"`` in about 4.5 bits per weight, ``"int8"`` in
            about 8. None: as they are. Policy and reference compute with the same packed weights.
        offload: ``"blocks"``: the frozen weights of the network's blocks lie in host memory, and each block's come to
            the device when it runs. The same result, and steps take longer; needs checkpointed activations.
        reference: ``"adapter_off"`` (the base weights under the adapter, no memory), ``"copy"`` (a frozen second
            network), ``"stored"`` (numbers computed once, before training), ``"auto"`` selects the first that fits.
        gradient_checkpointing: Compute activations twice instead of keeping them: less memory, about a fifth slower.
        cache: Folder of results that are computed only once. None: ``$DIFFALIGN_CACHE``, or ``~/.cache/diffalign``.
        use_cache: Store results that do not change, instead of computing them at every visit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    adapter: AdapterConfig | None = AdapterConfig()
    quantize: Literal["nf4", "int8"] | None = None
    offload: Literal["blocks"] | None = None
    reference: Literal["auto", "adapter_off", "copy", "stored"] = "auto"
    gradient_checkpointing: bool = False
    cache: Path | None = None
    use_cache: bool = True

    @model_validator(mode="after")
    def _reference_is_there(self) -> BaseModelConfig:
        if self.reference == "adapter_off" and self.adapter is None:
            raise ValueError(
                "reference 'adapter_off' needs an adapter to switch off, but adapter is null (all weights train)."
                " Set adapter: {rank: 16}, or reference: copy"
            )
        if self.reference == "stored" and not self.use_cache:
            raise ValueError(
                "reference 'stored' keeps its numbers in the cache, but use_cache is false. Set one of the two"
            )
        return self

    @model_validator(mode="after")
    def _a_packed_base_is_frozen(self) -> BaseModelConfig:
        if self.quantize is None:
            return self
        if self.adapter is None:
            raise ValueError(
                f"quantize '{self.quantize}' packs weights that do not train, but adapter is null (all weights train)."
                " Set adapter: {rank: 16}, or quantize: null"
            )
        if self.adapter.dora:
            raise ValueError(
                f"quantize '{self.quantize}' packs weights, and DoRA needs their norms. Set adapter.dora: false, or"
                " quantize: null"
            )
        if self.reference == "copy":
            raise ValueError(
                f"reference 'copy' would load weights that quantize '{self.quantize}' packs. Set reference: adapter_off"
            )
        return self

    @model_validator(mode="after")
    def _an_offloaded_base_is_frozen(self) -> BaseModelConfig:
        if self.offload is not None and self.adapter is None:
            raise ValueError(
                "offload 'blocks' keeps weights that do not train in host memory, but adapter is null (all weights"
                " train). Set adapter: {rank: 16}, or offload: null"
            )
        if self.offload is not None and self.reference == "copy":
            raise ValueError(
                "reference 'copy' would load a second network, which offload 'blocks' is to save. Set reference:"
                " adapter_off"
            )
        return self

    def check_offload(self) -> None:
        """Raises ConfigError where offloaded blocks would stay on the device until the backward pass."""
        if self.offload is not None and not self.gradient_checkpointing:
            raise ConfigError(
                "model.offload 'blocks' fetches a block's weights again for its backward pass, which takes activations"
                " that are computed again. Type: --set train.gradient_checkpointing=true   or: --set model.offload=null"
            )

    @property
    def may_store(self) -> bool:
        """Whether the reference's numbers can be computed and stored before training."""
        return self.use_cache

    def cache_folder(self) -> Path:
        """Returns ``cache``, or the default that the class describes."""
        return self.cache or Path(os.environ.get("DIFFALIGN_CACHE") or Path.home() / ".cache" / "diffalign")
