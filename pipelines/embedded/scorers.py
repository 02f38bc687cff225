"""Trains the scorers: a judge, a held-out judge of another architecture, and a recogniser of subjects.

    python -m pipelines.embedded.scorers judge --work build/embedded --minutes 8
    python -m pipelines.embedded.scorers heldout --work build/embedded --minutes 7
    python -m pipelines.embedded.scorers recogniser --work build/embedded --minutes 8

The judge is a CLIP (vision transformer and causal text tower), which sees subjects and colours; with the checkers of
the pixels it makes the pairs. The held-out judge, a dual encoder of ConvNeXt and BERT trained on other scenes from
another seed, sees every attribute. The recogniser is a ResNet that classifies the subject. All see training scenes
only, clean and through the autoencoder. Held-out judge and recogniser only measure: neither generator nor pairs are
made with them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.embedded import scenes, scorer_images, training_utils, word_tokenizer
from pipelines.embedded.scorer_images import GROUP
from pipelines.embedded.small_diffusion import full_precision_by_default

SUBJECT_NAMES = [subject.word for subject in scenes.SUBJECTS]
PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"height": 64, "width": 64},
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "do_convert_rgb": True,
}
SEEDS = {"judge": 11, "heldout": 12, "recogniser": 13}


def build_judge(tokenizer):
    """Returns an untrained CLIP: 8 px patches, four layers; a causal text tower of two layers."""
    from transformers import CLIPConfig, CLIPModel

    size = {"hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4, "projection_dim": 96}
    text = word_tokenizer.text_config(tokenizer, **size, num_hidden_layers=2).to_dict()
    vision = dict(**size, num_hidden_layers=4, image_size=64, patch_size=8)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=96))
    model.vision_model.embeddings.position_embedding.weight.data.mul_(
        10
    )  # helps, but the model still ignores the place
    return model


def build_heldout(tokenizer):
    """Returns an untrained dual encoder with a ConvNeXt image tower and a bidirectional text tower (BERT)."""
    from transformers import BertConfig, ConvNextConfig, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

    start = {"initializer_range": 0.1}  # the usual 0.02 suits widths of 768; here training stays on a plateau with it
    sizes = [32, 64, 128, 192]
    vision = ConvNextConfig(
        patch_size=4, hidden_sizes=sizes, depths=[1, 1, 2, 1], image_size=64, layer_scale_init_value=1.0, **start
    )
    vision.hidden_size = sizes[-1]  # the dual encoder reads the width of the pooled output from this name
    text = BertConfig(
        vocab_size=len(tokenizer), hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=288,
        max_position_embeddings=word_tokenizer.LENGTH, pad_token_id=tokenizer.pad_token_id, type_vocab_size=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **start,
    )  # fmt: skip
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=96)
    return VisionTextDualEncoderModel(config)


def build_recogniser(_):
    """Returns a small untrained ResNet over the subjects."""
    from transformers import ResNetConfig, ResNetForImageClassification

    names = dict(enumerate(SUBJECT_NAMES))
    config = ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128, 192], depths=[1, 1, 2, 1], layer_type="basic",
        id2label=names, label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    return ResNetForImageClassification(config)


BUILDERS = {"judge": build_judge, "heldout": build_heldout, "recogniser": build_recogniser}


def contrastive_loss(model, tokenizer, x, prompted: list[scenes.Scene], shown: list[scenes.Scene]) -> torch.Tensor:
    """Returns CLIP's symmetric loss; a prompt that is also true of another image is not a negative for that image."""
    tokens = tokenizer(
        [s.prompt for s in prompted], padding="max_length", max_length=word_tokenizer.LENGTH, return_tensors="pt"
    )
    out = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=x)
    other_matches = scorer_images.matches(prompted, shown) & ~torch.eye(len(prompted), dtype=torch.bool)
    logits = out.logits_per_text.float().masked_fill(other_matches, -1e4)
    target = torch.arange(len(prompted))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train(kind: str, work: Path, packages: Path | None, minutes: float, batch: int, lr: float, count: int):
    """Trains one scorer on its own images; resumes from ``WORK/KIND.pt``."""
    art, seed = training_utils.load_art(work, packages), SEEDS[kind]
    clean, decoded, shown = scorer_images.make(work, art, kind, count, seed)
    tokenizer = word_tokenizer.load(work / "tokenizer")
    torch.manual_seed(seed)
    model = BUILDERS[kind](tokenizer).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.02, fused=True)
    step, spent = 0, 0.0
    if state := training_utils.load_checkpoint(work / f"{kind}.pt"):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    labels = torch.tensor([SUBJECT_NAMES.index(scene.subject) for scene in shown])
    rng = np.random.default_rng(1000 * seed + step)
    clock, losses = training_utils.TrainingClock(minutes, spent), []
    print(f"{kind}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    while clock.is_running:
        groups = rng.choice(count // GROUP, batch // GROUP, replace=False)
        rows = (groups[:, None] * GROUP + np.arange(GROUP)).ravel()
        through = rng.random(batch) < 0.6
        x = scorer_images.augment(
            training_utils.to_tensor(np.where(through[:, None, None, None], decoded[rows], clean[rows])), rng
        )
        for group in optimiser.param_groups:
            group["lr"] = lr * training_utils.warm_cosine(clock.share, warm=0.05)
        if kind == "recogniser":
            loss = F.cross_entropy(model(x).logits, labels[rows], label_smoothing=0.05)
        else:
            full = [shown[i] for i in rows]
            loss = contrastive_loss(model, tokenizer, x, [scenes.unsay(s, rng, 0.15) for s in full], full)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        losses.append(loss.item())
        clock.tick()
        if step % 50 == 0:
            print(f"step {step} {clock.spent:.0f} s loss {np.mean(losses[-50:]):.4f}", flush=True)
        if clock.save_is_due():
            training_utils.save_checkpoint(
                work / f"{kind}.pt",
                model=model.state_dict(),
                optimiser=optimiser.state_dict(),
                step=step,
                spent=clock.spent,
            )
    return model.eval()


def export(kind: str, model, out: Path) -> None:
    """Writes the weights in 16 bits, the image processor and, for the judges, the tokenizer."""
    model.half().save_pretrained(out, safe_serialization=True)
    full_precision_by_default(out)
    extra = {
        "judge": {"processor_class": "CLIPProcessor"},
        "heldout": {"processor_class": "VisionTextDualEncoderProcessor"},
    }
    (out / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **extra.get(kind, {})}, indent=2) + "\n")
    if kind != "recogniser":
        word_tokenizer.save(out)


def main() -> None:
    """Trains one of the three scorers and writes its folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=list(BUILDERS))
    parser.add_argument("--work", type=Path, default=Path("build/embedded"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--out", type=Path, help="default: assets/emoji/scorers/KIND")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--scenes", type=int, default=12_000)
    args = parser.parse_args()
    model = train(args.kind, args.work, args.packages, args.minutes, args.batch, args.lr, args.scenes)
    export(args.kind, model, args.out or Path("assets/emoji/scorers") / args.kind)


if __name__ == "__main__":
    main()
