"""Fetches three public icon sets by name and version, and rasterises them to small images with alpha.

A *style* is one icon set, a *subject* an icon that all three sets have. `Art` holds every subject in every style at
the few sizes that scenes use, as ``(size, size, 4)`` uint8 arrays with straight alpha.

    python -m pipelines.embedded.art --work build/embedded      # fetch, rasterise, write art.png to look at
"""

import argparse
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.embedded.scenes import SUBJECTS

# prompt word of the style -> npm package, version, licence of the art
PACKAGES = {
    "noto": ("@iconify-json/noto", "1.2.9", "Apache-2.0"),
    "flat": ("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT"),
    "glossy": ("@iconify-json/fluent-emoji", "1.2.7", "MIT"),
}
SIZES = (27, 30, 40, 43, 46)


def archive(style: str, folder: Path) -> Path:
    """Returns the package of `style` as a .tgz in `folder`, and fetches it with ``npm pack`` if it is missing."""
    package, version, _ = PACKAGES[style]
    path = folder / f"{package.strip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True)
    return path


def read_icons(path: Path) -> dict:
    """Reads an iconify package's ``icons.json``: ``icons`` (name to SVG body), ``aliases``, ``width``, ``height``."""
    with tarfile.open(path) as tar:
        file = tar.extractfile("package/icons.json")
        assert file is not None, "icons.json is a file of every package"
        return json.load(file)


def rasterise(icons: dict, name: str, size: int) -> np.ndarray:
    """Returns one icon as ``(size, size, 4)`` uint8 with straight alpha."""
    import resvg_py

    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"][name]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


@dataclass(frozen=True)
class Art:
    """Sprites by (style, icon name, size)."""

    sprites: dict[tuple[str, str, int], np.ndarray]

    @classmethod
    def load(cls, names: list[str], packages: Path, cache: Path | None = None, sizes: tuple[int, ...] = SIZES) -> "Art":
        """Rasterises `names` in every style and size, and writes the result to the file `cache` for the next run."""
        keys = {f"{style}/{name}/{size}" for style in PACKAGES for name in names for size in sizes}
        if cache is not None and cache.exists():
            with np.load(cache) as stored:
                if keys <= set(stored.files):
                    return cls({_key(text): stored[text] for text in keys})
        sprites = {}
        for style in PACKAGES:
            icons = read_icons(archive(style, packages))
            for name in names:
                for size in sizes:
                    sprites[f"{style}/{name}/{size}"] = rasterise(icons, name, size)
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(cache, **sprites)  # type: ignore[arg-type]  # no name is allow_pickle
        return cls({_key(text): sprite for text, sprite in sprites.items()})


def _key(text: str) -> tuple[str, str, int]:
    style, name, size = text.split("/")
    return style, name, int(size)


def contact_sheet(art: Art, names: list[str], size: int = 46, scale: int = 1) -> Image.Image:
    """Returns an image of all subjects in all styles on grey, one column per subject, for visual selection."""
    step = size + 4
    columns = 14
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * step, rows * len(PACKAGES) * step), (190, 190, 190))
    for i, name in enumerate(names):
        for j, style in enumerate(PACKAGES):
            sprite = Image.fromarray(art.sprites[style, name, size])
            sheet.paste(sprite, ((i % columns) * step, ((i // columns) * len(PACKAGES) + j) * step), sprite)
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)


def main() -> None:
    """Fetches and rasterises the icons, and writes ``art.png``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/embedded"))
    parser.add_argument("--packages", type=Path, help="folder with the .tgz files (default: WORK/packages)")
    args = parser.parse_args()
    names = [subject.icon for subject in SUBJECTS]
    art = Art.load(names, args.packages or args.work / "packages", args.work / "art.npz")
    contact_sheet(art, names, scale=2).save(args.work / "art.png")
    print(f"{len(art.sprites)} sprites; look at {args.work / 'art.png'}")


if __name__ == "__main__":
    main()
