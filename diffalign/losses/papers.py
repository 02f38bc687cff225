"""The papers that the catalogue cites, by their arXiv number, so that a run can be cited without looking them up."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper.

    Args:
        arxiv: Its number on arXiv.
        authors: Family names; three at most, then "others".
        year: Of its first version.
        title: Its title.
    """

    arxiv: str
    authors: str
    year: int
    title: str

    @property
    def line(self) -> str:
        """Title and where to find it."""
        return f"{self.title} (arxiv.org/abs/{self.arxiv})"

    def bibtex(self) -> str:
        """An entry for a bibliography."""
        key = re.sub(r"\W", "", self.authors.split(" and ")[0].lower()) + str(self.year) + self.arxiv[-3:]
        return (
            f"@misc{{{key},\n  title = {{{self.title}}},\n  author = {{{self.authors}}},\n  year = {{{self.year}}},\n"
            f"  eprint = {{{self.arxiv}}},\n  archivePrefix = {{arXiv}}\n}}"
        )


_ROWS = (
    ("2305.18290", "Rafailov and Sharma and others", 2023, "Direct Preference Optimization: Your Language Model is Secretly a Reward Model"),
    ("2311.12908", "Wallace and Dang and others", 2023, "Diffusion Model Alignment Using Direct Preference Optimization"),
    ("2403.00409", "Chowdhury and Kini and Natarajan", 2024, "Provably Robust DPO: Aligning Language Models with Noisy Feedback"),
    ("2310.12036", "Azar and Rowland and others", 2023, "A General Theoretical Paradigm to Understand Learning from Human Preferences"),
    ("2309.06657", "Liu and Zhao and others", 2023, "Statistical Rejection Sampling Improves Preference Optimization"),
    ("2305.10425", "Zhao and Joshi and others", 2023, "SLiC-HF: Sequence Likelihood Calibration with Human Feedback"),
    ("2405.14734", "Meng and Xia and Chen", 2024, "SimPO: Simple Preference Optimization with a Reference-Free Reward"),
    ("2405.16436", "Liu and Lu and others", 2024, "Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer"),
    ("2403.07691", "Hong and Lee and Thorne", 2024, "ORPO: Monolithic Preference Optimization without Reference Model"),
    ("2402.01306", "Ethayarajh and Xu and others", 2024, "KTO: Model Alignment as Prospect Theoretic Optimization"),
    ("2404.04465", "Li and Kallidromitis and others", 2024, "Aligning Diffusion Models by Optimizing Human Utility"),
    ("2406.06424", "Hong and Paul and others", 2024, "Margin-aware Preference Optimization for Aligning Diffusion Models without Reference"),
    ("2006.11239", "Ho and Jain and Abbeel", 2020, "Denoising Diffusion Probabilistic Models"),
    ("2309.16240", "Wang and Jiang and others", 2023, "Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse Divergence Constraints"),
    ("2409.06411", "Liu and Zhang and others", 2024, "Length Desensitization in Direct Preference Optimization"),
)  # fmt: skip
PAPERS: dict[str, Paper] = {row[0]: Paper(*row) for row in _ROWS}
"""Every paper by its arXiv number."""


def papers_in(source: str) -> list[Paper]:
    """The papers whose numbers a source names, in its order; a number without a row here is left out."""
    return [PAPERS[number] for number in re.findall(r"\d{4}\.\d{5}", source) if number in PAPERS]
