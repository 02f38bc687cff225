"""Trains the held-out judge of motions: a small 3D convolution network over whole clips.

    python -m pipelines.embedded_motion.motion_net --minutes 6

It sees training combinations of its own seed, half of them as drawn and half through the autoencoder with noise on the
latents. It had no part in any pair; the judge of the pairs (`centroid`) shares no code with it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.embedded import training_utils
from pipelines.embedded_motion import clips, motions, render

SEED = 31
WIDTHS = (16, 32, 64)


class MotionNet(nn.Module):
    """Three 3D convolutions that halve height and width, their mean over space and time, and one linear layer.

    Args:
        widths: Channels of the convolutions.
        names: The motions, in the order of the outputs.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, names: tuple[str, ...] = motions.MOTIONS) -> None:
        super().__init__()
        self.names = tuple(names)
        layers: list[nn.Module] = []
        for before, after in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv3d(before, after, 3, stride=(1, 2, 2), padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], len(self.names))

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``(B, len(names))`` of clips ``(B, 3, F, H, W)`` in [-1, 1]."""
        return self.head(self.layers(x).mean((2, 3, 4)))

    @classmethod
    def from_pretrained(cls, folder: Path) -> "MotionNet":
        """Reads ``config.json`` and ``model.safetensors`` of a folder."""
        config = json.loads((folder / "config.json").read_text())
        net = cls(tuple(config["widths"]), tuple(config["motions"]))
        net.load_state_dict(load_file(folder / "model.safetensors"))
        return net.eval()

    def save_pretrained(self, folder: Path) -> None:
        """Writes the folder that `from_pretrained` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        widths = [layer.out_channels for layer in self.layers if isinstance(layer, nn.Conv3d)]
        (folder / "config.json").write_text(json.dumps({"widths": widths, "motions": self.names}, indent=2) + "\n")
        save_file(self.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


def as_input(frames: np.ndarray) -> Tensor:
    """Converts ``(B, F, 64, 64, 3)`` uint8 to ``(B, 3, F, 64, 64)`` in [-1, 1]."""
    return clips.frames_to_tensor(frames).unflatten(0, frames.shape[:2]).transpose(1, 2)


@torch.no_grad()
def probabilities(net: MotionNet, frames: np.ndarray) -> Tensor:
    """Returns the probability of each motion, ``(B, len(net.names))``, for clips ``(B, F, 64, 64, 3)`` uint8."""
    return torch.cat([net(as_input(part)).softmax(-1) for part in np.array_split(frames, -(-len(frames) // 32))])


def pool(work: Path, art, vae, count: int) -> tuple[np.ndarray, Tensor]:
    """Returns clips ``(2 count, F, 64, 64, 3)``, as drawn and then through the autoencoder, and their classes."""
    path, shots = work / f"net-{count}.npz", clips.draw_shots(count, SEED)
    if not path.exists():
        rng, generator = np.random.default_rng(SEED + 1), torch.Generator().manual_seed(SEED)
        clean = np.stack([render.render(shot, art, render.take(rng)) for shot in shots])
        through = []
        for i in range(0, count, 8):
            mean = torch.from_numpy(clips.encode(vae, clean[i : i + 8])).float()[:, :4]
            strength = 0.35 * torch.rand(len(mean), 1, 1, 1, 1, generator=generator) ** 2
            through.append(clips.decode(vae, mean + strength * torch.randn(mean.shape, generator=generator)))
        training_utils.save_arrays(path, clips=np.concatenate([clean, *through]))
    return np.load(path)["clips"], torch.tensor([motions.MOTIONS.index(shot.motion) for shot in shots] * 2)


def train(args: argparse.Namespace) -> MotionNet:
    """Trains the network; resumes from ``WORK/net.pt``."""
    from diffusers import AutoencoderKL

    art = render.load_art(args.work, args.packages)
    vae = AutoencoderKL.from_pretrained(args.image_model / "vae", torch_dtype=torch.float32)
    data, labels = pool(args.work, art, vae, args.clips)
    torch.manual_seed(SEED)
    net = MotionNet().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=0.02, fused=True)
    step, spent = 0, 0.0
    if state := training_utils.load_checkpoint(args.work / "net.pt"):
        net.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    clock, losses = training_utils.TrainingClock(args.minutes, spent), []
    while clock.is_running:
        rng = np.random.default_rng((SEED, step))
        rows = rng.integers(0, len(data), args.batch)
        x = as_input(data[rows])
        gain = rng.uniform(0.9, 1.1, (len(x), 3, 1, 1, 1)).astype(np.float32)
        for group in optimiser.param_groups:
            group["lr"] = args.lr * training_utils.warm_cosine(clock.share, warm=0.05)
        loss = F.cross_entropy(net((x * torch.from_numpy(gain)).clamp(-1, 1)), labels[rows], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        losses.append(loss.item())
        clock.tick()
        if step % 50 == 0:
            print(f"step {step} {clock.spent:.0f} s loss {np.mean(losses[-50:]):.4f}", flush=True)
        if clock.save_is_due():
            state = {"model": net.state_dict(), "optimiser": optimiser.state_dict()}
            training_utils.save_checkpoint(args.work / "net.pt", **state, step=step, spent=clock.spent)
    return net.eval()


def main() -> None:
    """Trains the held-out judge of motions and writes its folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/motion"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--image-model", type=Path, default=Path("assets/emoji/model"))
    parser.add_argument("--out", type=Path, default=Path("assets/emoji/scorers/motion"))
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--clips", type=int, default=2000)
    args = parser.parse_args()
    train(args).save_pretrained(args.out)


if __name__ == "__main__":
    main()
