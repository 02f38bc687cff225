"""ModelScope's text-to-video model and Zeroscope: a UNet with temporal convolutions and temporal attention throughout.

Latents are ``(B, C, F, h, w)``, of any number of frames: there are no positions. The network repeats the states of
prompts itself. diffusers has no switch to checkpoint its activations, and no loader of adapters for it.

Wang et al. 2023 (arXiv 2308.06571).
"""

from __future__ import annotations

from diffalign.latents.schedule import Schedule
from diffalign.policies.diffusion.families import sd, unet
from diffalign.policies.diffusion.families.autoencoder_kl import FramewiseCodec
from diffalign.policies.diffusion.families.family import Family, SamplingDefaults

MOTION = ("temp_attentions", "transformer_in")
CONVOLUTIONS = "temp_convs"

MODELSCOPE = Family(
    pipeline="TextToVideoSDPipeline",
    network="UNet3DConditionModel",
    component="unet",
    text_encoders=("text_encoder",),
    omitted={},
    medium="video",
    call=sd.call,
    prompt_encoder=sd.StableDiffusionPrompts,
    size_conditioning=lambda original, size, fixed: {},
    codec=FramewiseCodec(),
    schedule=lambda config, resolution: Schedule.from_config(config),
    resolution_step=unet.resolution_step,
    adapter_layers={
        **unet.video_layers(*MOTION),
        "temp-conv": (tuple(f"{CONVOLUTIONS}...{name}" for name in ("conv1.2", "conv2.3", "conv3.3", "conv4.3")),),
    },
    sampling=SamplingDefaults(steps=25, guidance=9.0),
    motion=(*MOTION, CONVOLUTIONS),
    most_frames=lambda config: None,
    checkpointed=("TransformerTemporalModel", "TemporalConvLayer", "ResnetBlock2D", "Transformer2DModel"),
    blocks=("ResnetBlock2D", "BasicTransformerBlock", "TemporalConvLayer"),
    own_checkpointing=False,
    reads_lora=False,
)
